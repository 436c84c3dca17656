//! Answers to other nodes about the room's topics.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use futures::future::BoxFuture;
use lethe_proto::NodeId;

use super::enter::enlist;
use super::handle::Inner;
use super::message::{Ask, Join, Joined, Report, decode, encode};
use crate::peer::{Handler, Head, Refusal, Topic};

/// The room's handler. It holds the room weakly: the peer port outlives it.
pub(super) struct Answers {
    inner: Weak<Inner>,
}

impl Answers {
    pub fn new(inner: &Arc<Inner>) -> Self {
        Self { inner: Arc::downgrade(inner) }
    }
}

impl Handler for Answers {
    fn call(&self, from: NodeId, head: Head, message: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        let inner = self.inner.upgrade();
        Box::pin(async move {
            let inner = inner.ok_or_else(|| Refusal::Unavailable("the node is stopping".to_owned()))?;
            inner.answer(from, head.topic, &message).await
        })
    }
}

impl Inner {
    async fn answer(&self, from: NodeId, topic: Topic, message: &[u8]) -> Result<Bytes, Refusal> {
        match topic {
            Topic::Join => {
                let join: Join = decode(message)?;
                if join.node != from {
                    return Err(Refusal::Sender(format!("{from} asks for {}", join.node)));
                }
                Ok(encode(&self.joined(&join).await))
            }
            Topic::Status => {
                let report: Report = decode(message)?;
                self.heard(from, report);
                Ok(encode(&self.report()))
            }
            Topic::Registry => {
                if !self.is_member(from) {
                    return Err(Refusal::Unavailable(format!("{from} is not known as a member here yet")));
                }
                let ask: Ask = decode(message)?;
                Ok(encode(&self.registry.answer(ask).await))
            }
            other => Err(Refusal::Malformed(format!("{other:?} is for another room"))),
        }
    }

    async fn joined(&self, join: &Join) -> Joined {
        let Some(map) = self.now() else { return Joined::NotNow("this node is starting itself".to_owned()) };
        let enlisting = enlist(&self.registry, &map, join, &self.config);
        let mut joined = match enlisting.await {
            Ok(joined) => joined,
            Err(error) => Joined::NotNow(error.to_string()),
        };
        if let Joined::Welcome(members) = &mut joined {
            members.retain(|(_, address)| !address.is_empty());
        }
        joined
    }
}
