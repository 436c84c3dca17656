//! Tasks on the engine's tokio runtime: they belong to the engine, which can wait for them to end.

use std::future::Future;

use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

/// Handle to start tasks.
#[derive(Clone)]
pub(crate) struct Tasks {
    runtime: tokio::runtime::Handle,
    tracker: TaskTracker,
}

impl Tasks {
    /// For the tokio runtime this is called in.
    pub(crate) fn new() -> Self {
        Self { runtime: tokio::runtime::Handle::current(), tracker: TaskTracker::new() }
    }

    /// Starts a task. May be called on any thread.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn_on(task, &self.runtime);
    }

    /// Counts as a task while it lives.
    pub(crate) fn token(&self) -> TaskTrackerToken {
        self.tracker.token()
    }

    /// Waits until no task is left.
    pub(crate) async fn idle(&self) {
        self.tracker.close();
        self.tracker.wait().await;
        self.tracker.reopen();
    }
}
