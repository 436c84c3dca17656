//! Many calls over one stream (`Actors.Calls`), for whoever calls a node often: the client, and nodes each other.
//!
//! ```text
//! call() ─┬─> Line: queue ──> Writer, the stream's body ──> one message of all that is there
//!         │                                                              │
//!         └── oneshot <── Line: waiting, by number <── Reader, a task <──┘ answers, in any order
//! ```
//!
//! The first call opens the stream; one that broke or that the server ended is followed by another at the next call. What
//! is there when the HTTP/2 connection can send goes together, so a caller alone never waits and many share the cost.
//! Whatever becomes of the stream, a call's failure says truly whether it may have been done: one that was never handed
//! to the connection, or that comes after the last one that a stopping server names, was not. A stream on which the server
//! says nothing is given up after a moment, so that its calls can still be made elsewhere.
//!
//! It knows no transport: it is given a function that opens a stream.

mod line;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{future::BoxFuture, stream::BoxStream};
use lethe_proto::v1::{self, numbered_answer::Answer, numbered_call::What};
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::oneshot;
use tonic::Status;

use self::{
    line::Line,
    reader::{Ends, Reader},
};

pub use self::writer::Writer;

/// Largest call, bytes; a larger one is sent as a request of its own, where it holds nobody up.
const CALL_BYTES_MAX: usize = 64 << 10;
/// A message ends with the call that makes it larger than this, bytes.
const BATCH_BYTES_MAX: usize = 64 << 10;
/// A server that takes calls says so within this, from when the stream begins to be opened. It is longer than it may take to
/// connect, where that is bounded.
const OPENS_WITHIN: Duration = Duration::from_secs(6);
/// Calls that may wait for their turn on a stream; one more is refused.
const QUEUE_MAX: usize = 64 << 10;

/// What the server says on a stream.
pub type Incoming = BoxStream<'static, Result<v1::CallsResponse, Status>>;
/// A stream that is being opened.
pub type Opening = BoxFuture<'static, Result<Incoming, Status>>;

type Open = dyn Fn(Writer) -> Opening + Send + Sync;

/// Calls actors over one stream at a time. Cheap to clone; the stream ends with the last clone.
#[derive(Clone)]
pub struct Caller {
    inner: Arc<Inner>,
}

struct Inner {
    open: Box<Open>,
    opens_within: Duration,
    line: Mutex<Option<Arc<Line>>>,
}

/// Why a call has no result.
#[derive(Clone, Debug)]
pub enum Failure {
    /// The server's answer to it.
    Answered(v1::Error),
    /// Nobody answered in time. If it was not sent, it was not done.
    Late {
        /// Whether it may have left.
        sent: bool,
    },
    /// The server is stopping and did not take it: it was not done.
    NotTaken,
    /// Too many calls wait for their turn: it was not done.
    Full,
    /// There is no stream for it, for this reason, and it was not sent: it was not done.
    NotSent(Status),
    /// The stream broke after it was sent.
    Lost(Status),
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caller").finish_non_exhaustive()
    }
}

impl Caller {
    /// A caller that opens its streams with `open`, which is given what the stream's messages come from.
    pub fn new(open: impl Fn(Writer) -> Opening + Send + Sync + 'static) -> Self {
        Self::with_patience(OPENS_WITHIN, open)
    }

    fn with_patience(opens_within: Duration, open: impl Fn(Writer) -> Opening + Send + Sync + 'static) -> Self {
        Self { inner: Arc::new(Inner { open: Box::new(open), opens_within, line: Mutex::default() }) }
    }

    /// Whether a call is small enough for a stream; one that is not is sent as a request of its own.
    pub fn takes(request: &v1::CallRequest) -> bool {
        request.encoded_len() <= CALL_BYTES_MAX
    }

    /// Calls a method. The server is told that the answer must be there at `deadline`; it is waited for `until` then.
    /// Dropping the future takes the call back, or tells the server that nobody waits for it.
    pub async fn call(
        &self,
        request: v1::CallRequest,
        deadline: Instant,
        until: Instant,
    ) -> Result<v1::CallResponse, Failure> {
        match self.send(What::Call(request), deadline, until).await? {
            Answer::Called(response) => Ok(response),
            Answer::Error(error) => Err(Failure::Answered(error)),
            Answer::Destroyed(_) => Err(of_another_kind()),
        }
    }

    /// Destroys an actor, as [`Caller::call`] calls a method.
    pub async fn destroy(
        &self,
        request: v1::DestroyRequest,
        deadline: Instant,
        until: Instant,
    ) -> Result<v1::DestroyResponse, Failure> {
        match self.send(What::Destroy(request), deadline, until).await? {
            Answer::Destroyed(response) => Ok(response),
            Answer::Error(error) => Err(Failure::Answered(error)),
            Answer::Called(_) => Err(of_another_kind()),
        }
    }

    async fn send(&self, what: What, deadline: Instant, until: Instant) -> Result<Answer, Failure> {
        let line = self.line();
        let (number, answer) = line.push(what, deadline, until);
        let mut place = Place { line: &line, number, answered: false };
        let told = answer.await;
        place.answered = true;
        told.unwrap_or_else(|_| Err(Failure::Lost(Status::internal("nobody answers this call any more"))))
    }

    /// The stream, opened now if there is none that takes calls.
    fn line(&self) -> Arc<Line> {
        let mut current = self.inner.line.lock();
        if let Some(line) = current.as_ref().filter(|line| line.takes_calls()) {
            return line.clone();
        }
        let line = Arc::new(Line::new());
        let opening = (self.inner.open)(Writer::new(line.clone()));
        tokio::spawn(Reader::new(Ends(line.clone()), opening, self.inner.opens_within));
        *current = Some(line.clone());
        line
    }
}

/// The stream's task ends with its line.
impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(line) = self.line.get_mut() {
            line.close();
        }
    }
}

/// A caller's place on the line, given up when the caller goes.
struct Place<'a> {
    line: &'a Line,
    number: u64,
    answered: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.line.give_up(self.number);
        }
    }
}

/// Who waits for a call, and what comes of it.
type Tell = oneshot::Sender<Result<Answer, Failure>>;
type Told = oneshot::Receiver<Result<Answer, Failure>>;

/// The time by the clock that timers follow.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn of_another_kind() -> Failure {
    Failure::Lost(Status::internal("the answer is of another kind than the call"))
}
