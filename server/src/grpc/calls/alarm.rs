//! One timer for many deadlines, most of which are met.
//!
//! It rings at the earliest deadline it was told of, whether that is still waited for or not; whoever hears it says which
//! is the earliest now. Calls of one caller wait equally long, so it rings about once in that time.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use tokio::time::Sleep;

pub(super) struct Alarm {
    at: Option<Instant>,
    sleep: Pin<Box<Sleep>>,
}

impl Alarm {
    pub fn new() -> Self {
        // Set when it is used.
        Self { at: None, sleep: Box::pin(tokio::time::sleep_until(Instant::now().into())) }
    }

    /// Rings at `deadline`, or before.
    pub fn by(&mut self, deadline: Instant) {
        if self.at.is_none_or(|at| deadline < at) {
            self.at = Some(deadline);
            self.sleep.as_mut().reset(deadline.into());
        }
    }

    /// Ready when it rings; it is silent from then on.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.at.is_none() {
            return Poll::Pending;
        }
        let rings = self.sleep.as_mut().poll(cx);
        if rings.is_ready() {
            self.at = None;
        }
        rings
    }
}
