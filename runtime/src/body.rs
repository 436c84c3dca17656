//! Bodies of HTTP messages as they cross the edge of an isolate: a stream of byte chunks with back-pressure.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};

/// Why a body ended early.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A streaming body. Frames are pulled one at a time, so a slow reader slows the writer.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// A body of no bytes.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body whose bytes are all known.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// The same body; what it holds is dropped with it.
pub fn holding<K: Send + Unpin + 'static>(body: Body, held: K) -> Body {
    Holding { body, _held: held }.boxed_unsync()
}

struct Holding<K> {
    body: Body,
    _held: K,
}

impl<K: Unpin> http_body::Body for Holding<K> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
