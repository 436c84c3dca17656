//! Bodies that JavaScript holds by number: incoming ones it reads, outgoing ones it writes.

use std::{
    collections::HashMap,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use crate::body::{Body, BodyError};

/// Bodies one isolate may hold.
const BODIES_MAX: usize = 4096;

/// All bodies of an isolate.
#[derive(Default)]
pub(crate) struct Bodies {
    last_id: u32,
    by_id: HashMap<u32, Held>,
}

/// One body.
pub(crate) enum Held {
    /// Comes from outside. `None` while a read is in flight.
    Incoming(Option<Body>),
    /// JavaScript writes it. The reading half leaves once, as part of a request or response.
    Outgoing {
        /// The writing half.
        writer: mpsc::Sender<Part>,
        /// The reading half until it leaves.
        body: Option<Body>,
    },
}

/// What a writer sends to the reading half.
pub(crate) enum Part {
    /// Bytes.
    Data(Bytes),
    /// The body is complete.
    End,
    /// The body failed.
    Failed(String),
}

impl Bodies {
    fn insert(&mut self, held: Held) -> Option<u32> {
        if self.by_id.len() >= BODIES_MAX {
            return None;
        }
        self.last_id += 1;
        self.by_id.insert(self.last_id, held);
        Some(self.last_id)
    }

    /// Takes in a body from outside; `None` when there are too many.
    pub(crate) fn receive(&mut self, body: Body) -> Option<u32> {
        self.insert(Held::Incoming(Some(body)))
    }

    /// Opens a body to write; `None` when there are too many.
    pub(crate) fn open(&mut self) -> Option<u32> {
        let (writer, parts) = mpsc::channel(1);
        self.insert(Held::Outgoing { writer, body: Some(Reading { parts, ended: false }.boxed_unsync()) })
    }

    /// Takes a body out, to send it on. An outgoing one stays open for its writer.
    pub(crate) fn take(&mut self, id: u32) -> Option<Body> {
        match self.by_id.get_mut(&id)? {
            Held::Incoming(body) => {
                let body = body.take()?;
                self.by_id.remove(&id);
                Some(body)
            }
            Held::Outgoing { body, .. } => body.take(),
        }
    }

    /// Takes an incoming body for one read.
    pub(crate) fn start_read(&mut self, id: u32) -> Option<Body> {
        match self.by_id.get_mut(&id)? {
            Held::Incoming(body) => body.take(),
            Held::Outgoing { .. } => None,
        }
    }

    /// Puts a body back after a read, unless it was cancelled meanwhile.
    pub(crate) fn end_read(&mut self, id: u32, body: Body) {
        if let Some(Held::Incoming(place)) = self.by_id.get_mut(&id) {
            *place = Some(body);
        }
    }

    /// The writing half of a body.
    pub(crate) fn writer(&self, id: u32) -> Option<mpsc::Sender<Part>> {
        match self.by_id.get(&id)? {
            Held::Outgoing { writer, .. } => Some(writer.clone()),
            Held::Incoming(_) => None,
        }
    }

    /// Forgets a body. Its other end sees that it is gone.
    pub(crate) fn remove(&mut self, id: u32) -> Option<Held> {
        self.by_id.remove(&id)
    }
}

/// Reading half of a body that JavaScript writes. It ends cleanly only when the writer said so.
struct Reading {
    parts: mpsc::Receiver<Part>,
    ended: bool,
}

impl http_body::Body for Reading {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let part = std::task::ready!(self.parts.poll_recv(cx));
        self.ended = !matches!(part, Some(Part::Data(_)));
        Poll::Ready(match part {
            Some(Part::Data(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(Part::End) => None,
            Some(Part::Failed(message)) => Some(Err(message.into())),
            None => Some(Err("the worker ended before its body was complete".into())),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

/// A body that starts with `first`.
pub(crate) fn prepend(first: Bytes, rest: Body) -> Body {
    Prepended { first: Some(first), rest }.boxed_unsync()
}

struct Prepended {
    first: Option<Bytes>,
    rest: Body,
}

impl http_body::Body for Prepended {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(Frame::data(first)))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_whose_writer_vanished_is_an_error_and_not_an_end() {
        let mut bodies = Bodies::default();
        let id = bodies.open().unwrap();
        let body = bodies.take(id).unwrap();
        bodies.remove(id);
        assert!(body.collect().await.is_err());
    }

    #[tokio::test]
    async fn an_ended_body_has_all_its_bytes() {
        let mut bodies = Bodies::default();
        let id = bodies.open().unwrap();
        let body = bodies.take(id).unwrap();
        let writer = bodies.writer(id).unwrap();
        let write = async {
            writer.send(Part::Data("ab".into())).await.unwrap_or_default();
            writer.send(Part::Data("c".into())).await.unwrap_or_default();
            writer.send(Part::End).await.unwrap_or_default();
        };
        let (read, ()) = tokio::join!(body.collect(), write);
        assert_eq!(read.unwrap().to_bytes(), "abc");
    }
}
