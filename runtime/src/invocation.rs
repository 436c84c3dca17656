//! What comes into an isolate, and where the answer goes.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::{body::Body, engine::ActorStart, error::InvocationError, host::Payload, quotas::Share};

/// An incoming event. Every one gets exactly one answer.
pub(crate) enum Event {
    /// A Worker's `fetch`.
    Fetch { entrypoint: Option<String>, request: http::Request<Body>, reply: Reply },
    /// A Worker's `scheduled`.
    Scheduled { cron: String, scheduled_time_ms: u64, reply: Reply },
    /// An actor's constructor.
    Construct { start: ActorStart, section_timeout: Duration, reply: Reply },
    /// An actor's method.
    Call { method: String, args: Payload, waiting: Share, reply: Reply },
    /// An actor's `fetch`.
    ActorFetch { request: http::Request<Body>, reply: Reply },
}

/// Where an answer goes.
pub(crate) enum Reply {
    /// The answer is a response.
    Response(oneshot::Sender<Result<http::Response<Body>, InvocationError>>),
    /// The answer is a value.
    Value(oneshot::Sender<Result<Payload, InvocationError>>),
    /// The answer is that it is done.
    Done(oneshot::Sender<Result<(), InvocationError>>),
}

impl Reply {
    /// Answers with an error.
    pub(crate) fn fail(self, error: InvocationError) {
        match self {
            Self::Response(reply) => drop(reply.send(Err(error))),
            Self::Value(reply) => drop(reply.send(Err(error))),
            Self::Done(reply) => drop(reply.send(Err(error))),
        }
    }
}

impl Event {
    /// Answers an event that will not run.
    pub(crate) fn refuse(self, error: InvocationError) {
        match self {
            Self::Fetch { reply, .. }
            | Self::Scheduled { reply, .. }
            | Self::Construct { reply, .. }
            | Self::Call { reply, .. }
            | Self::ActorFetch { reply, .. } => reply.fail(error),
        }
    }
}
