//! The sending end of a stream of calls.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::Stream;
use lethe_proto::v1;

use super::{line::Line, now};

/// The messages of a stream, made of what is there when the connection can send. It ends with the stream.
pub struct Writer {
    line: Arc<Line>,
}

impl Writer {
    pub(super) fn new(line: Arc<Line>) -> Self {
        Self { line }
    }
}

impl Stream for Writer {
    type Item = v1::CallsRequest;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<v1::CallsRequest>> {
        self.line.batch(cx, now())
    }
}
