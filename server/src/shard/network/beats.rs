//! Heartbeats and read-index probes of all groups to one node, many in one message.
//!
//! Every group's own append-entries message is in it and gets its own answer; nothing is made up for a group. There is
//! no timer: while a few messages to a node are under way, what comes up gathers and goes with the next one.

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
}

struct Waiting {
    beat: Beat,
    deadline: Instant,
    tell: oneshot::Sender<Outcome>,
}

impl Beats {
    pub fn new(transport: Arc<dyn Transport>, tasks: TaskTracker) -> Arc<Self> {
        Arc::new(Self { transport, tasks, peers: Mutex::default() })
    }

    /// Sends a heartbeat and waits for its answer.
    pub async fn send(self: &Arc<Self>, to: NodeId, beat: Beat, wait: Duration) -> Outcome {
        let (tell, told) = oneshot::channel();
        let call = {
            let mut peers = self.peers.lock();
            let queue = peers.entry(to).or_default();
            queue.waiting.push(Waiting { beat, deadline: Instant::now() + wait, tell });
            let call = queue.calls < CALLS_MAX;
            queue.calls += usize::from(call);
            call
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
