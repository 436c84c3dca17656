//! A live actor: one isolate that serves calls until it is dropped, aborted or exceeds a limit.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    body::Body,
    driver::Driver,
    error::{InvocationError, Limit},
    host::Payload,
    invocation::{Event, Reply},
    kill::Kill,
    quotas::{self, WAITING_BYTES_MAX},
    tasks::Tasks,
};

/// Events that wait for an instance's next turn; one more is refused.
const EVENTS_MAX: usize = 1024;

/// A live actor: one isolate. Calls may overlap; the input gate decides what enters. Dropping the last clone destroys it.
#[derive(Clone)]
pub struct Instance {
    inner: Arc<Inner>,
}

struct Inner {
    events: mpsc::Sender<Event>,
    waiting: quotas::Bytes,
    kill: Kill,
    finish: CancellationToken,
    wall: Option<Duration>,
    calls: AtomicUsize,
    idle: Arc<AtomicBool>,
    at_door: Arc<AtomicUsize>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.kill.kill(InvocationError::Aborted("the instance was dropped".into()));
    }
}

/// Counts a call while it lives.
struct InCall<'a>(&'a AtomicUsize);

impl Drop for InCall<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Instance {
    /// Takes over a driver whose isolate has run the actor's constructor.
    pub(crate) fn start(driver: Driver, wall: Option<Duration>, tasks: &Tasks, span: tracing::Span) -> Self {
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let idle = Arc::new(AtomicBool::new(false));
        let at_door = Arc::new(AtomicUsize::new(0));
        let tell = {
            let (idle, at_door) = (idle.clone(), at_door.clone());
            move |now, waiting| {
                at_door.store(waiting, Ordering::SeqCst);
                idle.store(now, Ordering::SeqCst);
            }
        };
        let waiting = quotas::Bytes::new(WAITING_BYTES_MAX);
        let (kill, finish, calls) = (driver.kill(), CancellationToken::new(), AtomicUsize::new(0));
        let inner = Inner { events, waiting, kill, finish: finish.clone(), wall, calls, idle, at_door };
        tasks.spawn(driver.run_actor(receiver, finish, tell).instrument(span));
        Self { inner: Arc::new(inner) }
    }

    /// Calls a method.
    pub async fn call(&self, method: &str, args: Payload) -> Result<Payload, InvocationError> {
        let (reply, answer) = oneshot::channel();
        let size = match &args {
            Payload::V8(bytes) => bytes.len(),
            Payload::Json(text) => text.len(),
        };
        let Some(waiting) = self.inner.waiting.take(size) else {
            let text = format!("the arguments of calls that wait exceed {WAITING_BYTES_MAX} bytes");
            return Err(InvocationError::Overloaded(text));
        };
        let event = Event::Call { method: method.to_owned(), args, waiting, reply: Reply::Value(reply) };
        self.send(event, answer).await
    }

    /// Runs the `fetch` handler.
    pub async fn fetch(&self, request: http::Request<Body>) -> Result<http::Response<Body>, InvocationError> {
        let (reply, answer) = oneshot::channel();
        self.send(Event::ActorFetch { request, reply: Reply::Response(reply) }, answer).await
    }

    async fn send<T>(
        &self,
        event: Event,
        answer: oneshot::Receiver<Result<T, InvocationError>>,
    ) -> Result<T, InvocationError> {
        self.inner.calls.fetch_add(1, Ordering::SeqCst);
        let _in_call = InCall(&self.inner.calls);
        self.inner.idle.store(false, Ordering::SeqCst);
        match self.inner.events.try_send(event) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                return Err(InvocationError::Overloaded(format!("{EVENTS_MAX} calls are waiting")));
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(self.gone()),
        }
        answer_within(self.inner.wall, &self.inner.kill, answer).await.unwrap_or_else(|| Err(self.gone()))
    }

    fn gone(&self) -> InvocationError {
        self.broken().unwrap_or_else(|| InvocationError::Aborted("the isolate ended".into()))
    }

    /// Why this instance can take no more calls; `None` while it can.
    pub fn broken(&self) -> Option<InvocationError> {
        self.inner.kill.reason()
    }

    /// Ends the isolate now, whatever it is doing. Calls in flight get [`InvocationError::Aborted`].
    pub fn abort(&self, reason: &str) {
        self.inner.kill.kill(InvocationError::Aborted(reason.to_owned()));
    }

    /// Ends the isolate as soon as everything that it has written to the bodies of its responses was taken; bodies that it
    /// did not end break off then. No call and no timer enters it any more. Returns when it has ended: a reader that
    /// does not read can take any time.
    pub async fn finish(&self) {
        self.inner.finish.cancel();
        self.inner.kill.killed().await;
    }

    /// How many calls, timers and replies wait at the input gate, and calls in front of it.
    pub fn waiting(&self) -> usize {
        self.inner.at_door.load(Ordering::SeqCst) + (EVENTS_MAX - self.inner.events.capacity())
    }

    /// Whether nothing is going on: no call, no `waitUntil`, no timer, no pending host call.
    pub fn is_idle(&self) -> bool {
        self.inner.calls.load(Ordering::SeqCst) == 0 && self.inner.idle.load(Ordering::SeqCst)
    }
}

/// Waits for an answer; when the wall limit passes first, the isolate is ended. `None` when it ended without an answer.
pub(crate) async fn answer_within<T>(
    wall: Option<Duration>,
    kill: &Kill,
    answer: oneshot::Receiver<Result<T, InvocationError>>,
) -> Option<Result<T, InvocationError>> {
    let wall_passed = async {
        match wall {
            Some(wall) => tokio::time::sleep(wall).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        answer = answer => answer.ok(),
        () = kill.abandoned() => kill.reason().map(Err),
        () = wall_passed => {
            kill.kill(InvocationError::Limit(Limit::Wall));
            kill.reason().map(Err)
        }
    }
}
