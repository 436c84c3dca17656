//! A response's body on its way out: counted, held to its declared length, and a panic in it contained.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use lethe_runtime::body::{self, Body, BodyError};
use tokio::sync::OwnedSemaphorePermit;

use super::access::Record;
use super::activity::Open;
use super::progress::Progress;

/// What keeps a request counted until its response's body is dropped.
pub(super) struct Held {
    pub(super) record: Record,
    /// `None` only for a request that was refused because there were too many.
    pub(super) _permit: Option<OwnedSemaphorePermit>,
    pub(super) open: Open,
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.record.intake.ended() {
            self.open.note_unread();
        }
    }
}

/// See the module's text. Never cut short in silence: a body that breaks off ends in an error, so the client sees a
/// reset or an unfinished message.
pub(super) struct ResponseBody {
    inner: Body,
    /// Bytes the response's `content-length` still promises.
    promised: Option<u64>,
    failed: bool,
    /// `None` over HTTP/1.1.
    progress: Option<Arc<Progress>>,
    held: Held,
}

impl ResponseBody {
    /// `promised` is the value of the `content-length` header, if there is one. Made in the task that will send it.
    pub(super) fn new(inner: Body, promised: Option<u64>, mut held: Held) -> Self {
        held.record.complete = inner.is_end_stream();
        let progress = Progress::current();
        if let (Some(progress), false) = (&progress, inner.is_end_stream()) {
            // The head is the first thing the client has to make room for.
            progress.gave();
        }
        Self { inner, promised, failed: false, progress, held }
    }

    fn fail(&mut self, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        tracing::debug!(request_id = %self.held.record.request_id, %error, "the response broke off");
        self.failed = true;
        self.inner = body::empty();
        Poll::Ready(Some(Err(error)))
    }

    fn take(&mut self, frame: Frame<Bytes>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        if let Some(promised) = &mut self.promised {
            match promised.checked_sub(length) {
                Some(rest) => *promised = rest,
                None => return self.fail("the response's body is longer than its content-length".into()),
            }
        }
        self.held.record.bytes_out += length;
        if let Some(progress) = &self.progress {
            progress.gave();
        }
        if self.promised == Some(0) || self.is_end_stream() {
            self.held.record.complete = true;
        }
        Poll::Ready(Some(Ok(frame)))
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if this.failed {
            return Poll::Ready(None);
        }
        if let Some(progress) = &this.progress {
            progress.asked();
        }
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut this.inner).poll_frame(cx)));
        match polled {
            Err(_) => this.fail("the response's body panicked".into()),
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(Some(Ok(frame)))) => this.take(frame),
            Ok(Poll::Ready(Some(Err(error)))) => this.fail(error),
            Ok(Poll::Ready(None)) if this.promised.is_some_and(|rest| rest > 0) => {
                this.fail("the response's body is shorter than its content-length".into())
            }
            Ok(Poll::Ready(None)) => {
                this.held.record.complete = true;
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        !self.failed && self.inner.is_end_stream() && self.promised.is_none_or(|rest| rest == 0)
    }

    fn size_hint(&self) -> SizeHint {
        match self.promised {
            Some(promised) => SizeHint::with_exact(promised),
            None => self.inner.size_hint(),
        }
    }
}
