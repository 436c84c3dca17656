//! `Call`: how anything calls an actor. `actor` holds it for calls between actors, `routing` implements it, `node` wires.

use std::time::Instant;

use futures::future::BoxFuture;
use lethe_proto::ActorId;
use lethe_runtime::host::{ActorCall, ActorReply, CallError};

/// Full address of an actor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ActorRef {
    /// `script/Class`
    pub namespace: String,
    /// The actor's id, checked to be one of this namespace.
    pub id: ActorId,
    /// The name the id was made from, if known.
    pub name: Option<String>,
}

/// Calls an actor wherever it lives.
pub trait Call: Send + Sync + 'static {
    /// Calls `to` and waits for its reply until `deadline`. Every error says whether the call took effect.
    fn call(
        &self,
        to: ActorRef,
        call: ActorCall,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<ActorReply, CallError>>;
}
