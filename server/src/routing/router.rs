//! The router: the node's one implementation of `Call`. Every caller, local or remote, goes through it.
//!
//! A node that is its own cluster leads every shard, so every actor is here. Other nodes are not known yet; an actor
//! whose shard this node does not lead is refused by the actor room, and the caller is told that nothing was done.

use std::time::Instant;

use futures::future::BoxFuture;
use lethe_runtime::host::{ActorCall, ActorReply, CallError};

use crate::actor::{ActorRef, Actors, Call};

/// Calls actors wherever they live.
#[derive(Clone)]
pub struct Router {
    actors: Actors,
}

impl Router {
    /// A router over this node's actors.
    pub fn new(actors: Actors) -> Self {
        Self { actors }
    }
}

impl Call for Router {
    fn call(
        &self,
        to: ActorRef,
        call: ActorCall,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<ActorReply, CallError>> {
        let actors = self.actors.clone();
        Box::pin(async move { actors.call(to, call, deadline).await })
    }
}
