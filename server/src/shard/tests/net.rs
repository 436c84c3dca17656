//! A network in memory: every direction between two nodes can be cut, held, slowed or made to repeat itself.
//!
//! It is as reliable as the real one: a call is delivered at most once, unless `Twice` says otherwise, and a stream
//! never loses a message from its middle. What is cut off waits, as a connection does, or ends when a node goes down.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use lethe_proto::NodeId;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::peer::{Answers, Error, Handler, Head, Refusal, Topic, Transport};

/// What one direction between two nodes does with messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// Delivers them.
    #[default]
    Open,
    /// Loses calls; streams wait.
    Cut,
    /// Delivers calls; streams wait.
    Calls,
    /// Everything waits until the way is another.
    Held,
    /// Delivers them so much later.
    Slow(Duration),
    /// Delivers calls twice.
    Twice,
}

/// What becomes of one message of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives.
    Arrives,
    /// It arrives with a changed byte.
    Changed,
    /// The connection breaks before it.
    Breaks,
    /// Neither it nor what follows arrives, and nobody learns of that.
    Stalls,
}

/// Says what becomes of the messages of a topic's streams, counted from 0 in each stream; the first number is that of
/// the stream.
pub type Fates = Arc<dyn Fn(u64, u64) -> Fate + Send + Sync>;

/// The network. Clones are the same one.
#[derive(Clone, Default)]
pub struct Net {
    state: Arc<Mutex<State>>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    nodes: HashMap<NodeId, Present>,
    ways: HashMap<(NodeId, NodeId), Way>,
    calls: HashMap<Topic, u64>,
    fates: HashMap<Topic, Fates>,
}

/// A node that is up.
#[derive(Clone)]
struct Present {
    handlers: HashMap<Topic, Arc<dyn Handler>>,
    /// Ends all its connections.
    down: CancellationToken,
}

/// One node's end of the network.
struct End {
    net: Net,
    from: NodeId,
}

impl Net {
    /// The transport of a node.
    pub fn transport(&self, from: NodeId) -> Arc<dyn Transport> {
        Arc::new(End { net: self.clone(), from })
    }

    /// A node is up from now on.
    pub fn join(&self, node: NodeId, handlers: impl IntoIterator<Item = (Topic, Arc<dyn Handler>)>) {
        let present = Present { handlers: handlers.into_iter().collect(), down: CancellationToken::new() };
        self.state.lock().nodes.insert(node, present);
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// A node is gone: its connections break, and it can neither be reached nor reach anybody.
    pub fn leave(&self, node: NodeId) {
        if let Some(present) = self.state.lock().nodes.remove(&node) {
            present.down.cancel();
        }
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// What the way from one node to another does from now on.
    pub fn set(&self, from: NodeId, to: NodeId, way: Way) {
        self.state.lock().ways.insert((from, to), way);
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// The same for both directions.
    pub fn set_both(&self, a: NodeId, b: NodeId, way: Way) {
        self.set(a, b, way);
        self.set(b, a, way);
    }

    /// Opens all ways.
    pub fn heal(&self) {
        self.state.lock().ways.clear();
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// Decides over the messages of all streams of a topic.
    pub fn decide(&self, topic: Topic, fates: Fates) {
        self.state.lock().fates.insert(topic, fates);
    }

    /// Calls and streams so far about a topic.
    pub fn calls(&self, topic: Topic) -> u64 {
        self.state.lock().calls.get(&topic).copied().unwrap_or(0)
    }

    fn way(&self, from: NodeId, to: NodeId) -> Way {
        self.state.lock().ways.get(&(from, to)).copied().unwrap_or_default()
    }

    /// Waits until a message may pass. False if it is lost.
    async fn pass(&self, from: NodeId, to: NodeId, waits: bool) -> bool {
        let mut changed = self.changed.subscribe();
        loop {
            match self.way(from, to) {
                Way::Open | Way::Twice => return true,
                Way::Slow(time) => {
                    tokio::time::sleep(time).await;
                    return true;
                }
                Way::Calls if !waits => return true,
                Way::Cut if !waits => return false,
                Way::Cut | Way::Calls | Way::Held => {
                    if changed.changed().await.is_err() {
                        return false;
                    }
                }
            }
        }
    }

    fn present(&self, from: NodeId, to: NodeId, topic: Topic) -> Result<Route, Error> {
        let mut state = self.state.lock();
        *state.calls.entry(topic).or_default() += 1;
        let here = state.nodes.get(&from).ok_or_else(|| Error::Unreachable("the sender is down".to_owned()))?;
        let there = state.nodes.get(&to).ok_or_else(|| Error::Unreachable("it is down".to_owned()))?;
        let handler = there.handlers.get(&topic).cloned();
        let handler = handler.ok_or_else(|| Error::Refused(Refusal::Malformed("nobody takes it".to_owned())))?;
        Ok(Route { handler, downs: [here.down.clone(), there.down.clone()] })
    }
}

/// Who takes a message, and what breaks its connection.
struct Route {
    handler: Arc<dyn Handler>,
    downs: [CancellationToken; 2],
}

impl Route {
    fn broken(&self) -> BoxFuture<'static, ()> {
        let [a, b] = self.downs.clone();
        async move {
            tokio::select! {
                () = a.cancelled() => {}
                () = b.cancelled() => {}
            }
        }
        .boxed()
    }
}

fn lost() -> Error {
    Error::Lost("the connection broke".to_owned())
}

impl Transport for End {
    fn call(
        &self,
        to: NodeId,
        head: Head,
        message: Bytes,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<Bytes, Error>> {
        let (net, from) = (self.net.clone(), self.from);
        let calling = async move {
            let route = net.present(from, to, head.topic)?;
            let broken = route.broken();
            let work = async {
                if !net.pass(from, to, false).await {
                    return std::future::pending().await;
                }
                if net.way(from, to) == Way::Twice {
                    drop(route.handler.call(from, head, message.clone()).await);
                }
                let answer = route.handler.call(from, head, message).await;
                if !net.pass(to, from, false).await {
                    return std::future::pending().await;
                }
                answer.map_err(Error::Refused)
            };
            tokio::select! {
                answer = work => answer,
                () = broken => Err(lost()),
            }
        };
        async move {
            let timed = tokio::time::timeout_at(deadline.into(), calling).await;
            timed.unwrap_or(Err(Error::Deadline))
        }
        .boxed()
    }

    fn stream(
        &self,
        to: NodeId,
        head: Head,
        messages: BoxStream<'static, Bytes>,
    ) -> BoxFuture<'static, Result<Answers<Error>, Error>> {
        let (net, from) = (self.net.clone(), self.from);
        async move {
            let route = net.present(from, to, head.topic)?;
            let messages = decided(&net, head.topic, messages.map(Ok).boxed());
            let there = delayed(net.clone(), (from, to), route.broken(), messages);
            let answers = route.handler.stream(from, head, there).await.map_err(Error::Refused)?;
            let answers = answers.map(|answer| answer.map_err(Error::Refused)).boxed();
            Ok(delayed(net, (to, from), route.broken(), answers))
        }
        .boxed()
    }
}

/// Messages of a stream after their fate was decided.
fn decided(net: &Net, topic: Topic, messages: Answers<Error>) -> Answers<Error> {
    let (fates, number) = {
        let state = net.state.lock();
        let Some(fates) = state.fates.get(&topic).cloned() else { return messages };
        (fates, state.calls.get(&topic).map_or(0, |calls| calls - 1))
    };
    let deciding = messages.enumerate().then(move |(at, message)| {
        let fate = fates(number, at as u64);
        async move {
            match fate {
                Fate::Arrives => message,
                Fate::Breaks => Err(lost()),
                Fate::Changed => message.map(changed),
                Fate::Stalls => std::future::pending().await,
            }
        }
    });
    deciding.boxed()
}

fn changed(bytes: Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    Bytes::from(bytes)
}

/// Messages of a stream as they come out at the other end.
fn delayed(
    net: Net,
    (from, to): (NodeId, NodeId),
    broken: BoxFuture<'static, ()>,
    messages: Answers<Error>,
) -> Answers<Error> {
    let state = Some((net, broken.shared(), messages));
    let passing = stream::unfold(state, move |state| async move {
        let (net, broken, mut messages) = state?;
        let next = async {
            let message = messages.next().await?;
            net.pass(from, to, true).await;
            Some(message)
        };
        let next = tokio::select! {
            next = next => next?,
            () = broken.clone() => return Some((Err(lost()), None)),
        };
        let goes_on = next.is_ok();
        Some((next, goes_on.then_some((net, broken, messages))))
    });
    passing.boxed()
}
