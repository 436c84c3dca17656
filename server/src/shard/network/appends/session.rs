//! `Session`: the stream to one node that the append messages of all groups share, and the task that hands out answers.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use lethe_proto::NodeId;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::super::batch;
use super::outbox::Outbox;
use super::slot::{Commit, Slot};
use crate::peer::{Error, Head, Lane, Topic, Transport};

/// Commits that are due so soon after one that is due go with it.
const COMMITS_TOGETHER: Duration = Duration::from_millis(5);

/// A stream to one node, while it lasts.
pub(super) struct Session {
    pub outbox: Outbox,
    openings: Mutex<Openings>,
    next: AtomicU64,
    /// Openings with a commit that waits, each of them once, in the order in which they are looked at.
    commits: Mutex<VecDeque<(Instant, Arc<Slot>)>>,
    commits_begin: Notify,
    over: CancellationToken,
}

#[derive(Default)]
struct Openings {
    slots: HashMap<u64, Arc<Slot>>,
    /// Why there are no more.
    end: Option<Error>,
}

/// What is sent. When the connection drops it, the session is over.
struct Batches {
    session: Arc<Session>,
    /// Others had a chance to add to the next batch.
    gathered: bool,
}

impl Session {
    /// Begins a session, says so, and hands out answers until it is over.
    pub async fn run(
        transport: Arc<dyn Transport>,
        node: NodeId,
        stall: Duration,
        over: CancellationToken,
        tell: oneshot::Sender<Result<Arc<Session>, Error>>,
    ) {
        let session = Arc::new(Self {
            outbox: Outbox::default(),
            openings: Mutex::default(),
            next: AtomicU64::new(1),
            commits: Mutex::default(),
            commits_begin: Notify::new(),
            over,
        });
        let head = Head { lane: Lane::Log, topic: Topic::AppendStream, group: 0, incarnation: 0 };
        let batches = Batches { session: session.clone(), gathered: false }.boxed();
        let begun = tokio::select! {
            begun = transport.stream(node, head, batches) => begun,
            () = session.over.cancelled() => Err(Error::Unreachable("the node stops".to_owned())),
        };
        let mut answers = match begun {
            Ok(answers) => answers,
            // Nobody waits any more if nobody takes it.
            Err(error) => return drop(tell.send(Err(error))),
        };
        drop(tell.send(Ok(session.clone())));
        let mut upkeep = pin!(async { tokio::join!(session.tell_commits(), session.watch(stall)) });
        let mut over = pin!(session.over.cancelled());
        let why = loop {
            let answer = tokio::select! {
                answer = answers.next() => answer,
                _ = &mut upkeep => None,
                () = &mut over => None,
            };
            match answer {
                Some(Ok(bytes)) => {
                    if let Err(refusal) = session.take_answers(&bytes) {
                        break Error::Lost(refusal.to_string());
                    }
                }
                Some(Err(error)) => break error,
                None => break Error::Lost("the stream of append messages ended".to_owned()),
            }
        };
        session.end(&why);
    }

    /// Nothing can be sent any more.
    pub fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// A new opening.
    pub fn enter(&self) -> Result<(u64, Arc<Slot>), Error> {
        let mut openings = self.openings.lock();
        if let Some(error) = &openings.end {
            return Err(error.clone());
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let slot = Arc::<Slot>::default();
        openings.slots.insert(number, slot.clone());
        Ok((number, slot))
    }

    /// An opening is given up; the other side is told if it knows of it.
    pub fn leave(&self, number: u64, told: bool) {
        let known = self.openings.lock().slots.remove(&number).is_some();
        self.outbox.forget(number);
        if known && told {
            self.outbox.push(0, |out| batch::put_close(out, number));
        }
    }

    /// A commit of an opening waits until then.
    pub fn commit_waits(&self, slot: &Arc<Slot>, due: Instant) {
        if !slot.commit_waits(due) {
            return;
        }
        let mut commits = self.commits.lock();
        commits.push_back((due, slot.clone()));
        let first = commits.len() == 1;
        drop(commits);
        if first {
            self.commits_begin.notify_one();
        }
    }

    /// Gives answers to their openings. Those of openings that are over reach nobody.
    fn take_answers(&self, bytes: &[u8]) -> Result<(), crate::peer::Refusal> {
        let answers = batch::decode_answers(bytes)?;
        let mut tasks = Vec::with_capacity(answers.len());
        {
            let openings = self.openings.lock();
            for answer in &answers {
                let slot = openings.slots.get(&answer.opening());
                tasks.extend(slot.and_then(|slot| slot.answer(answer)));
            }
        }
        tasks.into_iter().for_each(Waker::wake);
        Ok(())
    }

    fn end(&self, why: &Error) {
        self.over.cancel();
        let slots = {
            let mut openings = self.openings.lock();
            openings.end.get_or_insert(why.clone());
            mem::take(&mut openings.slots)
        };
        for slot in slots.into_values() {
            if let Some(task) = slot.end(why.clone()) {
                task.wake();
            }
        }
        // What was not sent never is.
        while self.outbox.take().is_some() {}
    }

    /// Wakes openings whose commits have waited long enough.
    async fn tell_commits(&self) {
        loop {
            let Some(due) = self.commits.lock().front().map(|(due, _)| *due) else {
                self.commits_begin.notified().await;
                continue;
            };
            tokio::time::sleep_until(due.into()).await;
            self.wake_commits(due + COMMITS_TOGETHER);
        }
    }

    fn wake_commits(&self, until: Instant) {
        // Those that are listed again have a later turn.
        let listed = self.commits.lock().len();
        for _ in 0..listed {
            let Some((_, slot)) = self.commits.lock().pop_front_if(|(due, _)| *due <= until) else { return };
            match slot.check_commit(until) {
                Commit::Settled(task) => task.into_iter().for_each(Waker::wake),
                Commit::Waits(due) => self.commits.lock().push_back((due, slot)),
            }
        }
    }

    /// Ends openings whose messages are not answered.
    async fn watch(&self, stall: Duration) {
        loop {
            tokio::time::sleep(stall / 4).await;
            let slots: Vec<_> = self.openings.lock().slots.values().cloned().collect();
            slots.iter().filter_map(|slot| slot.check(stall)).for_each(Waker::wake);
        }
    }
}

impl Stream for Batches {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.session.outbox.poll_some(cx).is_pending() {
            self.gathered = false;
            return Poll::Pending;
        }
        if !std::mem::replace(&mut self.gathered, true) {
            // Groups that have something to say at the same moment get a chance to say it in this batch.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.gathered = false;
        Poll::Ready(self.session.outbox.take())
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.session.over.cancel();
    }
}
