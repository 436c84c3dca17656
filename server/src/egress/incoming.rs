//! A response's body on its way to the worker: not waited for without end, and counted until it is dropped.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use lethe_runtime::body::BodyError;
use tokio::sync::OwnedSemaphorePermit;

use super::{pools::Pools, stall::Stall};

/// See the module's text.
pub(super) struct ResponseBody {
    incoming: Incoming,
    stall: Stall,
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
        Self { incoming, stall: Stall::new(stall_timeout), failed: false, _held: held }
    }

    fn fail<T>(&mut self, text: &'static str) -> Poll<Option<Result<T, BodyError>>> {
        self.failed = true;
        Poll::Ready(Some(Err(text.into())))
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
            Poll::Pending => {
                ready!(this.stall.poll(cx));
                return this.fail("the server stopped sending the response's body");
            }
            Poll::Ready(frame) => frame,
        };
        this.stall.over();
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
