//! Whether the client of one HTTP/2 stream takes what it is sent.
//!
//! Over HTTP/1.1 a client that takes nothing blocks the socket, and the wire sees it. Over HTTP/2 it may block one stream
//! only, by flow control, and the HTTP library then just does not ask for the next frame. So the body notes when it gave
//! a frame away and when it is asked for the next, and the stream's task ends the stream when the second is late.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

tokio::task_local! {
    /// Set in the task of each HTTP/2 stream; how the stream's body finds the task's clock.
    static CURRENT: Arc<Progress>;
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// When a frame was given away; `None` while nothing waits for the client.
    given: Mutex<Option<Instant>>,
}

impl Progress {
    /// The progress of the HTTP/2 stream whose task runs now.
    pub(super) fn current() -> Option<Arc<Self>> {
        CURRENT.try_with(Arc::clone).ok()
    }

    /// A frame was handed to the HTTP library.
    pub(super) fn gave(&self) {
        *self.given.lock() = Some(Instant::now());
    }

    /// The HTTP library asked for a frame: there is room again.
    pub(super) fn asked(&self) {
        *self.given.lock() = None;
    }

    /// Returns when the client took nothing for `timeout`; at the latest twice that after it began.
    async fn stalled(&self, timeout: Duration) {
        loop {
            let given = *self.given.lock();
            let look_again = given.unwrap_or_else(Instant::now) + timeout;
            if given.is_some() && look_again <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(look_again).await;
        }
    }
}

/// Runs a stream's task to its end, or until its client takes nothing for `timeout`. The stream is reset then.
pub(super) async fn watched(stream: impl Future, timeout: Duration) {
    let progress = Arc::new(Progress::default());
    CURRENT
        .scope(progress.clone(), async {
            tokio::select! {
                _ = stream => {}
                () = progress.stalled(timeout) => tracing::debug!("the client stopped taking an HTTP/2 response"),
            }
        })
        .await;
}
