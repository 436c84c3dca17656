//! Actors of another node, called over its `Actors` service: `Call` across a connection.
//!
//! One call is one attempt on the wire; whoever holds a `Remote` decides what to try again, by the outcome. Method calls
//! and destructions share one stream to each node ([`lethe_client::calls`]); what is large, and all else, goes as a request
//! of its own.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{
    Stream, StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use http_body::Frame;
use http_body_util::{BodyExt, BodyStream, StreamBody};
use lethe_client::calls::Caller;
use lethe_proto::{
    MESSAGE_BYTES_MAX, NodeId, PAYLOAD_BYTES_MAX,
    v1::{
        self, actor, actors_client::ActorsClient, call_request::Args, call_response::Result as WireResult,
        fetch_request, fetch_response,
    },
};
use lethe_runtime::{
    body::{Body, BodyError},
    host::{ActorCall, ActorReply, CallError, CallErrorKind, JsError, Outcome, Payload},
};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tonic::{
    Request, Status, Streaming,
    client::GrpcService,
    transport::{Channel, Endpoint},
};

use super::{
    directory::{self, ActorInfo, Listing},
    error::{from_failure, from_status, is_unknown_actor, late},
    fetch::{split, wire_headers},
};
use crate::{
    actor::{ActorRef, Call, Failed, Place, error},
    peer::{Link, LinkError, Peers},
    routing::Places,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to another node; cheap to clone.
#[derive(Clone)]
pub struct Remote<T = Channel> {
    wire: Find<T>,
    calls: Caller,
}

/// The connection as it is now; none if it is not known where the node is.
type Find<T> = Arc<dyn Fn() -> Option<T> + Send + Sync>;

/// What a call goes over.
pub trait Wire:
    GrpcService<tonic::body::Body, Error: Into<BoxError>, ResponseBody = <Self as Wire>::Answer, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static
{
    /// The body of an answer.
    type Answer: http_body::Body<Data = Bytes, Error: Into<BoxError> + Send> + Send + 'static;
}

impl Wire for Channel {
    type Answer = tonic::body::Body;
}

impl Wire for Link {
    type Answer = <Link as GrpcService<tonic::body::Body>>::ResponseBody;
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Remote {
    /// A node by its gRPC address, like `http://10.0.0.2:7070`. Connects at the first call, and again when the
    /// connection is lost.
    pub fn new(endpoint: &str) -> Result<Self, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(endpoint.to_owned())?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT);
        Ok(Self::over(endpoint.connect_lazy()))
    }
}

impl<T: Wire> Remote<T> {
    /// A node at the other end of a connection.
    pub fn over(wire: T) -> Self {
        Self::found_by(Arc::new(move || Some(wire.clone())))
    }

    fn found_by(wire: Find<T>) -> Self {
        let find = wire.clone();
        let calls = Caller::new(move |writer| {
            let found = find();
            Box::pin(async move { Ok(stub(found)?.calls(writer).await?.into_inner().boxed()) })
        });
        Self { wire, calls }
    }

    fn stub(&self) -> Result<ActorsClient<T>, Status> {
        stub((self.wire)())
    }

    /// Actors as the other node's directory knows them.
    pub async fn list(&self, what: &Listing, deadline: Instant) -> Result<Vec<ActorInfo>, Failed> {
        let mut stub = self.stub().map_err(|status| from_status(&status))?;
        let (mut found, mut after) = (Vec::new(), what.after.map(|id| id.to_string()).unwrap_or_default());
        while found.len() < what.limit {
            let request = v1::ListRequest {
                namespace: what.namespace.name.clone(),
                after,
                limit: u32::try_from(what.limit - found.len()).unwrap_or(u32::MAX),
                groups: what.groups.clone(),
            };
            let page = bounded(deadline, stub.list(timed(request, deadline))).await?.into_inner();
            for info in page.actors {
                found.push(directory::from_wire(info).ok_or_else(|| garbled("an actor in the list makes no sense"))?);
            }
            after = page.next;
            if after.is_empty() {
                break;
            }
        }
        Ok(found)
    }

    /// One actor as the other node's directory knows it.
    pub async fn show(&self, actor: ActorRef, deadline: Instant) -> Result<Option<ActorInfo>, Failed> {
        let mut stub = self.stub().map_err(|status| from_status(&status))?;
        let actor = wire_actor(actor);
        let request = v1::ShowRequest { actor: Some(actor) };
        let shown = tokio::time::timeout_at(deadline.into(), stub.show(timed(request, deadline))).await;
        let shown = match shown {
            Ok(Ok(shown)) => shown.into_inner().actor,
            Ok(Err(status)) if is_unknown_actor(&status) => return Ok(None),
            Ok(Err(status)) => return Err(from_status(&status)),
            Err(_) => return Err(late(Outcome::Unknown).into()),
        };
        let info = shown.and_then(directory::from_wire).ok_or_else(|| garbled("the actor makes no sense"))?;
        Ok(Some(info))
    }
}

/// The other nodes of the cluster, over their peer ports. Cheap to clone; clones share one stream of calls to each node.
#[derive(Clone)]
pub struct Remotes {
    peers: Peers,
    /// One entry per node that was called at most; those that are gone leave when they are asked for.
    known: Arc<Mutex<HashMap<NodeId, Arc<Remote<Link>>>>>,
}

impl Remotes {
    /// The nodes that `peers` knows, now or later.
    pub fn new(peers: Peers) -> Self {
        Self { peers, known: Arc::default() }
    }

    /// A node; none if it is not known where it is.
    pub fn node(&self, node: NodeId) -> Option<Arc<Remote<Link>>> {
        let mut known = self.known.lock();
        if !self.peers.knows(node) {
            known.remove(&node);
            return None;
        }
        let remote = known.entry(node).or_insert_with(|| {
            let peers = self.peers.clone();
            Arc::new(Remote::found_by(Arc::new(move || peers.channel(node).ok())))
        });
        Some(remote.clone())
    }
}

impl Places for Remotes {
    fn place(&self, node: NodeId) -> Option<Arc<dyn Place>> {
        let remote: Arc<dyn Place> = self.node(node)?;
        Some(remote)
    }
}

fn stub<T: Wire>(wire: Option<T>) -> Result<ActorsClient<T>, Status> {
    let unknown = || Status::from_error(Box::new(LinkError::NotSent("the node is not known".into())));
    Ok(ActorsClient::new(wire.ok_or_else(unknown)?)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX))
}

impl<T: Wire> Place for Remote<T> {
    fn attempt(
        &self,
        to: ActorRef,
        call: ActorCall,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<ActorReply, Failed>> {
        let remote = self.clone();
        Box::pin(async move {
            let actor = wire_actor(to);
            match call {
                ActorCall::Method { method, args } => remote.method(actor, method, args, deadline).await,
                ActorCall::Fetch(request) => {
                    let stub = remote.stub().map_err(|status| from_status(&status))?;
                    fetch(stub, actor, request, deadline).await
                }
                ActorCall::Destroy { by_operator } => {
                    let request = v1::DestroyRequest { actor: Some(actor), by_operator };
                    let destroyed = remote.calls.destroy(request, deadline, deadline).await;
                    destroyed.map(|_| ActorReply::Destroyed).map_err(from_failure)
                }
            }
        })
    }
}

impl<T: Wire> Call for Remote<T> {
    fn call(
        &self,
        to: ActorRef,
        call: ActorCall,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<ActorReply, CallError>> {
        let attempt = self.attempt(to, call, deadline);
        Box::pin(async move { Ok(attempt.await?) })
    }
}

impl<T: Wire> Remote<T> {
    async fn method(
        &self,
        actor: v1::Actor,
        method: String,
        args: Payload,
        deadline: Instant,
    ) -> Result<ActorReply, Failed> {
        let (bytes, args) = match args {
            Payload::V8(bytes) => (bytes.len(), Args::V8(bytes)),
            Payload::Json(text) => (text.len(), Args::Json(text)),
        };
        if bytes > PAYLOAD_BYTES_MAX {
            return Err(arguments_too_large(bytes).into());
        }
        let request = v1::CallRequest { actor: Some(actor), method, args: Some(args), without_id: true };
        let response = if Caller::takes(&request) {
            self.calls.call(request, deadline, deadline).await.map_err(from_failure)?
        } else {
            let mut stub = self.stub().map_err(|status| from_status(&status))?;
            bounded(deadline, stub.call(timed(request, deadline))).await?.into_inner()
        };
        match response.result {
            Some(WireResult::V8(bytes)) => Ok(ActorReply::Value(Payload::V8(bytes))),
            Some(WireResult::Json(text)) => Ok(ActorReply::Value(Payload::Json(text))),
            None => Err(garbled("the answer holds no result").into()),
        }
    }
}

async fn fetch<T: Wire>(
    stub: ActorsClient<T>,
    actor: v1::Actor,
    request: http::Request<Body>,
    deadline: Instant,
) -> Result<ActorReply, Failed> {
    let (parts, body) = request.into_parts();
    let head = v1::RequestHead {
        actor: Some(actor),
        method: parts.method.as_str().to_owned(),
        url: parts.uri.to_string(),
        headers: wire_headers(&parts.headers),
    };
    let (want, wanted) = oneshot::channel();
    let messages = timed(request_messages(head, body, wanted), deadline);
    let (first, parts) = bounded(deadline, first_message(stub, messages, want)).await?;
    let Some(fetch_response::Part::Head(head)) = first.and_then(|message| message.part) else {
        return Err(garbled("the answer has no head").into());
    };
    Ok(ActorReply::Response(response(head, parts)?))
}

type FirstMessage = (Option<v1::FetchResponse>, Streaming<v1::FetchResponse>);

async fn first_message<T: Wire>(
    mut stub: ActorsClient<T>,
    messages: Request<Messages>,
    want: oneshot::Sender<()>,
) -> Result<FirstMessage, Status> {
    let mut parts = stub.fetch(messages).await?.into_inner();
    // Nobody waits for it once the body is dropped.
    want.send(()).ok();
    Ok((parts.message().await?, parts))
}

/// The messages of a request. A type of its own, without a lifetime: the compiler cannot prove a future `Send` that
/// holds a bare boxed stream.
struct Messages(BoxStream<'static, v1::FetchRequest>);

impl Stream for Messages {
    type Item = v1::FetchRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<v1::FetchRequest>> {
        self.0.poll_next_unpin(cx)
    }
}

/// The head, and the body once it is `wanted`: a call that is refused leaves the body untouched.
fn request_messages(head: v1::RequestHead, body: Body, wanted: oneshot::Receiver<()>) -> Messages {
    let head = stream::iter([fetch_request::Part::Head(head)]);
    let body = stream::once(async move { wanted.await.ok().map(|()| body) }).filter_map(std::future::ready);
    let chunks = body.flat_map(BodyStream::new).flat_map(|frame| stream::iter(request_parts(frame)));
    Messages(head.chain(chunks).map(|part| v1::FetchRequest { part: Some(part) }).boxed())
}

fn request_parts(frame: Result<Frame<bytes::Bytes>, BodyError>) -> Vec<fetch_request::Part> {
    match frame.map(Frame::into_data) {
        Ok(Ok(data)) => split(data).into_iter().map(fetch_request::Part::Chunk).collect(),
        // Trailers have no place in `fetch`.
        Ok(Err(_)) => Vec::new(),
        Err(error) => vec![fetch_request::Part::Failed(error.to_string())],
    }
}

fn response(head: v1::ResponseHead, parts: Streaming<v1::FetchResponse>) -> Result<http::Response<Body>, CallError> {
    let frames = parts.map(|message| match message.map(|message| message.part) {
        Ok(Some(fetch_response::Part::Chunk(chunk))) => Ok(Frame::data(chunk)),
        Ok(Some(fetch_response::Part::Head(_)) | None) => Err(BodyError::from("the body holds something else")),
        Err(status) => Err(BodyError::from(status.message().to_owned())),
    });
    let status = u16::try_from(head.status).map_err(|_| garbled("the answer's status is out of range"))?;
    let mut builder = http::Response::builder().status(status);
    for header in &head.headers {
        builder = builder.header(&header.name, &header.value[..]);
    }
    let body = StreamBody::new(frames).boxed_unsync();
    builder.body(body).map_err(|error| garbled(&format!("the answer's head is not HTTP: {error}")))
}

fn timed<T>(message: T, deadline: Instant) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(deadline.saturating_duration_since(Instant::now()));
    request
}

async fn bounded<T>(deadline: Instant, answer: impl Future<Output = Result<T, Status>>) -> Result<T, Failed> {
    match tokio::time::timeout_at(deadline.into(), answer).await {
        Ok(answer) => answer.map_err(|status| from_status(&status)),
        Err(_) => Err(late(Outcome::Unknown).into()),
    }
}

fn wire_actor(to: ActorRef) -> v1::Actor {
    v1::Actor {
        namespace: to.namespace,
        id: Some(actor::Id::Raw(Bytes::copy_from_slice(&to.id.0))),
        known_name: to.name,
    }
}

fn arguments_too_large(bytes: usize) -> CallError {
    let message = format!("the arguments have {bytes} bytes; at most {PAYLOAD_BYTES_MAX} can be sent");
    let error = JsError { name: "RangeError".into(), message, stack: String::new() };
    CallError { kind: CallErrorKind::Limit, error, outcome: Outcome::NotDone }
}

/// The other node answered, but not in the protocol's terms.
fn garbled(message: &str) -> CallError {
    error::internal(message, Outcome::Unknown)
}
