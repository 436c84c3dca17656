//! The one way to end an isolate from outside: remember why, then stop its JavaScript. The first reason wins.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use crate::error::InvocationError;

/// How long a killed isolate may take to unwind before nobody waits for it any longer. JavaScript stops at once; native
/// code of V8 that touches gigabytes may not.
const UNWIND_TIME_MAX: Duration = Duration::from_secs(5);

/// Handle to end one isolate. Any thread may use it, with or without the isolate's lock.
#[derive(Clone)]
pub(crate) struct Kill {
    inner: Arc<Inner>,
}

struct Inner {
    reason: OnceLock<InvocationError>,
    isolate: v8::IsolateHandle,
    killed: CancellationToken,
    /// Whether an interrupt was requested that has not run yet.
    interrupting: AtomicBool,
}

impl Kill {
    pub(crate) fn new(isolate: v8::IsolateHandle) -> Self {
        Self {
            inner: Arc::new(Inner {
                reason: OnceLock::new(),
                isolate,
                killed: CancellationToken::new(),
                interrupting: AtomicBool::new(false),
            }),
        }
    }

    /// Stops the isolate's JavaScript for good. It is disposed as soon as its current turn has unwound.
    pub(crate) fn kill(&self, reason: InvocationError) {
        if self.inner.reason.set(reason).is_ok() {
            self.inner.isolate.terminate_execution();
            self.inner.killed.cancel();
        }
    }

    /// Why the isolate is ending, if it is.
    pub(crate) fn reason(&self) -> Option<InvocationError> {
        self.inner.reason.get().cloned()
    }

    /// Waits until someone kills the isolate.
    pub(crate) async fn killed(&self) -> InvocationError {
        self.inner.killed.cancelled().await;
        self.reason().unwrap_or_else(|| InvocationError::exception("the isolate was stopped"))
    }

    /// Waits until the isolate was killed so long ago that it will not unwind by itself.
    pub(crate) async fn abandoned(&self) {
        self.killed().await;
        tokio::time::sleep(UNWIND_TIME_MAX).await;
    }

    // SAFETY: the callback is only called by V8, on the isolate's thread.
    /// Makes the isolate run `callback` at its next safe point. Such requests queue up in V8, so there is one at a time;
    /// the callback must call [`Kill::interrupted`].
    pub(crate) fn interrupt(&self, callback: unsafe extern "C" fn(v8::UnsafeRawIsolatePtr, *mut std::ffi::c_void)) {
        if !self.inner.interrupting.swap(true, Ordering::Relaxed) {
            self.inner.isolate.request_interrupt(callback, std::ptr::null_mut());
        }
    }

    /// The interrupt has begun to run.
    pub(crate) fn interrupted(&self) {
        self.inner.interrupting.store(false, Ordering::Relaxed);
    }
}
