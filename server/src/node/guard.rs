//! The guard at the node's faces: no call gets in where the newest deploy may not be known; it is refused as not done.
//!
//! HTTP requests have no guard, because a Worker pins its version under the same condition (`Deployments::pin`), and so
//! does every new instance of an actor. What is under way goes on: Raft fences what it writes.

use std::time::Instant;

use futures::future::BoxFuture;
use lethe_proto::ActorId;
use lethe_runtime::host::{ActorCall, ActorReply, CallError};

use super::operator::unavailable;
use crate::{
    actor::{ActorRef, Call, Failed, Place},
    cluster::Cluster,
    deploy::Namespace,
    grpc::{ActorInfo, Directory, Listing},
};

/// Stands before `inner` and lets calls in while the node's knowledge of the cluster is fresh.
#[derive(Clone)]
pub(super) struct Guarded<T> {
    inner: T,
    cluster: Cluster,
}

impl<T> Guarded<T> {
    pub fn new(inner: T, cluster: Cluster) -> Self {
        Self { inner, cluster }
    }
}

impl<T: Call> Call for Guarded<T> {
    fn call(
        &self,
        to: ActorRef,
        call: ActorCall,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<ActorReply, CallError>> {
        match self.cluster.is_fresh() {
            Ok(()) => self.inner.call(to, call, deadline),
            Err(stale) => Box::pin(async move { Err(unavailable(&stale.to_string())) }),
        }
    }
}

impl<T: Place> Place for Guarded<T> {
    fn attempt(
        &self,
        to: ActorRef,
        call: ActorCall,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<ActorReply, Failed>> {
        match self.cluster.is_fresh() {
            Ok(()) => self.inner.attempt(to, call, deadline),
            Err(stale) => Box::pin(async move { Err(unavailable(&stale.to_string()).into()) }),
        }
    }
}

impl<T: Directory> Directory for Guarded<T> {
    /// What is deployed is not known here yet, or not any more: nobody must hear that his namespace does not exist.
    fn namespace(&self, text: &str) -> Result<Namespace, CallError> {
        self.cluster.is_fresh().map_err(|stale| unavailable(&stale.to_string()))?;
        self.inner.namespace(text)
    }

    fn list(&self, what: Listing) -> BoxFuture<'static, Result<Vec<ActorInfo>, Failed>> {
        self.inner.list(what)
    }

    fn show(&self, actor: ActorRef) -> BoxFuture<'static, Result<Option<ActorInfo>, Failed>> {
        self.inner.show(actor)
    }

    fn elsewhere(&self, actor: ActorId) -> Option<String> {
        self.inner.elsewhere(actor)
    }
}
