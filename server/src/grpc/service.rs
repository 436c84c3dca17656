//! The `Actors` service: decodes a request, hands it to `dyn Place`, encodes what comes back.

use std::{future::Future, sync::Arc, time::Instant};

use lethe_proto::{
    PAYLOAD_BYTES_MAX,
    v1::{self, ErrorCode, actor, actors_server::Actors, call_request::Args, call_response::Result as WireResult},
};
use lethe_runtime::{
    body::Body,
    host::{ActorCall, ActorReply, CallErrorKind, Outcome, Payload},
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{
    directory::{Directory, Listing},
    entry::{Entered, bounded, entered},
    error::{ended, failure, refuse},
    fetch::{self, FetchStream},
};
use crate::{
    actor::{ActorRef, Failed, Place},
    deploy::{Ids, Namespace},
    shard::SLOTS,
};

/// Longest method name, bytes.
const METHOD_BYTES_MAX: usize = 1024;
const LIST_LIMIT_DEFAULT: usize = 100;
const LIST_LIMIT_MAX: usize = 1000;
/// Groups that a list may name; no cluster has more.
const LIST_GROUPS_MAX: usize = SLOTS as usize;

/// Serves `Actors` over what the rooms below do.
#[derive(Clone)]
pub(super) struct Service {
    pub place: Arc<dyn Place>,
    pub directory: Arc<dyn Directory>,
    /// Cancelled when the server no longer waits for calls under way.
    pub cut: CancellationToken,
}

#[tonic::async_trait]
impl Actors for Service {
    async fn call(&self, request: Request<v1::CallRequest>) -> Result<Response<v1::CallResponse>, Status> {
        let deadline = entered(&request)?.deadline;
        let request = request.into_inner();
        let to = self.address(request.actor)?;
        if request.method.is_empty() || request.method.len() > METHOD_BYTES_MAX {
            let message = format!("a method's name has 1 to {METHOD_BYTES_MAX} bytes, not {}", request.method.len());
            return Err(refuse(ErrorCode::InvalidRequest, message));
        }
        let call = ActorCall::Method { method: request.method, args: arguments(request.args)? };
        let actor = to.id;
        let (bytes, result) = match self.run(deadline, self.place.attempt(to, call, deadline)).await? {
            ActorReply::Value(Payload::V8(bytes)) => (bytes.len(), WireResult::V8(bytes)),
            ActorReply::Value(Payload::Json(text)) => (text.len(), WireResult::Json(text)),
            ActorReply::Response(_) | ActorReply::Destroyed => return Err(wrong_reply()),
        };
        if bytes > PAYLOAD_BYTES_MAX {
            let text = format!("the result has {bytes} bytes; at most {PAYLOAD_BYTES_MAX} can be sent");
            return Err(ended(CallErrorKind::Limit, Outcome::Done, "RangeError", &text));
        }
        let leader = self.directory.elsewhere(actor).unwrap_or_default();
        Ok(Response::new(v1::CallResponse { id: actor.to_string(), result: Some(result), leader }))
    }

    type FetchStream = FetchStream;

    async fn fetch(
        &self,
        request: Request<tonic::Streaming<v1::FetchRequest>>,
    ) -> Result<Response<FetchStream>, Status> {
        let Entered { deadline, place } = entered(&request)?;
        let (head, body) = self.bounded(deadline, fetch::read_head(request.into_inner())).await??;
        let to = self.address(head.actor.clone())?;
        let request = fetch::request(head, body)?;
        let id = to.id.to_string();
        let (request, touched) = fetch::watched(request);
        let service = self.clone();
        let mut reply = Box::pin(async move { service.response(to, request, deadline).await });
        tokio::select! {
            biased;
            response = &mut reply => Ok(Response::new(fetch::stream(id, response?, self.cut.clone(), place))),
            // The actor wants the body: the answer's headers go out as a sign, for those who hold their body back until
            // they know that it is not refused here.
            Ok(()) = touched => Ok(Response::new(fetch::later(id, reply, self.cut.clone(), place))),
        }
    }

    async fn destroy(&self, request: Request<v1::DestroyRequest>) -> Result<Response<v1::DestroyResponse>, Status> {
        let deadline = entered(&request)?.deadline;
        let to = self.address(request.into_inner().actor)?;
        let id = to.id.to_string();
        match self.run(deadline, self.place.attempt(to, ActorCall::Destroy, deadline)).await? {
            ActorReply::Destroyed => Ok(Response::new(v1::DestroyResponse { id })),
            ActorReply::Value(_) | ActorReply::Response(_) => Err(wrong_reply()),
        }
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Result<Response<v1::ListResponse>, Status> {
        let deadline = entered(&request)?.deadline;
        let request = request.into_inner();
        let namespace = self.namespace(&request.namespace)?;
        let after = match request.after.as_str() {
            "" => None,
            hex => Some(hex.parse().map_err(|error| refuse(ErrorCode::InvalidId, format!("`after`: {error}")))?),
        };
        let limit = match request.limit as usize {
            0 => LIST_LIMIT_DEFAULT,
            limit => limit.min(LIST_LIMIT_MAX),
        };
        if request.groups.len() > LIST_GROUPS_MAX {
            let text = format!("a list is of at most {LIST_GROUPS_MAX} groups, not {}", request.groups.len());
            return Err(refuse(ErrorCode::InvalidRequest, text));
        }
        let what = Listing { namespace, after, groups: request.groups, limit: limit + 1 };
        let mut actors = self.run(deadline, self.directory.list(what)).await?;
        let more = actors.len() > limit;
        actors.truncate(limit);
        let next = actors.last().filter(|_| more).map(|last| last.id.to_string()).unwrap_or_default();
        Ok(Response::new(v1::ListResponse { actors: actors.into_iter().map(Into::into).collect(), next }))
    }

    async fn show(&self, request: Request<v1::ShowRequest>) -> Result<Response<v1::ShowResponse>, Status> {
        let deadline = entered(&request)?.deadline;
        let to = self.address(request.into_inner().actor)?;
        let id = to.id;
        match self.run(deadline, self.directory.show(to)).await? {
            Some(actor) => Ok(Response::new(v1::ShowResponse { actor: Some(actor.into()) })),
            None => Err(refuse(ErrorCode::NoSuchActor, format!("there is no actor {id}"))),
        }
    }
}

impl Service {
    async fn response(
        &self,
        to: ActorRef,
        request: http::Request<Body>,
        deadline: Instant,
    ) -> Result<http::Response<Body>, Status> {
        match self.run(deadline, self.place.attempt(to, ActorCall::Fetch(request), deadline)).await? {
            ActorReply::Response(response) => Ok(response),
            ActorReply::Value(_) | ActorReply::Destroyed => Err(wrong_reply()),
        }
    }

    fn namespace(&self, text: &str) -> Result<Namespace, Status> {
        self.directory.namespace(text).map_err(|error| failure(&error.into()))
    }

    /// The address an `Actor` stands for; the id is made, or checked to be one of its namespace.
    fn address(&self, actor: Option<v1::Actor>) -> Result<ActorRef, Status> {
        let actor = actor.ok_or_else(|| refuse(ErrorCode::InvalidRequest, "the request names no actor"))?;
        let namespace = self.namespace(&actor.namespace)?;
        let ids = Ids::new(&namespace.unique_key);
        let (id, name) = match actor.id {
            None => return Err(refuse(ErrorCode::InvalidRequest, "the actor has neither a name nor an id")),
            Some(actor::Id::Unique(_)) => (ids.unique(), None),
            Some(actor::Id::Name(name)) => (ids.from_name(&name), Some(name)),
            Some(actor::Id::Hex(hex)) => (ids.from_hex(&hex), actor.known_name),
        };
        let id = id.map_err(|error| refuse(ErrorCode::InvalidId, error.to_string()))?;
        if name.as_ref().is_some_and(|name| ids.from_name(name) != Ok(id)) {
            return Err(refuse(ErrorCode::InvalidId, format!("actor id {id} is not made from the name given with it")));
        }
        Ok(ActorRef { namespace: namespace.name, id, name })
    }

    /// Runs a call to its end, its deadline, or the end of the server.
    async fn run<T, E: Into<Failed>>(
        &self,
        deadline: Instant,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Status> {
        self.bounded(deadline, call).await?.map_err(|error| failure(&error.into()))
    }

    async fn bounded<T>(&self, deadline: Instant, work: impl Future<Output = T>) -> Result<T, Status> {
        bounded(&self.cut, deadline, work).await
    }
}

fn wrong_reply() -> Status {
    ended(CallErrorKind::Internal, Outcome::Unknown, "InternalError", "the actor's answer is of the wrong kind")
}

fn arguments(args: Option<Args>) -> Result<Payload, Status> {
    let text = match args {
        None => return Ok(Payload::Json("[]".into())),
        Some(Args::V8(bytes)) => return Ok(Payload::V8(bytes)),
        Some(Args::Json(text)) => text,
    };
    match serde_json::from_str::<serde::de::IgnoredAny>(&text) {
        Ok(_) if text.trim_start().starts_with('[') => Ok(Payload::Json(text)),
        Ok(_) => Err(refuse(ErrorCode::InvalidRequest, "arguments must be a JSON array")),
        Err(error) => Err(refuse(ErrorCode::InvalidRequest, format!("arguments are not JSON: {error}"))),
    }
}
