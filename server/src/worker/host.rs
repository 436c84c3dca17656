//! The door out of a Worker's isolate: nothing is held back, because a Worker has nothing to commit.

use futures::future::BoxFuture;
use lethe_runtime::{
    body::Body,
    host::{ActorAddress, ActorCall, ActorReply, CallError, Host, IdSource, LogLine},
};

use crate::{actor::outside::Outside, journal};

/// Host of one request.
pub(super) struct WorkerHost {
    outside: Outside,
}

impl WorkerHost {
    pub fn new(outside: Outside) -> Self {
        Self { outside }
    }
}

impl Host for WorkerHost {
    fn actor_id(&self, binding: &str, source: IdSource) -> Result<String, String> {
        self.outside.actor_id(binding, &source)
    }

    fn call_actor(&self, to: ActorAddress, call: ActorCall) -> BoxFuture<'static, Result<ActorReply, CallError>> {
        let outside = self.outside.clone();
        Box::pin(async move { outside.call_actor(to, call).await })
    }

    fn fetch(&self, request: http::Request<Body>) -> BoxFuture<'static, Result<http::Response<Body>, String>> {
        let outside = self.outside.clone();
        Box::pin(async move { outside.fetch(request).await })
    }

    fn log(&self, line: LogLine) {
        journal::print(self.outside.version.name(), &line);
    }
}
