//! Threads that run JavaScript. A turn takes a permit first and a thread second, so it never waits while it holds a lock.
//!
//! Threads are created when they are needed, up to a maximum, and kept. A busy isolate occupies one of them and delays
//! nobody but itself; the operating system shares the processors.

use std::{
    cell::Cell,
    collections::VecDeque,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use parking_lot::{Condvar, Mutex};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, oneshot},
};

/// Stack of one thread. V8 stops recursion at `--stack-size` (900 KiB) of it; the rest is room for native code.
const STACK_BYTES: usize = 4 << 20;

/// By how much the threads are nicer than the process: where processors are short, heartbeats, votes and the log go
/// before JavaScript, so that a node full of requests keeps its leases.
const NICENESS: i32 = 5;

/// Turns that may be abandoned and replaced at a time; more of them take threads from everybody.
const ABANDONED_MAX: usize = 64;

type Job = Box<dyn FnOnce() + Send>;

/// A job panicked or its thread could not be started; what it worked on must not be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost;

/// Handle of the threads. They end when the last handle is dropped and the queue is empty.
#[derive(Clone)]
pub(crate) struct Threads {
    shared: Arc<Shared>,
    permits: Arc<Semaphore>,
    _closer: Arc<Closer>,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    threads_max: usize,
    /// Entered by every thread: a host's future that is first polled under an isolate's lock finds its runtime.
    tokio: Handle,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    idle: usize,
    threads: usize,
    /// Turns that nobody waits for any longer and that still run.
    abandoned: usize,
    closed: bool,
}

struct Closer(Arc<Shared>);

impl Drop for Closer {
    fn drop(&mut self) {
        self.0.queue.lock().closed = true;
        self.0.wake.notify_all();
    }
}

impl Threads {
    /// Makes the pool; no thread is started yet. Must be called inside a tokio runtime.
    pub(crate) fn new(threads_max: usize) -> Self {
        let (queue, wake, tokio) = (Mutex::default(), Condvar::new(), Handle::current());
        let shared = Arc::new(Shared { queue, wake, threads_max: threads_max.max(1), tokio });
        let permits = Arc::new(Semaphore::new(shared.threads_max));
        Self { _closer: Arc::new(Closer(shared.clone())), shared, permits }
    }

    /// Runs `job` on a thread when a permit is free.
    pub(crate) async fn run<R: Send + 'static>(&self, job: impl FnOnce() -> R + Send + 'static) -> Result<R, Lost> {
        self.run_or_abandon(job, std::future::pending()).await
    }

    /// Runs `job`; when `abandon` ends first nobody waits for the job any longer, and another thread may take its place.
    pub(crate) async fn run_or_abandon<R: Send + 'static>(
        &self,
        job: impl FnOnce() -> R + Send + 'static,
        abandon: impl Future<Output = ()>,
    ) -> Result<R, Lost> {
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| Lost)?;
        let (done, result) = oneshot::channel();
        let abandoned = Arc::new(AtomicBool::new(false));
        let (shared, job_abandoned) = (self.shared.clone(), abandoned.clone());
        self.push(Box::new(move || {
            let value = job();
            if job_abandoned.load(Ordering::SeqCst) {
                permit.forget();
                shared.queue.lock().abandoned -= 1;
            }
            let _ = done.send(value);
        }));
        tokio::select! {
            result = result => result.map_err(|_| Lost),
            () = abandon => {
                self.replace(&abandoned);
                Err(Lost)
            }
        }
    }

    fn replace(&self, job: &AtomicBool) {
        let mut queue = self.shared.queue.lock();
        if queue.abandoned < ABANDONED_MAX {
            job.store(true, Ordering::SeqCst);
            queue.abandoned += 1;
            self.permits.add_permits(1);
        }
        tracing::error!(abandoned = queue.abandoned, "a turn does not stop; it goes on at idle priority");
    }

    /// Runs `job` some time later, without a permit. For short work that nobody waits for, like ending an isolate.
    pub(crate) fn push(&self, job: Job) {
        let mut queue = self.shared.queue.lock();
        queue.jobs.push_back(job);
        if queue.idle < queue.jobs.len() && queue.threads < self.shared.threads_max + queue.abandoned {
            let shared = self.shared.clone();
            let started = thread::Builder::new().name("js".into()).stack_size(STACK_BYTES).spawn(move || work(&shared));
            match started {
                Ok(_) => queue.threads += 1,
                Err(error) if queue.threads == 0 => {
                    tracing::error!(%error, "no thread to run JavaScript can be started");
                    queue.jobs.pop_back();
                }
                Err(_) => {}
            }
        }
        drop(queue);
        self.shared.wake.notify_one();
    }
}

thread_local! {
    static RETIRED: Cell<bool> = const { Cell::new(false) };
}

/// Makes the current thread end after its job, because it runs at idle priority and cannot get its old one back.
pub(crate) fn retire() {
    RETIRED.set(true);
}

/// Lets the node's other threads run before this one. Lowering a priority needs no right, so it cannot fail.
fn lower_priority() {
    // SAFETY: changes a number of this thread: on Linux, threads have priorities of their own.
    unsafe { libc::nice(NICENESS) };
}

fn work(shared: &Shared) {
    lower_priority();
    let _entered = shared.tokio.enter();
    let mut queue = shared.queue.lock();
    loop {
        if let Some(job) = queue.jobs.pop_front() {
            drop(queue);
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                tracing::error!("a JavaScript thread's job panicked; its isolate is abandoned");
            }
            queue = shared.queue.lock();
            if RETIRED.get() {
                queue.threads -= 1;
                return;
            }
        } else if queue.closed {
            queue.threads -= 1;
            return;
        } else {
            queue.idle += 1;
            shared.wake.wait(&mut queue);
            queue.idle -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_blocked_thread_does_not_delay_other_jobs() {
        let threads = Threads::new(2);
        let (release, blocked) = std::sync::mpsc::channel::<()>();
        let busy = tokio::spawn({
            let threads = threads.clone();
            async move { threads.run(move || blocked.recv().is_ok()).await }
        });
        for i in 0..100 {
            let answer = tokio::time::timeout(Duration::from_secs(10), threads.run(move || i)).await;
            assert_eq!(answer, Ok(Ok(i)));
        }
        release.send(()).unwrap();
        assert_eq!(busy.await.unwrap(), Ok(true));
    }

    #[tokio::test]
    async fn jobs_run_at_a_lower_priority_and_nothing_else_does() {
        // SAFETY: reads a number.
        let niceness = || unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        let before = niceness();
        let inside = Threads::new(1).run(niceness).await;
        assert_eq!(inside, Ok((before + NICENESS).min(19)), "19 is as low as it goes");
        assert_eq!(niceness(), before);
    }

    #[tokio::test]
    async fn a_panicking_job_is_lost_and_its_thread_goes_on() {
        let threads = Threads::new(1);
        assert_eq!(threads.run(|| panic!("on purpose")).await, Err::<(), _>(Lost));
        assert_eq!(threads.run(|| 7).await, Ok(7));
    }
}
