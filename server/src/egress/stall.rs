//! How long a body may bring nothing: a clock that runs only while somebody waits for the next frame.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// See the module's text. A body has one, and asks it whenever there is no frame.
pub(crate) struct Stall {
    timeout: Duration,
    /// Made when it is first needed, and then used again: most bodies never wait.
    sleep: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl Stall {
    /// Allows this long without a frame.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { timeout, sleep: None, waiting: false }
    }

    /// Something came: the next wait begins anew.
    pub(crate) fn over(&mut self) {
        self.waiting = false;
    }

    /// Nothing has come; ready once that has lasted too long.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timeout = self.timeout;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        if !self.waiting {
            self.waiting = true;
            sleep.as_mut().reset(Instant::now() + timeout);
        }
        sleep.as_mut().poll(cx)
    }
}
