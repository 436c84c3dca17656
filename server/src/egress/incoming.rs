//! A response's body on its way to the worker: not waited for without end, and counted until it is dropped.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use lethe_runtime::body::BodyError;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};

use super::pools::Pools;

/// See the module's text.
pub(super) struct ResponseBody {
    incoming: Incoming,
    stall_timeout: Duration,
    stall: Option<Pin<Box<Sleep>>>,
    waiting: bool,
    failed: bool,
    _held: Held,
}

/// What a response keeps until its body is dropped: its place among the requests under way, and its connection.
pub(super) struct Held {
    pub(super) _permit: OwnedSemaphorePermit,
    pub(super) _pools: Arc<Pools>,
}

impl ResponseBody {
    pub(super) fn new(incoming: Incoming, stall_timeout: Duration, held: Held) -> Self {
        Self { incoming, stall_timeout, stall: None, waiting: false, failed: false, _held: held }
    }

    fn fail<T>(&mut self, text: &'static str) -> Poll<Option<Result<T, BodyError>>> {
        self.failed = true;
        Poll::Ready(Some(Err(text.into())))
    }

    fn poll_stall<T>(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, BodyError>>> {
        let timeout = self.stall_timeout;
        let stall = self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        if !self.waiting {
            self.waiting = true;
            stall.as_mut().reset(Instant::now() + timeout);
        }
        if stall.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.fail("the server stopped sending the response's body")
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
        let frame = match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Pending => return this.poll_stall(cx),
            Poll::Ready(frame) => frame,
        };
        this.waiting = false;
        match frame {
            Some(Err(_)) => this.fail("the server broke off the response's body"),
            Some(Ok(frame)) => Poll::Ready(Some(Ok(frame))),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        !self.failed && self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
