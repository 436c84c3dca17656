//! `Proposer`: puts the proposals of one group into entries of its log.
//!
//! ```text
//! propose ── waits ──┬── an entry under way ──> openraft ──> log, quorum, applied ──> each command's own result
//! propose ── waits ──┘                                                └── the next entry takes what waits by then
//! ```
//!
//! A proposal goes out at once unless many entries of the group are under way. Those that come meanwhile wait and go together,
//! as one entry, when one of these has its result: there is no timer. Commands keep their order, and those of one entry
//! have the same epoch. What waits long is sent anyway, because an entry without a quorum may never have a result, and
//! openraft refuses at once what follows it.
//!
//! One caller at a time hands entries to openraft, whoever comes first; a command whose caller left is proposed all the same.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use openraft::Raft;
use openraft::error::ClientWriteError;
use openraft::raft::ClientWriteResult;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio_util::task::TaskTracker;

use super::limits::Admitted;
use super::machine::Machine;
use super::types::{Callback, Leader, Proposal, Types};
use super::{Applied, Epoch, NotDone, ProposeError, codec};

/// Entries of a group under way at once, after which proposals gather. openraft merges what reaches it at the same time, and
/// so do the log and the streams to other nodes: with one or two, less goes together there, and each commit costs more.
pub(super) const UNDER_WAY_MAX: usize = 16;
/// Commands in one entry.
const COMMANDS_MAX: usize = 256;
/// Bytes of an entry with several commands. It stays among those that are applied where they are.
const BATCH_BYTES_MAX: usize = 48 << 10;
/// How long a proposal waits for one that is under way.
const PATIENCE: Duration = Duration::from_millis(500);

type Result = std::result::Result<Applied, ProposeError>;

/// The proposals of one group.
pub(super) struct Proposer {
    raft: Raft<Types, Machine>,
    tasks: TaskTracker,
    batch_bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Command>,
    /// So many commands came before the first of those that wait.
    gone: u64,
    under_way: usize,
    /// So many of those that wait go although enough is under way.
    hurried: usize,
    /// Somebody hands entries to openraft.
    is_busy: bool,
}

/// A command that waits for its result.
pub(super) struct Command {
    pub epoch: Epoch,
    /// Its encoding.
    pub bytes: Bytes,
    /// It has an entry of its own.
    pub is_alone: bool,
    pub turn: OwnedSemaphorePermit,
    pub room: Admitted,
    pub tell: oneshot::Sender<Result>,
}

/// An entry that was proposed. When it goes away, all its commands have been answered.
struct UnderWay {
    proposer: Arc<Proposer>,
    commands: Mutex<Vec<Command>>,
}

impl Proposer {
    pub fn new(raft: Raft<Types, Machine>, tasks: TaskTracker, command_bytes_max: usize) -> Arc<Self> {
        let batch_bytes_max = BATCH_BYTES_MAX.min(command_bytes_max);
        Arc::new(Self { raft, tasks, batch_bytes_max, state: Mutex::default() })
    }

    /// Proposes a command and waits for its result, at most for so long.
    pub async fn propose(
        self: &Arc<Self>,
        command: Command,
        mut told: oneshot::Receiver<Result>,
        wait: Duration,
    ) -> Result {
        let number = self.state.lock().push(command);
        self.send();
        let answer = match tokio::time::timeout(PATIENCE.min(wait), &mut told).await {
            Ok(answer) => answer,
            Err(_) => {
                self.hurry(number);
                match tokio::time::timeout(wait.saturating_sub(PATIENCE), told).await {
                    Ok(answer) => answer,
                    Err(_) => return Err(ProposeError::Unknown("there was no result in time".to_owned())),
                }
            }
        };
        answer.unwrap_or_else(|_| Err(stopped()))
    }

    /// Sends what waits, whatever is under way, if the command with this number waits.
    fn hurry(self: &Arc<Self>, number: u64) {
        {
            let mut state = self.state.lock();
            if number < state.gone {
                return;
            }
            state.hurried = state.waiting.len();
        }
        self.send();
    }

    /// Hands to openraft what may go, unless somebody is about it.
    fn send(self: &Arc<Self>) {
        {
            let mut state = self.state.lock();
            if state.is_busy || !state.may_send() {
                return;
            }
            state.is_busy = true;
        }
        // openraft takes a message at once unless very many wait. It must not be put off for the sake of other tasks.
        let mut sending = Box::pin(tokio::task::unconstrained(self.clone().send_all()));
        let sent = sending.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if sent.is_pending()
            && let Ok(runtime) = Handle::try_current()
        {
            self.tasks.spawn_on(sending, &runtime);
        }
    }

    async fn send_all(self: Arc<Self>) {
        while let Some(commands) = self.take() {
            let epoch = commands[0].epoch;
            let bytes = match &commands[..] {
                [one] => one.bytes.clone(),
                many => codec::encode_batch(many.iter().map(|command| &command.bytes)),
            };
            let entry = Arc::new(UnderWay { proposer: self.clone(), commands: Mutex::new(commands) });
            let responder = Callback::new({
                let entry = entry.clone();
                move |result| entry.answer(result)
            });
            let write = self.raft.write(Proposal { bytes }).with_leader(Leader::from(epoch)).responder(responder);
            if write.await.is_err() {
                entry.answer_all(&ProposeError::NotDone(NotDone::Stopped));
            }
        }
    }

    /// The commands of the next entry; if there is none, nobody is busy any more.
    fn take(&self) -> Option<Vec<Command>> {
        let mut state = self.state.lock();
        let commands = state.take(self.batch_bytes_max);
        state.is_busy = !commands.is_empty();
        (!commands.is_empty()).then_some(commands)
    }
}

impl State {
    /// Adds a command; its number.
    fn push(&mut self, command: Command) -> u64 {
        self.waiting.push_back(command);
        self.gone + self.waiting.len() as u64 - 1
    }

    fn may_send(&self) -> bool {
        !self.waiting.is_empty() && (self.under_way < UNDER_WAY_MAX || self.hurried > 0)
    }

    /// The commands of the next entry, none if it is not time for one.
    fn take(&mut self, bytes_max: usize) -> Vec<Command> {
        let mut commands: Vec<Command> = Vec::new();
        if !self.may_send() {
            return commands;
        }
        let mut bytes = codec::BATCH_HEAD;
        while commands.len() < COMMANDS_MAX {
            let next = self.waiting.pop_front_if(|next| {
                bytes += codec::COMMAND_HEAD + next.bytes.len();
                commands.first().is_none_or(|first| {
                    first.epoch == next.epoch && !first.is_alone && !next.is_alone && bytes <= bytes_max
                })
            });
            let Some(next) = next else { break };
            commands.push(next);
        }
        self.gone += commands.len() as u64;
        self.hurried = self.hurried.saturating_sub(commands.len());
        self.under_way += 1;
        commands
    }
}

impl Command {
    /// Answers it. By then it counts for no limit.
    fn answer(self, result: Result) {
        let Self { turn, room, tell, .. } = self;
        drop((turn, room));
        // Nobody listens if its caller has left.
        drop(tell.send(result));
    }
}

impl UnderWay {
    /// Gives every command its part of what became of the entry.
    fn answer(&self, result: ClientWriteResult<Types>) {
        match result {
            Ok(response) => {
                let commands = std::mem::take(&mut *self.commands.lock());
                for (command, applied) in commands.into_iter().zip(response.data.0) {
                    command.answer(Ok(applied));
                }
            }
            Err(ClientWriteError::ForwardToLeader(to)) => {
                self.answer_all(&ProposeError::NotDone(NotDone::NotLeader { leader: to.leader_id }));
            }
            Err(error) => self.answer_all(&ProposeError::Unknown(error.to_string())),
        }
    }

    fn answer_all(&self, refusal: &ProposeError) {
        let commands = std::mem::take(&mut *self.commands.lock());
        for command in commands {
            command.answer(Err(refusal.clone()));
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.answer_all(&stopped());
        self.proposer.state.lock().under_way -= 1;
        self.proposer.send();
    }
}

fn stopped() -> ProposeError {
    ProposeError::Unknown("the shard stopped".to_owned())
}
