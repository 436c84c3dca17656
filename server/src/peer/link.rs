//! One lane to one node: a connection that is made when it is needed, and made again after it broke.
//!
//! ```text
//! Idle ──first use──> Dialing ──> Up ──broken──> Dialing ──> Down ──use after a pause──> Dialing
//! ```
//!
//! Who comes while the first dial is under way waits for it. Once a dial has failed nobody waits: every use is refused at
//! once with the reason, and after a pause a use also starts the next dial, until one succeeds. A failure is forgotten as
//! soon as the node is found to be there, by another connection to it or by one that it made.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use http::uri::{Authority, Scheme, Uri};
use hyper::{body::Incoming, client::conn::http2::SendRequest};
use lethe_proto::NodeId;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::body::Body;
use tower_service::Service;

use super::{dial::Dialer, held::Held, presence::Presence};

/// A failure this old says little about now: who comes then waits for the next dial.
const FAILURE_STALE: Duration = Duration::from_secs(2);

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// It surely did not leave this node.
    #[error("{0}")]
    NotSent(String),
    /// It may have arrived.
    #[error("{0}")]
    Lost(String),
}

/// A connection to a node, made when needed. A service for gRPC clients; cheap to clone.
#[derive(Clone)]
pub struct Link {
    inner: Arc<Inner>,
}

struct Inner {
    dialer: Arc<Dialer>,
    node: NodeId,
    address: String,
    presence: Arc<Presence>,
    /// Calls under way.
    places: Arc<Semaphore>,
    state: Mutex<State>,
    closed: CancellationToken,
    _closes: DropGuard,
}

type Outcome = Option<Result<SendRequest<Body>, String>>;

enum State {
    Idle,
    Dialing { outcome: watch::Receiver<Outcome>, before: Option<Failure> },
    Up(SendRequest<Body>),
    Down(Failure),
}

#[derive(Clone)]
struct Failure {
    why: String,
    at: Instant,
    /// In a row.
    count: u32,
}

/// What a use finds.
enum Found {
    Up(SendRequest<Body>),
    Wait(watch::Receiver<Outcome>),
    Down(String),
}

impl Link {
    pub(super) fn new(dialer: Arc<Dialer>, node: NodeId, address: String, presence: Arc<Presence>) -> Self {
        let closed = dialer.executor.cut.child_token();
        let places = Arc::new(Semaphore::new(dialer.limits.connection_calls_max as usize));
        let state = Mutex::new(State::Idle);
        let _closes = closed.clone().drop_guard();
        Self { inner: Arc::new(Inner { dialer, node, address, presence, places, state, closed, _closes }) }
    }

    /// Ends the connection; calls under way are lost.
    pub(super) fn close(&self) {
        self.inner.closed.cancel();
    }

    /// The connection, made now if there is none, and a place on it.
    pub(super) async fn ready(&self) -> Result<Ready, LinkError> {
        let place = self.inner.places.clone().try_acquire_owned();
        let place = place.map_err(|_| LinkError::NotSent("too many calls to it are under way".into()))?;
        let found = self.find();
        let send = match found {
            Found::Up(send) => Ok(send),
            Found::Down(why) => Err(why),
            Found::Wait(outcome) => dialed(outcome).await,
        };
        let send = send.map_err(LinkError::NotSent)?;
        Ok(Ready { send, place: Some(place), address: self.inner.address.clone() })
    }

    fn find(&self) -> Found {
        if self.inner.closed.is_cancelled() {
            return Found::Down("the connection is closed".into());
        }
        let mut state = self.inner.state.lock();
        let before = match &*state {
            State::Up(send) if !send.is_closed() => return Found::Up(send.clone()),
            State::Dialing { before: Some(failure), .. } if self.holds(failure) => {
                return Found::Down(failure.why.clone());
            }
            State::Dialing { outcome, .. } => return Found::Wait(outcome.clone()),
            State::Down(failure) if self.holds(failure) && failure.at.elapsed() < self.pause(failure) => {
                return Found::Down(failure.why.clone());
            }
            State::Down(failure) => Some(failure.clone()),
            State::Idle | State::Up(_) => None,
        };
        let (tell, outcome) = watch::channel(None);
        *state = State::Dialing { outcome: outcome.clone(), before: before.clone() };
        drop(state);
        let link = self.clone();
        let count = before.as_ref().map_or(0, |failure| failure.count);
        self.inner.dialer.executor.tasks.spawn(async move { link.dial(count, tell).await });
        match before {
            Some(failure) if self.holds(&failure) => Found::Down(failure.why),
            _ => Found::Wait(outcome),
        }
    }

    /// Whether a failure still says something: it is not old, and nothing was heard of the node since.
    fn holds(&self, failure: &Failure) -> bool {
        failure.at.elapsed() < FAILURE_STALE && !self.inner.presence.since(failure.at)
    }

    async fn dial(self, failures: u32, tell: watch::Sender<Outcome>) {
        let Inner { dialer, node, address, presence, closed, .. } = &*self.inner;
        let dialed = tokio::select! {
            dialed = dialer.clone().dial(address.clone(), Some(*node), closed.clone()) => dialed,
            () = closed.cancelled() => Err("the connection is closed".into()),
        };
        let (state, outcome) = match dialed {
            Ok(dialed) => {
                presence.shown();
                (State::Up(dialed.send.clone()), Ok(dialed.send))
            }
            Err(why) => {
                if failures == 0 {
                    tracing::info!(%node, why, "cannot reach another node, trying until it works");
                }
                let failure = Failure { why: why.clone(), at: Instant::now(), count: failures.saturating_add(1) };
                (State::Down(failure), Err(why))
            }
        };
        *self.inner.state.lock() = state;
        // Nobody waits any more if nobody takes it.
        drop(tell.send(Some(outcome)));
    }

    fn pause(&self, failure: &Failure) -> Duration {
        let limits = &self.inner.dialer.limits;
        let doubled = limits.redial_min_ms.saturating_mul(1 << failure.count.saturating_sub(1).min(16));
        Duration::from_millis(doubled.min(limits.redial_max_ms))
    }
}

/// Waits for the end of a dial.
fn dialed(mut outcome: watch::Receiver<Outcome>) -> BoxFuture<'static, Result<SendRequest<Body>, String>> {
    Box::pin(async move {
        match outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or_else(|| Err("the dial ended".into())),
            Err(_) => Err("the connection is closed".into()),
        }
    })
}

/// A connection that stands, and a place on it for one request.
#[derive(Debug)]
pub(super) struct Ready {
    send: SendRequest<Body>,
    place: Option<OwnedSemaphorePermit>,
    address: String,
}

impl Ready {
    /// A connection that no link keeps.
    pub fn once(send: SendRequest<Body>, address: String) -> Self {
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().ok();
        Self { send, place, address }
    }

    async fn request(self, mut request: http::Request<Body>) -> Result<http::Response<Held<Incoming>>, LinkError> {
        let Self { mut send, place, address } = self;
        let place = place.ok_or_else(|| LinkError::NotSent("the connection was used already".into()))?;
        let mut uri = std::mem::take(request.uri_mut()).into_parts();
        uri.scheme = Some(Scheme::HTTP);
        uri.authority = Authority::try_from(address).ok();
        *request.uri_mut() = Uri::from_parts(uri).map_err(|error| LinkError::NotSent(error.to_string()))?;
        match send.try_send_request(request).await {
            Ok(response) => Ok(response.map(|body| Held::new(body, place))),
            Err(mut error) => {
                let refused = error.take_message().is_some() || was_refused(error.error());
                let why = describe(error.error());
                Err(if refused { LinkError::NotSent(why) } else { LinkError::Lost(why) })
            }
        }
    }
}

/// The other side says that it has not looked at the request, by itself or as one after the last that it names when it
/// closes the connection (RFC 9113, 6.8 and 8.7).
fn was_refused(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
    source.is_some_and(|error| {
        let alone = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        alone || (error.is_go_away() && error.is_remote())
    })
}

/// An error of a connection with its cause.
pub(super) fn describe(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

impl Service<http::Request<Body>> for Ready {
    type Response = http::Response<Held<Incoming>>;
    type Error = LinkError;
    type Future = BoxFuture<'static, Result<Self::Response, LinkError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let once = Self { send: self.send.clone(), place: self.place.take(), address: self.address.clone() };
        Box::pin(once.request(request))
    }
}

impl Service<http::Request<Body>> for Link {
    type Response = http::Response<Held<Incoming>>;
    type Error = LinkError;
    type Future = BoxFuture<'static, Result<Self::Response, LinkError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let link = self.clone();
        Box::pin(async move { link.ready().await?.request(request).await })
    }
}
