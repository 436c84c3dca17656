//! What one connection is doing: shared by its wire, which keeps the time-outs, and its requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::Context;

use futures::task::AtomicWaker;
use tokio::sync::Notify;

/// Counts a connection's requests.
///
/// A request is open from the moment its head was understood until its response's body is dropped.
#[derive(Default, Debug)]
pub(super) struct Activity {
    started: AtomicU64,
    open: AtomicUsize,
    /// Responses whose last bytes may still be in the HTTP library's buffer.
    unflushed: AtomicBool,
    /// A response was given while the client was still sending its request.
    unread: AtomicBool,
    tired: Notify,
    /// Requests come over HTTP/2.
    multiplexed: AtomicBool,
    /// The wire's task, while it waits for the last open request to close.
    wire: AtomicWaker,
}

impl Activity {
    /// Marks a request open until the guard is dropped.
    pub(super) fn open(self: &Arc<Self>) -> Open {
        self.open.fetch_add(1, Ordering::AcqRel);
        self.started.fetch_add(1, Ordering::AcqRel);
        self.unflushed.store(true, Ordering::Release);
        Open { activity: self.clone() }
    }

    /// Requests open now.
    pub(super) fn open_count(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Whether no request is open. If one is, the task of `cx` is woken when the last one closes: the HTTP library does
    /// not read again by itself then, and the wire must begin to count the idle time.
    pub(super) fn poll_idle(&self, cx: &Context<'_>) -> bool {
        self.wire.register(cx.waker());
        self.open_count() == 0
    }

    /// Requests ever opened.
    pub(super) fn started(&self) -> u64 {
        self.started.load(Ordering::Acquire)
    }

    /// Called by the wire when everything the HTTP library had to say was written.
    pub(super) fn flushed(&self) {
        if self.open_count() == 0 {
            self.unflushed.store(false, Ordering::Release);
        }
    }

    /// Whether bytes written now can belong to a response of ours.
    pub(super) fn responding(&self) -> bool {
        self.open_count() > 0 || self.unflushed.load(Ordering::Acquire)
    }

    /// Called by the wire when an HTTP/2 connection was idle for too long.
    pub(super) fn note_tired(&self) {
        self.tired.notify_one();
    }

    /// Returns when the connection should be closed politely.
    pub(super) async fn tired(&self) {
        self.tired.notified().await;
    }

    /// Notes that the connection speaks HTTP/2.
    pub(super) fn note_multiplexed(&self) {
        self.multiplexed.store(true, Ordering::Release);
    }

    /// Whether the connection is known to speak HTTP/2.
    pub(super) fn is_multiplexed(&self) -> bool {
        self.multiplexed.load(Ordering::Acquire)
    }

    /// Notes that a request's body was not read to its end.
    pub(super) fn note_unread(&self) {
        self.unread.store(true, Ordering::Release);
    }

    /// Whether a client may still be sending something nobody will read.
    pub(super) fn has_unread(&self) -> bool {
        self.unread.load(Ordering::Acquire)
    }
}

/// One open request.
#[derive(Debug)]
pub(super) struct Open {
    activity: Arc<Activity>,
}

impl Open {
    /// Notes that the request's body was not read to its end.
    pub(super) fn note_unread(&self) {
        self.activity.note_unread();
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.activity.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.activity.wire.wake();
        }
    }
}
