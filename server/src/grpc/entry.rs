//! What every call passes before its message is read: a place among the calls under way, and a deadline.
//!
//! A stream of calls passes too, but holds no such place: each of its calls does, and has a deadline of its own.
//! A call that finds no place is refused unread, and one whose message arrives too slowly ends at its deadline: neither
//! ties up memory for longer.

use std::{
    convert::Infallible,
    future::Future,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use lethe_proto::v1;
use lethe_runtime::host::{CallErrorKind, Outcome};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status, body::Body};
use tower_service::Service;

use super::error::{envelope, of_call, of_end, status};
use crate::actor::error;

/// Deadline of a call that names none.
const DEADLINE_DEFAULT: Duration = Duration::from_secs(30);
/// Longest deadline; a longer one is shortened to it.
const DEADLINE_MAX: Duration = Duration::from_secs(15 * 60);
/// The server ends a call this much before its caller would, so that the caller hears why; at most a tenth of it.
const DEADLINE_MARGIN: Duration = Duration::from_millis(50);
/// A handler that keeps its deadline answers within this; else the answer is given here.
const HANDLER_GRACE: Duration = Duration::from_millis(25);

/// Streams of calls that may be open at the same time; one more is refused.
const STREAMS_MAX: usize = 4_096;
/// Where streams of calls are opened.
pub(super) const STREAM_PATH: &str = "/lethe.v1.Actors/Calls";

/// What a call was given at the entry; the handler finds it among the request's extensions.
#[derive(Clone)]
pub(super) struct Entered {
    /// When it must have ended.
    pub deadline: Instant,
    /// Its place; given back when the last clone is dropped.
    pub place: Arc<OwnedSemaphorePermit>,
}

/// What a stream of calls was given at the entry.
pub(super) struct EnteredStream {
    /// Places of calls under way.
    pub places: Arc<Semaphore>,
    /// The stream's own place among the open ones.
    pub stream: OwnedSemaphorePermit,
}

/// The entry in front of a service.
#[derive(Clone)]
pub(super) struct Entry<S> {
    inner: S,
    places: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

impl<S> Entry<S> {
    /// Lets `calls_max` calls be under way in `inner` at the same time.
    pub(super) fn new(inner: S, calls_max: usize) -> Self {
        let (places, streams) = (Arc::new(Semaphore::new(calls_max)), Arc::new(Semaphore::new(STREAMS_MAX)));
        Self { inner, places, streams }
    }
}

impl<S, B> Service<http::Request<B>> for Entry<S>
where
    S: Service<http::Request<B>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        if request.uri().path() == STREAM_PATH {
            let Ok(stream) = self.streams.clone().try_acquire_owned() else {
                return Box::pin(async { Ok(envelope(&overloaded()).into_http()) });
            };
            let entered = EnteredStream { places: self.places.clone(), stream };
            request.extensions_mut().insert(Arc::new(Mutex::new(Some(entered))));
            return Box::pin(self.inner.call(request));
        }
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            return Box::pin(async { Ok(envelope(&overloaded()).into_http()) });
        };
        let entered = Entered { deadline: deadline(request.headers()), place: Arc::new(place) };
        request.extensions_mut().insert(entered.clone());
        let handled = self.inner.call(request);
        Box::pin(async move {
            let Entered { deadline, place: _held } = entered;
            match tokio::time::timeout_at((deadline + HANDLER_GRACE).into(), handled).await {
                Ok(response) => response,
                Err(_) => Ok(envelope(&deadline_passed()).into_http()),
            }
        })
    }
}

/// What the entry gave a call.
pub(super) fn entered<T>(request: &Request<T>) -> Result<Entered, Status> {
    request.extensions().get().cloned().ok_or_else(no_entry)
}

/// What the entry gave a stream of calls.
pub(super) fn stream<T>(request: &mut Request<T>) -> Result<EnteredStream, Status> {
    let entered = request.extensions_mut().remove::<Arc<Mutex<Option<EnteredStream>>>>();
    entered.and_then(|entered| entered.lock().take()).ok_or_else(no_entry)
}

fn no_entry() -> Status {
    status(&error::internal("the call came by no entry", Outcome::NotDone))
}

/// Runs work to its end, its deadline, or the cut that ends the server.
pub(super) async fn bounded<T>(
    cut: &CancellationToken,
    deadline: Instant,
    work: impl Future<Output = T>,
) -> Result<T, Status> {
    tokio::select! {
        biased;
        done = work => Ok(done),
        () = tokio::time::sleep_until(deadline.into()) => Err(envelope(&deadline_passed())),
        () = cut.cancelled() => Err(envelope(&stopping())),
    }
}

/// There is no place for a call.
pub(super) fn overloaded() -> v1::Error {
    let text = "the node has as many calls under way as it takes";
    of_call(&error::overloaded(text))
}

/// A call's deadline passed; it may have run.
pub(super) fn deadline_passed() -> v1::Error {
    of_end(CallErrorKind::Deadline, Outcome::Unknown, "TimeoutError", "the call's deadline passed")
}

/// The server waits no longer for a call.
pub(super) fn stopping() -> v1::Error {
    of_call(&error::unavailable("the node is stopping", Outcome::Unknown))
}

/// When a call must have ended: its `grpc-timeout`, less a margin for the way back.
fn deadline(headers: &http::HeaderMap) -> Instant {
    let timeout = headers.get("grpc-timeout").and_then(|value| parse_timeout(value.to_str().ok()?));
    deadline_after(Instant::now(), timeout)
}

/// When a call that came at `now` must have ended.
pub(super) fn deadline_after(now: Instant, timeout: Option<Duration>) -> Instant {
    let timeout = timeout.unwrap_or(DEADLINE_DEFAULT).min(DEADLINE_MAX);
    now + timeout - DEADLINE_MARGIN.min(timeout / 10)
}

/// gRPC's form of a duration: at most eight digits and a unit.
fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(value * 3600)),
        "M" => Some(Duration::from_secs(value * 60)),
        "S" => Some(Duration::from_secs(value)),
        "m" => Some(Duration::from_millis(value)),
        "u" => Some(Duration::from_micros(value)),
        "n" => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_leaves_a_margin_and_is_bounded() {
        let table = [
            (None, Duration::from_millis(29_950)),
            (Some("rubbish"), Duration::from_millis(29_950)),
            (Some("100m"), Duration::from_millis(90)),
            (Some("60S"), Duration::from_millis(59_950)),
            (Some("99999999H"), Duration::from_millis(899_950)),
            (Some("0n"), Duration::ZERO),
        ];
        for (timeout, expected) in table {
            let mut headers = http::HeaderMap::new();
            headers.extend(
                timeout.map(|timeout| (http::HeaderName::from_static("grpc-timeout"), timeout.parse().unwrap())),
            );
            let before = Instant::now();
            let deadline = deadline(&headers);
            assert!((before + expected..=Instant::now() + expected).contains(&deadline), "{timeout:?}");
        }
    }

    #[test]
    fn timeouts_are_read_in_every_unit_and_odd_ones_are_not() {
        let table = [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("4m", Some(Duration::from_millis(4))),
            ("5u", Some(Duration::from_micros(5))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("", None),
            ("S", None),
            ("1", None),
            ("-1S", None),
            ("123456789S", None),
            ("1é", None),
        ];
        for (text, timeout) in table {
            assert_eq!(parse_timeout(text), timeout, "{text:?}");
        }
    }
}
