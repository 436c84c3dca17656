//! A request's body on its way in: counted, bounded in size, and not waited for without end.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use lethe_runtime::body::BodyError;

use super::refusal::Refusal;
use crate::egress::stall::Stall;

/// What became of a request's body, for the answer and the access log.
#[derive(Debug, Default)]
pub(super) struct Intake {
    bytes: AtomicU64,
    fault: AtomicU8,
    ended: AtomicBool,
}

const FAULT_TOO_LARGE: u8 = 1;
const FAULT_STALLED: u8 = 2;
const FAULT_BROKEN: u8 = 3;

impl Intake {
    /// For a request that has a body, or none.
    pub(super) fn of(incoming: &Incoming) -> Self {
        Self { ended: AtomicBool::new(incoming.is_end_stream()), ..Self::default() }
    }

    /// Bytes read so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether the body was read to its end.
    pub(super) fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// The refusal this body deserves, if it broke a bound.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        match self.fault.load(Ordering::Acquire) {
            FAULT_TOO_LARGE => Some(Refusal::BodyTooLarge),
            FAULT_STALLED => Some(Refusal::BodyStalled),
            FAULT_BROKEN => Some(Refusal::BodyBroken),
            _ => None,
        }
    }
}

/// See the module's text. The HTTP library says `100 Continue` when this is first polled, not before.
pub(super) struct RequestBody {
    incoming: Incoming,
    intake: Arc<Intake>,
    bytes_max: u64,
    stall: Stall,
    failed: bool,
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, intake: Arc<Intake>, bytes_max: u64, stall_timeout: Duration) -> Self {
        Self { incoming, intake, bytes_max, stall: Stall::new(stall_timeout), failed: false }
    }

    fn fail<T>(&mut self, fault: u8, text: &'static str) -> Poll<Option<Result<T, BodyError>>> {
        self.failed = true;
        self.intake.fault.store(fault, Ordering::Release);
        Poll::Ready(Some(Err(text.into())))
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.get_mut();
        if this.failed {
            return Poll::Ready(None);
        }
        let frame = match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Pending => {
                ready!(this.stall.poll(cx));
                return this.fail(FAULT_STALLED, "the client stopped sending the request's body");
            }
            Poll::Ready(frame) => frame,
        };
        this.stall.over();
        match frame {
            None => {
                this.intake.ended.store(true, Ordering::Release);
                Poll::Ready(None)
            }
            Some(Err(_)) => this.fail(FAULT_BROKEN, "the request's body is malformed or was broken off"),
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                let total = this.intake.bytes.fetch_add(length, Ordering::Relaxed) + length;
                if total > this.bytes_max {
                    return this.fail(FAULT_TOO_LARGE, "the request's body is larger than this server takes");
                }
                if this.incoming.is_end_stream() {
                    this.intake.ended.store(true, Ordering::Release);
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        !self.failed && self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
