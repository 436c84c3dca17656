//! The one way to end an isolate from outside: remember why, then stop its JavaScript. The first reason wins.

use std::sync::{Arc, OnceLock};

use crate::error::InvocationError;

/// Handle to end one isolate. Any thread may use it, with or without the isolate's lock.
#[derive(Clone)]
pub(crate) struct Kill {
    inner: Arc<Inner>,
}

struct Inner {
    reason: OnceLock<InvocationError>,
    isolate: v8::IsolateHandle,
    killed: tokio::sync::Notify,
}

impl Kill {
    pub(crate) fn new(isolate: v8::IsolateHandle) -> Self {
        Self { inner: Arc::new(Inner { reason: OnceLock::new(), isolate, killed: tokio::sync::Notify::new() }) }
    }

    /// Stops the isolate's JavaScript for good. It is disposed as soon as its current turn has unwound.
    pub(crate) fn kill(&self, reason: InvocationError) {
        if self.inner.reason.set(reason).is_ok() {
            self.inner.isolate.terminate_execution();
            self.inner.killed.notify_one();
        }
    }

    /// Why the isolate is ending, if it is.
    pub(crate) fn reason(&self) -> Option<InvocationError> {
        self.inner.reason.get().cloned()
    }

    /// Waits until someone kills the isolate. One task at a time may wait.
    pub(crate) async fn killed(&self) -> InvocationError {
        loop {
            if let Some(reason) = self.reason() {
                return reason;
            }
            self.inner.killed.notified().await;
        }
    }
}
