//! A call that may be tried again: what every attempt needs, as long as it can be had once more.
//!
//! A body is lent to an attempt. As long as the attempt has not touched it, it can be taken back and lent to the next.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use lethe_runtime::{
    body::{Body, BodyError},
    host::{ActorCall, Payload},
};
use parking_lot::Mutex;

/// A call.
pub(super) enum Again {
    Method { method: String, args: Payload },
    Fetch { head: http::request::Parts, body: Lent },
    Destroy { by_operator: bool },
}

impl Again {
    pub fn new(call: ActorCall) -> Self {
        match call {
            ActorCall::Method { method, args } => Self::Method { method, args },
            ActorCall::Fetch(request) => {
                let (head, body) = request.into_parts();
                Self::Fetch { head, body: Lent(Arc::new(Mutex::new(Some(body)))) }
            }
            ActorCall::Destroy { by_operator } => Self::Destroy { by_operator },
        }
    }

    /// The call for one more attempt; none once its body was touched. The one before must have ended.
    pub fn attempt(&mut self) -> Option<ActorCall> {
        match self {
            Self::Method { method, args } => Some(ActorCall::Method { method: method.clone(), args: args.clone() }),
            Self::Fetch { head, body } => {
                let body = body.lend()?;
                Some(ActorCall::Fetch(http::Request::from_parts(head.clone(), body)))
            }
            Self::Destroy { by_operator } => Some(ActorCall::Destroy { by_operator: *by_operator }),
        }
    }
}

/// A body that is lent to one attempt at a time.
pub(super) struct Lent(Arc<Mutex<Option<Body>>>);

impl Lent {
    fn lend(&mut self) -> Option<Body> {
        // Whoever had it before finds nothing from now on.
        let body = self.0.lock().take()?;
        let (end, size) = (body.is_end_stream(), body.size_hint());
        self.0 = Arc::new(Mutex::new(Some(body)));
        Some(Loan { lent: self.0.clone(), taken: None, end, size }.boxed_unsync())
    }
}

/// What an attempt gets: the body, taken for good when it is first asked for.
struct Loan {
    lent: Arc<Mutex<Option<Body>>>,
    taken: Option<Body>,
    /// As long as it is not taken.
    end: bool,
    size: SizeHint,
}

impl http_body::Body for Loan {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.taken.is_none() {
            let taken = self.lent.lock().take();
            self.taken = taken;
        }
        match &mut self.taken {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(Some(Err("the call was made again elsewhere".into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.taken.as_ref().map_or(self.end, http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.taken.as_ref().map_or(self.size, http_body::Body::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use lethe_runtime::body;

    use super::*;

    fn fetch(text: &'static str) -> Again {
        Again::new(ActorCall::Fetch(http::Request::new(body::full(text))))
    }

    fn body_of(call: Option<ActorCall>) -> Option<Body> {
        match call {
            Some(ActorCall::Fetch(request)) => Some(request.into_body()),
            Some(ActorCall::Method { .. } | ActorCall::Destroy { .. }) | None => None,
        }
    }

    fn read(body: Body) -> Result<Bytes, BodyError> {
        body.collect().now_or_never().expect("it is there").map(http_body_util::Collected::to_bytes)
    }

    #[test]
    fn an_untouched_body_is_whole_in_the_next_attempt() {
        let mut call = fetch("whole");
        let first = body_of(call.attempt()).unwrap();
        let second = body_of(call.attempt()).unwrap();
        assert_eq!(second.size_hint().exact(), Some(5));
        assert!(read(first).is_err(), "an attempt that is over reads nothing");
        assert_eq!(read(second).unwrap(), "whole");
    }

    #[test]
    fn a_touched_body_is_not_lent_again() {
        let mut call = fetch("once");
        assert_eq!(read(body_of(call.attempt()).unwrap()).unwrap(), "once");
        assert!(call.attempt().is_none());
    }
}
