//! Heartbeats and read-index probes of all groups to one node, many in one message.
//!
//! Every group's own append-entries message is in it and gets its own answer; nothing is made up for a group. What a read
//! waits for is sent at once; while a few messages to a node are under way, what comes up gathers and goes with the next
//! one. A heartbeat that nobody waits for also waits for those of other groups, each of which has its own clock, for a
//! fraction of the time between two of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lethe_proto::NodeId;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio_util::task::TaskTracker;

use super::wire::{self, Beat, BeatAnswer};
use crate::peer::{Error, Head, Lane, Topic, Transport};

/// Messages to one node under way at once.
const CALLS_MAX: usize = 4;
/// Heartbeats in one message.
pub(super) const BEATS_MAX: usize = 4096;

/// What one heartbeat came to.
pub(super) type Outcome = Result<BeatAnswer, Error>;

/// Heartbeats to all nodes.
pub(super) struct Beats {
    transport: Arc<dyn Transport>,
    tasks: TaskTracker,
    peers: Mutex<HashMap<NodeId, Queue>>,
    /// How long a heartbeat that nobody waits for may wait for others.
    patience: Duration,
    hurry: Notify,
}

/// Heartbeats to one node. Each group has at most one of them waiting.
#[derive(Default)]
struct Queue {
    waiting: Vec<Waiting>,
    calls: usize,
    /// A call will be made when the patience is over.
    is_timed: bool,
}

struct Waiting {
    beat: Beat,
    deadline: Instant,
    tell: oneshot::Sender<Outcome>,
}

impl Queue {
    /// Whether another call may be made; it is then counted.
    fn starts_call(&mut self) -> bool {
        let starts = self.calls < CALLS_MAX;
        self.calls += usize::from(starts);
        starts
    }
}

impl Beats {
    pub fn new(transport: Arc<dyn Transport>, tasks: TaskTracker, patience: Duration) -> Arc<Self> {
        Arc::new(Self { transport, tasks, peers: Mutex::default(), patience, hurry: Notify::new() })
    }

    /// Sends a heartbeat, at once or when others come along, and waits for its answer.
    pub async fn send(self: &Arc<Self>, to: NodeId, beat: Beat, wait: Duration, at_once: bool) -> Outcome {
        let (tell, told) = oneshot::channel();
        let (call, timer) = {
            let mut peers = self.peers.lock();
            let queue = peers.entry(to).or_default();
            queue.waiting.push(Waiting { beat, deadline: Instant::now() + wait, tell });
            let timer = !at_once && !std::mem::replace(&mut queue.is_timed, true);
            (at_once && queue.starts_call(), timer)
        };
        if call {
            self.tasks.spawn(self.clone().call(to));
        }
        if timer {
            self.tasks.spawn(self.clone().call_later(to));
        }
        told.await.unwrap_or(Err(Error::Deadline))
    }

    /// Sends what waits for company now.
    pub fn hurry(&self) {
        self.hurry.notify_waiters();
    }

    async fn call_later(self: Arc<Self>, to: NodeId) {
        // Ends early when somebody hurries.
        let _ = tokio::time::timeout(self.patience, self.hurry.notified()).await;
        let call = self.peers.lock().get_mut(&to).is_some_and(|queue| {
            queue.is_timed = false;
            queue.starts_call()
        });
        if call {
            self.call(to).await;
        }
    }

    /// Sends what waits until nothing does.
    async fn call(self: Arc<Self>, to: NodeId) {
        loop {
            // Heartbeats that are due at the same moment get a chance to come along.
            tokio::task::yield_now().await;
            let batch = {
                let mut peers = self.peers.lock();
                let Some(queue) = peers.get_mut(&to) else { return };
                let count = queue.waiting.len().min(BEATS_MAX);
                if count == 0 {
                    queue.calls -= 1;
                    return;
                }
                queue.waiting.drain(..count).collect::<Vec<_>>()
            };
            self.send_batch(to, batch).await;
        }
    }

    async fn send_batch(&self, to: NodeId, batch: Vec<Waiting>) {
        let Some(deadline) = batch.iter().map(|waiting| waiting.deadline).max() else { return };
        let (beats, tells): (Vec<_>, Vec<_>) = batch.into_iter().map(|waiting| (waiting.beat, waiting.tell)).unzip();
        let head = Head { lane: Lane::Control, topic: Topic::Heartbeats, group: 0, incarnation: 0 };
        let answers = match self.transport.call(to, head, wire::encode(&beats), deadline).await {
            Ok(bytes) => wire::decode::<Vec<BeatAnswer>>(&bytes).map_err(|refusal| Error::Lost(refusal.to_string())),
            Err(error) => Err(error),
        };
        match answers {
            Ok(answers) if answers.len() == tells.len() => {
                for (tell, answer) in tells.into_iter().zip(answers) {
                    drop(tell.send(Ok(answer)));
                }
            }
            Ok(_) => tell_all(tells, &Error::Lost("it answered another number of heartbeats".to_owned())),
            Err(error) => tell_all(tells, &error),
        }
    }
}

fn tell_all(tells: Vec<oneshot::Sender<Outcome>>, error: &Error) {
    for tell in tells {
        drop(tell.send(Err(error.clone())));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::future::{BoxFuture, join_all};
    use futures::stream::BoxStream;
    use openraft::vote::RaftVote;

    use super::*;
    use crate::peer::Answers;
    use crate::shard::types::{Leader, Vote};

    /// Longer than any test.
    const FOREVER: Duration = Duration::from_secs(3600);

    /// Notes which groups were in each message; says that no replica is there.
    #[derive(Default)]
    struct Far(Mutex<Vec<Vec<u32>>>);

    impl Transport for Far {
        fn call(&self, _: NodeId, _: Head, message: Bytes, _: Instant) -> BoxFuture<'static, Result<Bytes, Error>> {
            let beats: Vec<Beat> = wire::decode(&message).unwrap();
            self.0.lock().push(beats.iter().map(|beat| beat.group).collect());
            let answers: Vec<BeatAnswer> = beats.iter().map(|_| None).collect();
            Box::pin(std::future::ready(Ok(wire::encode(&answers))))
        }

        fn stream(
            &self,
            _: NodeId,
            _: Head,
            _: BoxStream<'static, Bytes>,
        ) -> BoxFuture<'static, Result<Answers<Error>, Error>> {
            Box::pin(std::future::ready(Err(Error::Deadline)))
        }
    }

    fn far(patience: Duration) -> (Arc<Far>, Arc<Beats>) {
        let far = Arc::new(Far::default());
        (far.clone(), Beats::new(far, TaskTracker::new(), patience))
    }

    async fn beat(beats: &Arc<Beats>, group: u32, at_once: bool) {
        let vote = Vote::from_leader_id(Leader { term: 1, node_id: NodeId::from(7) }, true);
        let beat = Beat { group, incarnation: 1, vote, prev: None, committed: None };
        let sent = beats.send(NodeId::from(8), beat, FOREVER, at_once);
        let answer = tokio::time::timeout(Duration::from_secs(20), sent).await.expect("it is sent");
        assert!(answer.unwrap().is_none());
    }

    #[tokio::test]
    async fn heartbeats_that_nobody_waits_for_go_together() {
        let (far, beats) = far(Duration::from_millis(20));
        for _ in 0..2 {
            join_all([1, 2, 3].map(|group| beat(&beats, group, false))).await;
        }
        assert_eq!(*far.0.lock(), [[1, 2, 3], [1, 2, 3]]);
    }

    #[tokio::test]
    async fn what_a_read_waits_for_goes_at_once_and_takes_the_others_along() {
        let (far, beats) = far(FOREVER);
        join_all([(1, false), (2, true), (3, false)].map(|(group, now)| beat(&beats, group, now))).await;
        assert_eq!(*far.0.lock(), [[1, 2, 3]]);
    }

    #[tokio::test]
    async fn whoever_hurries_is_not_kept_waiting_by_what_waits_already() {
        let (far, beats) = far(FOREVER);
        let hurry = async {
            while far.0.lock().is_empty() {
                beats.hurry();
                tokio::task::yield_now().await;
            }
        };
        tokio::join!(beat(&beats, 1, false), hurry);
        assert_eq!(*far.0.lock(), [[1]]);
    }
}
