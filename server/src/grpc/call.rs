//! One call of a method, or one destruction: from its message to its attempt, and from the attempt's end to the answer.
//!
//! Both ways in go through here: a request of its own (`Call`, `Destroy`) and a number on a stream of calls (`Calls`).
//! Who holds a [`Begun`] polls it, and keeps the deadline.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use futures::future::BoxFuture;
use lethe_proto::{
    ActorId, PAYLOAD_BYTES_MAX,
    v1::{
        self, ErrorCode, actor, call_request::Args, call_response::Result as WireResult, numbered_answer::Answer,
        numbered_call::What,
    },
};
use lethe_runtime::host::{ActorCall, ActorReply, CallErrorKind, Outcome, Payload};

use super::{
    directory::Directory,
    error::{of_attempt, of_call, of_end, of_refusal},
    service::Service,
};
use crate::{
    actor::{ActorRef, Failed, error},
    deploy::{IdError, Ids, Namespace},
};

/// Longest method name, bytes.
const METHOD_BYTES_MAX: usize = 1024;

/// A call that is under way.
pub(super) struct Begun {
    attempt: BoxFuture<'static, Result<ActorReply, Failed>>,
    actor: ActorId,
    wants: Wants,
    directory: Arc<dyn Directory>,
}

/// What the caller wants to hear.
#[derive(Clone, Copy)]
enum Wants {
    Value { with_id: bool },
    Destroyed,
}

impl Service {
    /// Begins a call or a destruction. An error means that nothing ran.
    pub fn begin(&self, what: What, deadline: Instant) -> Result<Begun, v1::Error> {
        match what {
            What::Call(request) => self.begin_call(request, deadline),
            What::Destroy(request) => self.begin_destroy(request, deadline),
        }
    }

    fn begin_call(&self, request: v1::CallRequest, deadline: Instant) -> Result<Begun, v1::Error> {
        let to = self.address(request.actor)?;
        if request.method.is_empty() || request.method.len() > METHOD_BYTES_MAX {
            let message = format!("a method's name has 1 to {METHOD_BYTES_MAX} bytes, not {}", request.method.len());
            return Err(of_refusal(ErrorCode::InvalidRequest, message));
        }
        let call = ActorCall::Method { method: request.method, args: arguments(request.args)? };
        Ok(self.attempt(to, call, deadline, Wants::Value { with_id: !request.without_id }))
    }

    fn begin_destroy(&self, request: v1::DestroyRequest, deadline: Instant) -> Result<Begun, v1::Error> {
        let to = self.address(request.actor)?;
        let call = ActorCall::Destroy { by_operator: request.by_operator };
        Ok(self.attempt(to, call, deadline, Wants::Destroyed))
    }

    fn attempt(&self, to: ActorRef, call: ActorCall, deadline: Instant, wants: Wants) -> Begun {
        let actor = to.id;
        Begun { attempt: self.place.attempt(to, call, deadline), actor, wants, directory: self.directory.clone() }
    }

    /// The namespace that a text stands for.
    pub fn namespace(&self, text: &str) -> Result<Namespace, v1::Error> {
        self.directory.namespace(text).map_err(|error| of_call(&error))
    }

    /// The address an `Actor` stands for; the id is made, or checked to be one of its namespace.
    pub fn address(&self, actor: Option<v1::Actor>) -> Result<ActorRef, v1::Error> {
        let actor = actor.ok_or_else(|| of_refusal(ErrorCode::InvalidRequest, "the request names no actor"))?;
        let namespace = self.namespace(&actor.namespace)?;
        let ids = Ids::new(&namespace.unique_key);
        let (id, name) = match actor.id {
            None => {
                return Err(of_refusal(ErrorCode::InvalidRequest, "the actor has neither a name nor an id"));
            }
            Some(actor::Id::Unique(_)) => (ids.unique(), None),
            Some(actor::Id::Name(name)) => {
                let id = ids.from_name(&name).map_err(|error| of_refusal(ErrorCode::InvalidId, error.to_string()))?;
                return Ok(ActorRef { namespace: namespace.name, id, name: Some(name) });
            }
            Some(actor::Id::Hex(hex)) => (hex.parse().map_err(IdError::from), actor.known_name),
            Some(actor::Id::Raw(bytes)) => (Ok(raw_id(&bytes)?), actor.known_name),
        };
        let id = id.map_err(|error| of_refusal(ErrorCode::InvalidId, error.to_string()))?;
        // An id that its name makes is one of the namespace.
        if name.as_ref().is_some_and(|name| ids.from_name(name) == Ok(id)) {
            return Ok(ActorRef { namespace: namespace.name, id, name });
        }
        ids.check(id).map_err(|error| of_refusal(ErrorCode::InvalidId, error.to_string()))?;
        if name.is_some() {
            let text = format!("actor id {id} is not made from the name given with it");
            return Err(of_refusal(ErrorCode::InvalidId, text));
        }
        Ok(ActorRef { namespace: namespace.name, id, name })
    }
}

impl Begun {
    fn end(&self, ended: Result<ActorReply, Failed>) -> Result<Answer, v1::Error> {
        let reply = ended.map_err(|failed| of_attempt(&failed))?;
        let (bytes, result, with_id) = match (reply, self.wants) {
            (ActorReply::Value(Payload::V8(bytes)), Wants::Value { with_id }) => {
                (bytes.len(), WireResult::V8(bytes), with_id)
            }
            (ActorReply::Value(Payload::Json(text)), Wants::Value { with_id }) => {
                (text.len(), WireResult::Json(text), with_id)
            }
            (ActorReply::Destroyed, Wants::Destroyed) => {
                return Ok(Answer::Destroyed(v1::DestroyResponse { id: self.actor.to_string() }));
            }
            _ => return Err(wrong_reply()),
        };
        if bytes > PAYLOAD_BYTES_MAX {
            let text = format!("the result has {bytes} bytes; at most {PAYLOAD_BYTES_MAX} can be sent");
            return Err(of_end(CallErrorKind::Limit, Outcome::Done, "RangeError", &text));
        }
        let leader = self.directory.elsewhere(self.actor).unwrap_or_default();
        let id = if with_id { self.actor.to_string() } else { String::new() };
        Ok(Answer::Called(v1::CallResponse { id, result: Some(result), leader }))
    }
}

/// Never [`Answer::Error`]: that is the error.
impl Future for Begun {
    type Output = Result<Answer, v1::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let ended = ready!(self.attempt.as_mut().poll(cx));
        Poll::Ready(self.end(ended))
    }
}

fn raw_id(bytes: &[u8]) -> Result<ActorId, v1::Error> {
    let wrong = |_| of_refusal(ErrorCode::InvalidId, format!("a raw actor id has 32 bytes, not {}", bytes.len()));
    bytes.try_into().map(ActorId).map_err(wrong)
}

/// An actor answered, but not to what it was asked.
pub(super) fn wrong_reply() -> v1::Error {
    of_call(&error::internal("the actor's answer is of the wrong kind", Outcome::Unknown))
}

fn arguments(args: Option<Args>) -> Result<Payload, v1::Error> {
    let text = match args {
        None => return Ok(Payload::Json("[]".into())),
        Some(Args::V8(bytes)) => return Ok(Payload::V8(bytes)),
        Some(Args::Json(text)) => text,
    };
    match serde_json::from_str::<serde::de::IgnoredAny>(&text) {
        Ok(_) if text.trim_start().starts_with('[') => Ok(Payload::Json(text)),
        Ok(_) => Err(of_refusal(ErrorCode::InvalidRequest, "arguments must be a JSON array")),
        Err(error) => Err(of_refusal(ErrorCode::InvalidRequest, format!("arguments are not JSON: {error}"))),
    }
}
