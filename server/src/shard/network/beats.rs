//! Heartbeats and read-index probes of all groups to one node, many in one message.
//!
//! Every group's own append-entries message is in it and gets its own answer; nothing is made up for a group. There is no
//! timer: what comes up at the same moment goes together, as heartbeats of replicas do, whose clocks tick together, and
//! while a few messages to a node are under way, what comes up gathers and goes with the next one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lethe_proto::NodeId;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use super::wire::{self, Beat, BeatAnswer};
use crate::peer::{Error, Head, Lane, Topic, Transport};

/// Messages to one node under way at once.
const CALLS_MAX: usize = 4;
/// Heartbeats in one message.
pub(super) const BEATS_MAX: usize = 4096;

/// Pauses before a replica that did not answer is asked again, milliseconds.
const ASK_AGAIN_MS: [u64; 3] = [10, 20, 40];

/// What one heartbeat came to.
pub(super) type Outcome = Result<BeatAnswer, Error>;

/// Heartbeats to all nodes.
pub(super) struct Beats {
    transport: Arc<dyn Transport>,
    tasks: TaskTracker,
    peers: Mutex<HashMap<NodeId, Queue>>,
}

/// Heartbeats to one node. Each group has at most one of them waiting.
#[derive(Default)]
struct Queue {
    waiting: Vec<Waiting>,
    calls: usize,
    /// A call is about to take what waits.
    is_due: bool,
}

struct Waiting {
    beat: Beat,
    deadline: Instant,
    tell: oneshot::Sender<Outcome>,
}

impl Queue {
    /// Whether another call is to be made; it is then counted.
    fn starts_call(&mut self) -> bool {
        let starts = !self.is_due && self.calls < CALLS_MAX;
        self.calls += usize::from(starts);
        self.is_due |= starts;
        starts
    }
}

impl Beats {
    pub fn new(transport: Arc<dyn Transport>, tasks: TaskTracker) -> Arc<Self> {
        Arc::new(Self { transport, tasks, peers: Mutex::default() })
    }

    /// Sends a heartbeat and waits for its answer. A replica that has no answer is asked again a few times: it may be writing
    /// its vote.
    pub async fn send(self: &Arc<Self>, to: NodeId, beat: Beat, wait: Duration) -> Outcome {
        let deadline = Instant::now() + wait;
        for pause_ms in ASK_AGAIN_MS {
            let answered = self.ask(to, beat.clone(), deadline).await?;
            let pause = Duration::from_millis(pause_ms);
            if answered.is_some() || Instant::now() + pause >= deadline {
                return Ok(answered);
            }
            tokio::time::sleep(pause).await;
        }
        self.ask(to, beat, deadline).await
    }

    async fn ask(self: &Arc<Self>, to: NodeId, beat: Beat, deadline: Instant) -> Outcome {
        let (tell, told) = oneshot::channel();
        let call = {
            let mut peers = self.peers.lock();
            let queue = peers.entry(to).or_default();
            queue.waiting.push(Waiting { beat, deadline, tell });
            queue.starts_call()
        };
        if call {
            self.tasks.spawn(self.clone().call(to));
        }
        told.await.unwrap_or(Err(Error::Deadline))
    }

    /// Sends what waits until nothing does.
    async fn call(self: Arc<Self>, to: NodeId) {
        loop {
            // Heartbeats that are due at the same moment get a chance to come along.
            tokio::task::yield_now().await;
            let batch = {
                let mut peers = self.peers.lock();
                let Some(queue) = peers.get_mut(&to) else { return };
                queue.is_due = false;
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
    use openraft::raft::AppendEntriesResponse;
    use openraft::vote::RaftVote;

    use super::*;
    use crate::peer::Answers;
    use crate::shard::types::{Leader, Vote};

    /// Longer than any test.
    const FOREVER: Duration = Duration::from_secs(3600);

    /// Notes which groups were in each message. Each group has no answer so many times.
    #[derive(Default)]
    struct Far(Mutex<Vec<Vec<u32>>>, Mutex<HashMap<u32, usize>>);

    impl Transport for Far {
        fn call(&self, _: NodeId, _: Head, message: Bytes, _: Instant) -> BoxFuture<'static, Result<Bytes, Error>> {
            let beats: Vec<Beat> = wire::decode(&message).unwrap();
            self.0.lock().push(beats.iter().map(|beat| beat.group).collect());
            let answer = |beat: &Beat| match self.1.lock().get_mut(&beat.group) {
                Some(late @ 1..) => {
                    *late -= 1;
                    None
                }
                Some(0) | None => Some(AppendEntriesResponse::Success),
            };
            let answers: Vec<BeatAnswer> = beats.iter().map(answer).collect();
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

    fn far() -> (Arc<Far>, Arc<Beats>) {
        let far = Arc::new(Far::default());
        (far.clone(), Beats::new(far, TaskTracker::new()))
    }

    async fn beat(beats: &Arc<Beats>, group: u32) {
        assert!(send(beats, group).await.is_some());
    }

    async fn send(beats: &Arc<Beats>, group: u32) -> BeatAnswer {
        let vote = Vote::from_leader_id(Leader { term: 1, node_id: NodeId::from(7) }, true);
        let beat = Beat { group, incarnation: 1, vote, prev: None, committed: None };
        let sent = beats.send(NodeId::from(8), beat, FOREVER);
        let answer = tokio::time::timeout(Duration::from_secs(20), sent).await.expect("it is sent");
        answer.unwrap()
    }

    #[tokio::test]
    async fn heartbeats_of_the_same_moment_go_together() {
        let (far, beats) = far();
        for _ in 0..2 {
            join_all([1, 2, 3].map(|group| beat(&beats, group))).await;
        }
        assert_eq!(*far.0.lock(), [[1, 2, 3], [1, 2, 3]]);
    }

    #[tokio::test]
    async fn a_replica_that_has_no_answer_yet_is_asked_again_and_the_others_do_not_wait_for_it() {
        let (far, beats) = far();
        far.1.lock().insert(1, 2);
        let others_first = async {
            beat(&beats, 2).await;
            assert_eq!(far.0.lock().len(), 1);
        };
        tokio::join!(biased; beat(&beats, 1), others_first);
        assert_eq!(*far.0.lock(), [vec![1, 2], vec![1], vec![1]]);
    }

    #[tokio::test]
    async fn a_replica_that_is_not_there_is_not_asked_for_ever() {
        let (far, beats) = far();
        far.1.lock().insert(1, usize::MAX);
        assert!(send(&beats, 1).await.is_none());
        assert_eq!(far.0.lock().len(), 1 + ASK_AGAIN_MS.len());
    }
}
