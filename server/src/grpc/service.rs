//! The `Actors` service: decodes a request, hands it to `dyn Place`, encodes what comes back.

use std::{future::Future, sync::Arc, time::Instant};

use lethe_proto::v1::{self, ErrorCode, actors_server::Actors, numbered_answer::Answer, numbered_call::What};
use lethe_runtime::{
    body::Body,
    host::{ActorCall, ActorReply},
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{
    call::wrong_reply,
    calls::{self, Answers},
    directory::{Directory, Listing},
    entry::{Entered, bounded, entered},
    error::{envelope, failure, refuse},
    fetch::{self, FetchStream},
};
use crate::{
    actor::{ActorRef, Failed, Place},
    shard::SLOTS,
};

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
    /// Cancelled when the server takes no new calls.
    pub stop: CancellationToken,
    /// Calls that may be under way on one stream of calls.
    pub stream_calls_max: u32,
}

#[tonic::async_trait]
impl Actors for Service {
    async fn call(&self, request: Request<v1::CallRequest>) -> Result<Response<v1::CallResponse>, Status> {
        let deadline = entered(&request)?.deadline;
        match self.one(What::Call(request.into_inner()), deadline).await? {
            Answer::Called(response) => Ok(Response::new(response)),
            Answer::Destroyed(_) | Answer::Error(_) => Err(envelope(&wrong_reply())),
        }
    }

    type CallsStream = Answers;

    async fn calls(&self, request: Request<tonic::Streaming<v1::CallsRequest>>) -> Result<Response<Answers>, Status> {
        calls::open(self.clone(), request).map(Response::new)
    }

    type FetchStream = FetchStream;

    async fn fetch(
        &self,
        request: Request<tonic::Streaming<v1::FetchRequest>>,
    ) -> Result<Response<FetchStream>, Status> {
        let Entered { deadline, place } = entered(&request)?;
        let (head, body) = self.bounded(deadline, fetch::read_head(request.into_inner())).await??;
        let to = self.address(head.actor.clone()).map_err(|error| envelope(&error))?;
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
        match self.one(What::Destroy(request.into_inner()), deadline).await? {
            Answer::Destroyed(response) => Ok(Response::new(response)),
            Answer::Called(_) | Answer::Error(_) => Err(envelope(&wrong_reply())),
        }
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Result<Response<v1::ListResponse>, Status> {
        let deadline = entered(&request)?.deadline;
        let request = request.into_inner();
        let namespace = self.namespace(&request.namespace).map_err(|error| envelope(&error))?;
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
        let to = self.address(request.into_inner().actor).map_err(|error| envelope(&error))?;
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
            ActorReply::Value(_) | ActorReply::Destroyed => Err(envelope(&wrong_reply())),
        }
    }

    /// A call that came as a request of its own.
    async fn one(&self, what: What, deadline: Instant) -> Result<Answer, Status> {
        let begun = self.begin(what, deadline).map_err(|error| envelope(&error))?;
        self.bounded(deadline, begun).await?.map_err(|error| envelope(&error))
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
