//! Many calls over one stream (`Calls`), the receiving side.
//!
//! ```text
//! messages ──> Driver, a task ──> Crew: every call under way, polled by the task ──> Out ──> Answers, the stream's body
//! ```
//!
//! One task makes all calls of a stream, keeps their deadlines with one timer, and ends with the stream; a call costs no
//! task and no timer of its own. What is true of a request of its own is true of each call: a place among all calls under
//! way, a deadline with a margin, an end when nobody waits for it. A call that panics ends alone.
//!
//! A reader who does not read: while more than [`ANSWERS_BYTES_MAX`] of answers wait, no further message is taken, so what
//! waits is that, and one answer for each call that is under way then. Calls go on and keep their deadlines.

mod alarm;
mod crew;
mod driver;
mod out;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::Stream;
use lethe_proto::v1;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Status, Streaming};

use self::{driver::Driver, out::Out};
use super::{entry, service::Service};

/// While answers of more bytes than this wait to be read, no further calls are taken from their stream.
const ANSWERS_BYTES_MAX: usize = 4 << 20;
/// A message ends with the answer that makes it this large, bytes; one that is larger goes alone.
const BATCH_BYTES_MAX: usize = 64 << 10;

/// Opens a stream of calls.
pub(super) fn open(service: Service, mut request: Request<Streaming<v1::CallsRequest>>) -> Result<Answers, Status> {
    let entered = entry::stream(&mut request)?;
    let admission = request.extensions_mut().remove();
    let out = Arc::new(Out::new(service.stream_calls_max));
    let driver = Driver::new(service, entered, request.into_inner(), out.clone(), admission);
    Ok(Answers { out, _driver: AbortOnDropHandle::new(tokio::spawn(driver)) })
}

/// What `Calls` answers with. Dropping it ends every call of the stream.
pub(super) struct Answers {
    out: Arc<Out>,
    _driver: AbortOnDropHandle<()>,
}

impl Stream for Answers {
    type Item = Result<v1::CallsResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.out.batch(cx)
    }
}
