//! Calls that a test holds back: what a fake host was asked stays unanswered until the test releases it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

/// Longest wait for something that must happen.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Which kinds of calls are held, and those that are held now.
#[derive(Clone, Default)]
pub struct Holds(Arc<Inner>);

#[derive(Default)]
struct Inner {
    held: Mutex<HashMap<String, Vec<oneshot::Sender<()>>>>,
    changed: Notify,
}

impl Holds {
    /// From now on calls of this kind stay unanswered until they are released.
    pub fn hold(&self, kind: &str) {
        self.0.held.lock().entry(kind.into()).or_default();
    }

    /// Answers `value` at once, or when the call is released if its kind is held.
    pub fn pass<T: Send + 'static>(&self, kind: &str, value: T) -> BoxFuture<'static, T> {
        let mut held = self.0.held.lock();
        let Some(waiting) = held.get_mut(kind) else { return Box::pin(async { value }) };
        let (release, released) = oneshot::channel();
        waiting.push(release);
        self.0.changed.notify_waiters();
        Box::pin(async move {
            let _ = released.await;
            value
        })
    }

    /// Waits until `count` calls of this kind are held.
    pub async fn until(&self, kind: &str, count: usize) {
        let wait = async {
            loop {
                let changed = self.0.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if self.0.held.lock().get(kind).map_or(0, Vec::len) >= count {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("no {count} calls of {kind} in time"));
    }

    /// Answers the call of this kind that was held first.
    pub fn release(&self, kind: &str) {
        let mut held = self.0.held.lock();
        let waiting = held.get_mut(kind).unwrap_or_else(|| panic!("{kind} is not held"));
        assert!(!waiting.is_empty(), "no call of {kind} is held");
        waiting.remove(0).send(()).expect("somebody waits for the held call");
    }

    /// Answers all held calls of this kind, and holds no more.
    pub fn release_all(&self, kind: &str) {
        for release in self.0.held.lock().remove(kind).into_iter().flatten() {
            let _ = release.send(());
        }
    }
}
