//! One connection's way into [`Serve`]: decode, bounds, panics contained, encode, access log.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use http::request::Parts;
use http::{HeaderValue, Request, Response, Version, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use lethe_runtime::body::Body;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::access::Record;
use super::activity::{Activity, Open};
use super::config::Limits;
use super::refusal::Refusal;
use super::request_body::{Intake, RequestBody};
use super::response_body::{Held, ResponseBody};
use super::{Peer, Serve, decode, encode};

/// Everything a request needs from its connection and its gateway.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) serve: Arc<dyn Serve>,
    pub(super) limits: Arc<Limits>,
    pub(super) access_log: bool,
    pub(super) requests: Arc<Semaphore>,
    pub(super) activity: Arc<Activity>,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) tls: bool,
    /// No request is taken after those that are on their way.
    pub(super) drain: CancellationToken,
}

impl hyper::service::Service<Request<Incoming>> for Entry {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        // The request counts as open from here, not from the future's first poll: the wire reads the count.
        let open = self.activity.open();
        if request.version() == Version::HTTP_2 {
            self.activity.note_multiplexed();
        }
        let entry = self.clone();
        Box::pin(async move { Ok(entry.answer(request, open).await) })
    }
}

impl Entry {
    async fn answer(self, request: Request<Incoming>, open: Open) -> Response<ResponseBody> {
        let peer = Peer { addr: self.peer, tls: self.tls, request_id: Uuid::now_v7() };
        let (mut parts, incoming) = request.into_parts();
        let method = parts.method.clone();
        let intake = Arc::new(Intake::of(&incoming));
        let mut record = self.record(&parts, &peer, &intake);
        let permit = self.requests.clone().try_acquire_owned().ok();

        let decoded = match permit {
            None => Err(Refusal::TooManyRequests),
            Some(_) => decode::head(&mut parts, &peer, self.local, &self.limits),
        };
        let response = match decoded {
            Err(refusal) => refusal.response(),
            Ok(()) => {
                record.host = parts.uri.authority().map_or_else(String::new, |authority| authority.to_string());
                let timeout = self.limits.body_stall_timeout();
                let bytes_max = self.limits.request_body_bytes_max;
                let body = RequestBody::new(incoming, intake.clone(), bytes_max, timeout).boxed_unsync();
                self.ask(Request::from_parts(parts, body), peer).await
            }
        };
        // A worker cannot know why its request's body failed; the client should.
        let response = intake.refusal().map_or(response, |refusal| refusal.response());

        let (mut response, promised) = encode::response(response, &method);
        if let Ok(id) = HeaderValue::try_from(peer.request_id.to_string()) {
            response.headers_mut().insert(decode::REQUEST_ID, id);
        }
        if self.drain.is_cancelled() && !self.activity.is_multiplexed() {
            // The client then sends nothing more on this connection that nobody would answer.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        record.status = Some(response.status());
        let held = Held { record, open, _permit: permit };
        response.map(|body| ResponseBody::new(body, promised, held))
    }

    /// Calls [`Serve`]; a panic in it is a 500.
    async fn ask(&self, request: Request<Body>, peer: Peer) -> Response<Body> {
        let called = catch_unwind(AssertUnwindSafe(|| self.serve.serve(request, peer)));
        let answered = match called {
            Ok(future) => AssertUnwindSafe(future).catch_unwind().await,
            Err(panic) => Err(panic),
        };
        answered.unwrap_or_else(|_| {
            tracing::error!(request_id = %peer.request_id, "the request's handler panicked");
            Refusal::Panicked.response()
        })
    }

    fn record(&self, parts: &Parts, peer: &Peer, intake: &Arc<Intake>) -> Record {
        Record {
            enabled: self.access_log,
            started: Instant::now(),
            request_id: peer.request_id,
            peer: peer.addr.ip().to_canonical(),
            method: parts.method.clone(),
            version: parts.version,
            host: claimed_host(parts),
            path: parts.uri.path().to_owned(),
            intake: intake.clone(),
            status: None,
            bytes_out: 0,
            complete: false,
        }
    }
}

/// The host as the client says it, for the log of requests that are refused before it is checked.
fn claimed_host(parts: &Parts) -> String {
    let target = parts.uri.authority().map(|authority| authority.as_str());
    let named = || parts.headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let host = target.or_else(named).unwrap_or_default();
    host.chars().take(decode::HOST_BYTES_MAX).collect()
}
