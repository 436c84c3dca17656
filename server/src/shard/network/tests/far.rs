//! The other end of a session, in the hands of a test.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, stream};
use lethe_proto::NodeId;
use openraft::raft::AppendEntriesRequest;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::leader;
use crate::peer::{Answers, Error, Handler, Head, Refusal, Topic};
use crate::shard::network::appends::{Appends, Whom};
use crate::shard::network::batch::{self, Answer, Part};
use crate::shard::network::wire;
use crate::shard::tests::net::Net;
use crate::shard::types::Types;

/// The last resort of a test that fails.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than any test takes.
const STALL: Duration = Duration::from_secs(600);

pub async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// This node's way to node 8.
pub struct Far {
    pub net: Net,
    pub appends: Arc<Appends>,
    tasks: TaskTracker,
}

/// What comes out there.
pub struct Sessions(mpsc::UnboundedReceiver<Coming>);

/// A session as node 8 sees it.
pub struct Coming {
    messages: BoxStream<'static, Result<Bytes, Error>>,
    answers: mpsc::UnboundedSender<Result<Bytes, Refusal>>,
    /// Messages that came.
    pub count: usize,
    /// The groups of the openings that came.
    groups: HashMap<u64, u32>,
}

struct There(mpsc::UnboundedSender<Coming>);

impl Handler for There {
    fn call(&self, _: NodeId, _: Head, _: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        std::future::ready(Err(Refusal::Unavailable("it takes no calls".to_owned()))).boxed()
    }

    fn stream(
        &self,
        _: NodeId,
        _: Head,
        messages: BoxStream<'static, Result<Bytes, Error>>,
    ) -> BoxFuture<'static, Result<Answers<Refusal>, Refusal>> {
        let (answers, sent) = mpsc::unbounded_channel();
        // A test that is over takes no more sessions.
        drop(self.0.send(Coming { messages, answers, count: 0, groups: HashMap::new() }));
        let sent = stream::unfold(sent, |mut sent| async move { Some((sent.recv().await?, sent)) });
        std::future::ready(Ok(sent.boxed())).boxed()
    }
}

pub fn there() -> NodeId {
    NodeId::from(8)
}

pub fn whom(group: u32) -> Whom {
    Whom { node: there(), group, incarnation: 1 }
}

/// A way to node 8, and its other end.
pub fn far() -> (Far, Sessions) {
    far_with_stall(STALL)
}

pub fn far_with_stall(stall: Duration) -> (Far, Sessions) {
    let net = Net::default();
    let (tell, coming) = mpsc::unbounded_channel();
    let handler: Arc<dyn Handler> = Arc::new(There(tell));
    net.join(leader(), []);
    net.join(there(), [(Topic::AppendStream, handler)]);
    let tasks = TaskTracker::new();
    let appends = Arc::new(Appends::new(net.transport(leader()), tasks.clone(), stall));
    (Far { net, appends, tasks }, Sessions(coming))
}

impl Sessions {
    /// The next session.
    pub async fn next(&mut self) -> Coming {
        soon("a session", self.0.recv()).await.expect("the network is there")
    }
}

impl Far {
    /// Ends everything, and every task with it.
    pub async fn stop(self) {
        self.appends.stop();
        self.tasks.close();
        soon("the end of all tasks", self.tasks.wait()).await;
    }
}

impl Coming {
    /// The parts of the next message; none when there are no more.
    pub async fn parts(&mut self) -> Option<Vec<Part>> {
        let message = soon("a message", self.messages.next()).await?.ok()?;
        self.count += 1;
        let parts: Vec<Part> = batch::parts(message).collect::<Result<_, _>>().expect("a sound batch");
        for part in &parts {
            if let Part::Open { opening, group, .. } = part {
                self.groups.insert(*opening, *group);
            }
        }
        Some(parts)
    }

    /// The group an opening is of.
    pub fn group(&self, opening: u64) -> u32 {
        self.groups[&opening]
    }

    /// The last opening of a group.
    pub fn opening(&self, group: u32) -> u64 {
        let openings = self.groups.iter().filter(|(_, of)| **of == group).map(|(opening, _)| *opening);
        openings.max().expect("the group has spoken")
    }

    /// So many append messages, with the openings they are of. Others are left out.
    pub async fn requests(&mut self, count: usize) -> Vec<(u64, AppendEntriesRequest<Types>)> {
        let mut requests = Vec::new();
        while requests.len() < count {
            for part in self.parts().await.expect("the session goes on") {
                if let Part::Append { opening, message } = part {
                    requests.push((opening, wire::decode_append(leader(), message).expect("a sound message")));
                }
            }
        }
        requests
    }

    /// Sends one message of answers.
    pub fn answer(&self, answers: &[Answer]) {
        let mut message = batch::begin(0);
        answers.iter().for_each(|answer| batch::put_answer(&mut message, answer));
        self.send(Bytes::from(message));
    }

    pub fn send(&self, message: Bytes) {
        self.answers.send(Ok(message)).expect("the session goes on");
    }

    pub fn refuse(&self, refusal: Refusal) {
        self.answers.send(Err(refusal)).expect("the session goes on");
    }
}
