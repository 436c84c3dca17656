//! One HTTP request, one fresh isolate: runs the current version's `fetch` handler and answers for its failures.
//!
//! The version is pinned when the request arrives, not when its turn comes. Where the newest one may not be known, the
//! answer is 503.

mod failure;
mod host;

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use futures::future::BoxFuture;
use http::{Request, Response};
use lethe_runtime::{body::Body, engine::Engine};

use self::host::WorkerHost;
use crate::{
    actor::{Call, outside::Outside},
    deploy::Deployments,
    egress::Fetcher,
    gateway::{Peer, Serve},
};

/// What Workers of a node stand on.
#[derive(Clone)]
pub struct Workers {
    /// Runs their JavaScript.
    pub engine: Engine,
    /// Their code.
    pub deployments: Deployments,
    /// Their way to the internet.
    pub fetcher: Fetcher,
    /// Their way to actors.
    pub call: Weak<dyn Call>,
    /// Longest wait for an actor's reply.
    pub call_timeout: Duration,
    /// Whether a failure's message and stack are shown to the client, as `lethe dev` does.
    pub show_failures: bool,
}

impl Serve for Workers {
    fn serve(&self, request: Request<Body>, peer: Peer) -> BoxFuture<'static, Response<Body>> {
        let workers = self.clone();
        let pinned = workers.deployments.pin();
        Box::pin(async move {
            let version = match pinned {
                Ok(version) => version,
                Err(stale) => return failure::not_now(&stale),
            };
            let outside = Outside {
                version: version.clone(),
                call: workers.call,
                fetcher: workers.fetcher,
                call_timeout: workers.call_timeout,
            };
            let host = Arc::new(WorkerHost::new(outside));
            match workers.engine.fetch(version.program(), None, request, host).await {
                Ok(response) => response,
                Err(failure) => failure::respond(&version, peer.request_id, &failure, workers.show_failures),
            }
        })
    }
}
