//! What any isolate may reach, Worker or actor: the actors its worker is bound to, and the internet.
//!
//! Both implementations of `runtime::Host` stand on it; the actor's puts its output gate in front.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use lethe_runtime::{
    body::Body,
    host::{ActorAddress, ActorCall, ActorReply, CallError, IdSource, Outcome},
};

use super::{ActorRef, Call, error};
use crate::{deploy::Version, egress::Fetcher};

/// The world as one version of a worker sees it.
#[derive(Clone)]
pub(crate) struct Outside {
    /// The version whose bindings count.
    pub version: Arc<Version>,
    /// How actors are called. Weak, because what implements it owns the actors that call through it.
    pub call: Weak<dyn Call>,
    /// How the internet is reached.
    pub fetcher: Fetcher,
    /// Longest wait for an actor's reply.
    pub call_timeout: Duration,
}

impl Outside {
    /// Checks or makes an actor id for `binding`.
    pub fn actor_id(&self, binding: &str, source: &IdSource) -> Result<String, String> {
        let namespace = self.version.namespace(binding).map_err(|error| error.to_string())?;
        let id = self.version.actor_id(&namespace.name, source).map_err(|error| error.to_string())?;
        Ok(id.to_string())
    }

    /// Calls an actor of a namespace that the worker is bound to.
    pub async fn call_actor(&self, to: ActorAddress, call: ActorCall) -> Result<ActorReply, CallError> {
        let to = self.resolve(to)?;
        let router = self.call.upgrade().ok_or_else(|| error::unavailable("the node is stopping", Outcome::NotDone))?;
        router.call(to, call, Instant::now() + self.call_timeout).await
    }

    /// Sends one request to the outside.
    pub async fn fetch(&self, request: http::Request<Body>) -> Result<http::Response<Body>, String> {
        self.fetcher.fetch(request, self.version.egress()).await.map_err(|error| error.to_string())
    }

    fn resolve(&self, to: ActorAddress) -> Result<ActorRef, CallError> {
        let invalid = |reason: crate::deploy::NameError| error::invalid_target(reason.to_string());
        let namespace = self.version.namespace(&to.binding).map_err(invalid)?.name.clone();
        let id = self.version.actor_id(&namespace, &IdSource::Hex(to.id)).map_err(invalid)?;
        Ok(ActorRef { namespace, id, name: to.name })
    }
}
