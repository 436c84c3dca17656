//! `Watch`: a channel that keeps the last value sent. openraft tells how far it is in seven of them after everything it does,
//! and hardly ever does anybody wait. Sending costs a lock and an addition then; tokio's takes eight more locks to find nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use openraft::async_runtime::watch;
use openraft::{OptionalSend, OptionalSync};
use parking_lot::{RwLock, RwLockReadGuard};
use tokio::sync::Notify;
use tokio::task::coop::cooperative;

const ENDED: u64 = 1;
const CHANGE: u64 = 2;

/// Names the channel for openraft.
pub(super) struct Watch;

/// What both ends share.
struct Shared<T> {
    value: RwLock<T>,
    /// `CHANGE` for each change so far, and `ENDED` once there is no sender any more. Together, so that whoever sees the end
    /// sees the last change before it.
    progress: AtomicU64,
    /// Receivers about to wait, or waiting.
    waiting: AtomicUsize,
    changed: Notify,
    senders: AtomicUsize,
    receivers: AtomicUsize,
}

/// Sends values.
pub(super) struct Sender<T>(Arc<Shared<T>>);

/// Sees the last value sent.
pub(super) struct Receiver<T> {
    shared: Arc<Shared<T>>,
    /// The changes it knows of, as in `Shared::progress`.
    seen: u64,
}

/// One receiver that waits.
struct Waits<'a>(&'a AtomicUsize);

impl<T> Shared<T> {
    fn changes(&self) -> u64 {
        self.progress.load(Ordering::SeqCst) & !ENDED
    }

    fn tell(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.changed.notify_waiters();
        }
    }
}

impl<T> Receiver<T> {
    fn new(shared: Arc<Shared<T>>, seen: u64) -> Self {
        shared.receivers.fetch_add(1, Ordering::SeqCst);
        Self { shared, seen }
    }

    /// What there is to say without waiting.
    fn news(&mut self) -> Option<Result<(), watch::RecvError>> {
        let progress = self.shared.progress.load(Ordering::SeqCst);
        let changes = progress & !ENDED;
        if changes != self.seen {
            self.seen = changes;
            return Some(Ok(()));
        }
        (progress & ENDED != 0).then_some(Err(watch::RecvError(())))
    }

    async fn until_news(&mut self) -> Result<(), watch::RecvError> {
        let shared = self.shared.clone();
        loop {
            let changed = shared.changed.notified();
            let _waits = Waits::new(&shared.waiting);
            // From here on every change is told; those before are seen now.
            if let Some(news) = self.news() {
                return news;
            }
            changed.await;
        }
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.senders.fetch_add(1, Ordering::SeqCst);
        Self(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.0.senders.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.progress.fetch_or(ENDED, Ordering::SeqCst);
            self.0.tell();
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self::new(self.shared.clone(), self.seen)
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.receivers.fetch_sub(1, Ordering::SeqCst);
    }
}

impl<'a> Waits<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::SeqCst);
        Self(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl watch::Watch for Watch {
    type Sender<T: OptionalSend + OptionalSync> = Sender<T>;
    type Receiver<T: OptionalSend + OptionalSync> = Receiver<T>;
    type Ref<'a, T: OptionalSend + 'a> = RwLockReadGuard<'a, T>;

    fn channel<T: OptionalSend + OptionalSync>(init: T) -> (Sender<T>, Receiver<T>) {
        let shared = Arc::new(Shared {
            value: RwLock::new(init),
            progress: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            changed: Notify::new(),
            senders: AtomicUsize::new(1),
            receivers: AtomicUsize::new(0),
        });
        (Sender(shared.clone()), Receiver::new(shared, 0))
    }
}

impl<T: OptionalSend + OptionalSync> watch::WatchSender<Watch, T> for Sender<T> {
    fn send(&self, value: T) -> Result<(), watch::SendError<T>> {
        if self.0.receivers.load(Ordering::SeqCst) == 0 {
            return Err(watch::SendError(value));
        }
        let mut slot = self.0.value.write();
        let old = std::mem::replace(&mut *slot, value);
        self.0.progress.fetch_add(CHANGE, Ordering::SeqCst);
        drop(slot);
        drop(old);
        self.0.tell();
        Ok(())
    }

    fn send_if_modified<F: FnOnce(&mut T) -> bool>(&self, modify: F) -> bool {
        let mut slot = self.0.value.write();
        let is_modified = modify(&mut slot);
        if is_modified {
            self.0.progress.fetch_add(CHANGE, Ordering::SeqCst);
            drop(slot);
            self.0.tell();
        }
        is_modified
    }

    fn borrow_watched(&self) -> RwLockReadGuard<'_, T> {
        self.0.value.read()
    }

    fn subscribe(&self) -> Receiver<T> {
        let slot = self.0.value.read();
        let seen = self.0.changes();
        drop(slot);
        Receiver::new(self.0.clone(), seen)
    }
}

impl<T: OptionalSend + OptionalSync> watch::WatchReceiver<Watch, T> for Receiver<T> {
    async fn changed(&mut self) -> Result<(), watch::RecvError> {
        // News count as work of the task, so that one that always has some lets others run.
        cooperative(self.until_news()).await
    }

    fn borrow_watched(&self) -> RwLockReadGuard<'_, T> {
        self.shared.value.read()
    }

    fn borrow_and_update(&mut self) -> RwLockReadGuard<'_, T> {
        let slot = self.shared.value.read();
        self.seen = self.shared.changes();
        slot
    }
}

#[cfg(test)]
mod tests {
    use openraft::async_runtime::watch::{Watch as _, WatchReceiver as _, WatchSender as _};

    use super::*;

    #[tokio::test]
    async fn whoever_waits_hears_of_a_change_and_of_the_end() {
        let (sender, mut receiver) = Watch::channel(0);
        let waiting = tokio::spawn(async move {
            let first = receiver.changed().await.map(|()| *receiver.borrow_watched());
            (first, receiver.changed().await)
        });
        while sender.0.waiting.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        sender.send(1).unwrap();
        drop(sender);
        let (first, second) = waiting.await.unwrap();
        assert_eq!((first, second), (Ok(1), Err(watch::RecvError(()))));
    }

    #[test]
    fn no_change_is_lost_between_looking_and_waiting() {
        const ROUNDS: u32 = 20_000;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let (there, mut heard) = Watch::channel(0);
        let (back, mut answered) = Watch::channel(0);
        let echo = runtime.spawn(async move {
            while heard.changed().await.is_ok() {
                let value = *heard.borrow_watched();
                back.send(value).unwrap();
            }
        });
        runtime
            .block_on(runtime.spawn(async move {
                for round in 1..=ROUNDS {
                    there.send(round).unwrap();
                    assert_eq!(answered.wait_until_ge(&round).await, Ok(round));
                }
                drop(there);
                echo.await.unwrap();
            }))
            .unwrap();
    }

    #[tokio::test]
    async fn whoever_always_has_news_lets_others_run() {
        let (sender, mut receiver) = Watch::channel(0);
        let other = tokio::spawn(async {});
        for round in 0..10_000 {
            sender.send(round).unwrap();
            receiver.changed().await.unwrap();
        }
        assert!(other.is_finished());
    }

    #[test]
    fn the_last_value_is_seen_before_the_end() {
        const ROUNDS: u32 = 2_000;
        let (give, given) = std::sync::mpsc::sync_channel::<Sender<u32>>(1);
        let last = std::thread::spawn(move || given.into_iter().for_each(|sender| sender.send(1).unwrap()));
        for round in 0..ROUNDS {
            let (sender, mut receiver) = Watch::channel(0);
            give.send(sender).unwrap();
            let first = loop {
                match futures::FutureExt::now_or_never(receiver.changed()) {
                    Some(first) => break first,
                    None => std::thread::yield_now(),
                }
            };
            assert_eq!(first, Ok(()), "round {round}");
        }
        drop(give);
        last.join().unwrap();
    }

    #[tokio::test]
    async fn who_leaves_while_waiting_counts_no_more() {
        let (sender, mut receiver) = Watch::channel(0);
        assert!(futures::FutureExt::now_or_never(receiver.changed()).is_none());
        assert_eq!(sender.0.waiting.load(Ordering::SeqCst), 0);
        drop(receiver);
        assert_eq!(sender.send(1), Err(watch::SendError(1)));
    }
}
