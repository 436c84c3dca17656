//! `Slot`: what an opening and its session share: what is unanswered, and what came back.

use std::collections::VecDeque;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use openraft::raft::{AppendEntriesRequest, StreamAppendError, StreamAppendResult};
use parking_lot::Mutex;

use super::super::batch::Answer;
use super::{WINDOW_BYTES, WINDOW_MESSAGES};
use crate::peer::Error;
use crate::shard::types::{LogId, Types, Vote};

/// One opening, as its session sees it.
#[derive(Default)]
pub(super) struct Slot {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    sent: VecDeque<Sent>,
    /// Bytes of what is in `sent`.
    bytes: usize,
    /// At most one that went well, and behind it one that did not.
    results: VecDeque<StreamAppendResult<Types>>,
    /// Why nothing more comes.
    end: Option<Error>,
    /// When a message that tells only of a commit goes alone, if one waits.
    commit_due: Option<Instant>,
    /// The session will look at it.
    commit_listed: bool,
    /// Its time has come, and the opening does not know yet.
    commit_ripe: bool,
    /// The opening's task.
    task: Option<Waker>,
}

/// A message that is not answered.
struct Sent {
    at: Instant,
    bytes: usize,
    vote: Vote,
    prev: Option<LogId>,
    last: Option<LogId>,
}

/// What an opening finds when it looks.
pub(super) enum Found {
    Result(StreamAppendResult<Types>),
    End(Error),
    /// The time of a message that waits has come.
    Ripe,
    Nothing,
}

/// What the session finds when it looks at a commit that waits.
pub(super) enum Commit {
    /// Its time comes then.
    Waits(Instant),
    /// It need not be looked at any more; the task is to be woken if there is one.
    Settled(Option<Waker>),
}

impl Slot {
    /// The next thing that came back. If there is nothing, the task is woken when there is.
    pub fn find(&self, cx: &Context<'_>) -> Found {
        let mut state = self.state.lock();
        if let Some(result) = state.results.pop_front() {
            return Found::Result(result);
        }
        if let Some(error) = &state.end {
            return Found::End(error.clone());
        }
        if std::mem::take(&mut state.commit_ripe) {
            return Found::Ripe;
        }
        match &mut state.task {
            Some(task) => task.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Found::Nothing
    }

    /// Whether one more message may be unanswered.
    pub fn has_room(&self) -> bool {
        let state = self.state.lock();
        state.bytes < WINDOW_BYTES && state.sent.len() < WINDOW_MESSAGES
    }

    /// Everything is answered.
    pub fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.sent.is_empty() && state.results.is_empty()
    }

    /// A message of so many bytes is being sent.
    pub fn note(&self, request: &AppendEntriesRequest<Types>, bytes: usize) {
        let last = request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id);
        let sent = Sent { at: Instant::now(), bytes, vote: request.vote, prev: request.prev_log_id, last };
        let mut state = self.state.lock();
        state.bytes += bytes;
        state.sent.push_back(sent);
    }

    /// Takes an answer. The task is to be woken if there is one.
    pub fn answer(&self, answer: &Answer) -> Option<Waker> {
        let mut state = self.state.lock();
        if state.end.is_some() {
            return None;
        }
        if let Err(error) = state.answer(answer) {
            state.end = Some(error);
        }
        state.task.take()
    }

    /// Nothing more comes.
    pub fn end(&self, error: Error) -> Option<Waker> {
        let mut state = self.state.lock();
        state.end.get_or_insert(error);
        state.task.take()
    }

    /// Ends it if a message has not been answered for so long.
    pub fn check(&self, stall: Duration) -> Option<Waker> {
        let mut state = self.state.lock();
        if state.sent.front().is_none_or(|oldest| oldest.at.elapsed() < stall) {
            return None;
        }
        state.end.get_or_insert_with(|| Error::Lost("an append message was not answered in time".to_owned()));
        state.task.take()
    }

    /// A message that tells only of a commit waits until then. Gives whether the session has to look at it: it need not
    /// when it does so anyway.
    pub fn commit_waits(&self, due: Instant) -> bool {
        let mut state = self.state.lock();
        state.commit_due = Some(due);
        !std::mem::replace(&mut state.commit_listed, true)
    }

    /// No such message waits any more.
    pub fn commit_went(&self) {
        self.state.lock().commit_due = None;
    }

    /// Looks whether a commit's time has come.
    pub fn check_commit(&self, now: Instant) -> Commit {
        let mut state = self.state.lock();
        match state.commit_due {
            Some(due) if due > now => return Commit::Waits(due),
            Some(_) => state.commit_ripe = true,
            None => {}
        }
        state.commit_listed = false;
        Commit::Settled(if state.commit_ripe { state.task.take() } else { None })
    }
}

impl State {
    fn answer(&mut self, answer: &Answer) -> Result<(), Error> {
        match answer {
            Answer::Taken { count, .. } => {
                let count = *count as usize;
                if count == 0 || count > self.sent.len() {
                    return Err(lost("there are more answers than messages"));
                }
                let bytes: usize = self.sent.range(..count).map(|sent| sent.bytes).sum();
                self.bytes -= bytes;
                // What is taken up to a message includes everything before it.
                if let Some(last) = self.sent.drain(..count).next_back() {
                    self.results.clear();
                    self.results.push_back(Ok(last.last));
                }
            }
            Answer::Conflict { .. } => {
                let prev = self.pop()?.prev.ok_or_else(|| lost("a conflict with nothing"))?;
                self.fail(StreamAppendError::Conflict(prev));
            }
            Answer::HigherVote { vote, .. } => {
                if *vote <= self.pop()?.vote {
                    return Err(lost("it is told of a higher vote that is none"));
                }
                self.fail(StreamAppendError::HigherVote(*vote));
            }
            Answer::Ended { why, .. } => return Err(why.clone().into_error()),
        }
        Ok(())
    }

    fn fail(&mut self, error: StreamAppendError<Types>) {
        self.results.push_back(Err(error));
        self.end = Some(lost("it ended with what was refused"));
    }

    fn pop(&mut self) -> Result<Sent, Error> {
        let sent = self.sent.pop_front().ok_or_else(|| lost("there are more answers than messages"))?;
        self.bytes -= sent.bytes;
        Ok(sent)
    }
}

fn lost(what: &str) -> Error {
    Error::Lost(what.to_owned())
}
