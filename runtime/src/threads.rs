//! Threads that run JavaScript. A turn takes a permit first and a thread second, so it never waits while it holds a lock.
//!
//! As many threads run as there are processors; each of them has a seat. Jobs wait in the order of their [`Urgency`] and
//! within it in the order they came, so that what was begun is finished: with a thread for each, requests were half done
//! all at once, and some were late by a second. A thread that is busy for long loses its seat to another and goes on
//! beside it, so an isolate delays others by milliseconds at most; then the operating system shares the processors.
//!
//! Threads are created when they are needed, up to a maximum, and kept. The one that rested last is woken first: its
//! caches are warm.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, oneshot},
};

use crate::job_queue::{Job, JobQueue};

pub(crate) use crate::job_queue::Urgency;

/// Stack of one thread. V8 stops recursion at `--stack-size` (900 KiB) of it; the rest is room for native code.
const STACK_BYTES: usize = 4 << 20;

/// By how much the threads are nicer than the process: where processors are short, heartbeats, votes and the log go
/// before JavaScript, so that a node full of requests keeps its leases.
const NICENESS: i32 = 5;

/// Turns that may be abandoned and replaced at a time; more of them take threads from everybody.
const ABANDONED_MAX: usize = 64;

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
    state: Mutex<State>,
    threads_max: usize,
    /// Threads that may have a seat.
    seats_max: usize,
    /// Entered by every thread: a host's future that is first polled under an isolate's lock finds its runtime.
    tokio: Handle,
}

#[derive(Default)]
struct State {
    jobs: JobQueue,
    /// Threads that rest, the one that came last at the end.
    idle: Vec<Arc<Seat>>,
    /// Threads that have a seat: they run a job or are about to look for one.
    seated: usize,
    threads: usize,
    /// Turns that nobody waits for any longer and that still run.
    abandoned: usize,
    closed: bool,
}

/// What a thread is known by. Both are changed under the lock of [`State`].
struct Seat {
    /// Whether it counts as one that runs.
    taken: AtomicBool,
    wake: Condvar,
}

/// The seat of a thread, for those who find that it is busy for long.
#[derive(Clone)]
pub(crate) struct Seated {
    seat: Arc<Seat>,
    shared: Arc<Shared>,
}

impl Seated {
    /// The thread goes on without a seat, and somebody else may run. Nothing happens when it has none.
    pub(crate) fn lose(&self) {
        let mut state = self.shared.state.lock();
        if self.seat.taken.swap(false, Ordering::Relaxed) {
            state.seated -= 1;
            self.shared.seat_one_more(&mut state);
        }
    }
}

struct Closer(Arc<Shared>);

impl Drop for Closer {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.closed = true;
        for seat in &state.idle {
            seat.wake.notify_one();
        }
    }
}

impl Threads {
    /// Makes the pool; no thread is started yet. Must be called inside a tokio runtime.
    pub(crate) fn new(threads_max: usize) -> Self {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Self::with_seats(threads_max, processors)
    }

    fn with_seats(threads_max: usize, seats_max: usize) -> Self {
        let (threads_max, tokio) = (threads_max.max(1), Handle::current());
        let shared = Arc::new(Shared { state: Mutex::default(), threads_max, seats_max, tokio });
        let permits = Arc::new(Semaphore::new(threads_max));
        Self { _closer: Arc::new(Closer(shared.clone())), shared, permits }
    }

    /// Runs `job` on a thread when a permit is free.
    pub(crate) async fn run<R: Send + 'static>(
        &self,
        urgency: Urgency,
        job: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, Lost> {
        self.run_or_abandon(urgency, job, std::future::pending()).await
    }

    /// Runs `job`; when `abandon` ends first nobody waits for the job any longer, and another thread may take its place.
    pub(crate) async fn run_or_abandon<R: Send + 'static>(
        &self,
        urgency: Urgency,
        job: impl FnOnce() -> R + Send + 'static,
        abandon: impl Future<Output = ()>,
    ) -> Result<R, Lost> {
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| Lost)?;
        let (done, result) = oneshot::channel();
        let abandoned = Arc::new(AtomicBool::new(false));
        let (shared, job_abandoned) = (self.shared.clone(), abandoned.clone());
        let job = move || {
            let value = job();
            if job_abandoned.load(Ordering::SeqCst) {
                permit.forget();
                shared.state.lock().abandoned -= 1;
            }
            let _ = done.send(value);
        };
        self.push(urgency, Box::new(job));
        tokio::select! {
            result = result => result.map_err(|_| Lost),
            () = abandon => {
                self.replace(&abandoned);
                Err(Lost)
            }
        }
    }

    fn replace(&self, job: &AtomicBool) {
        let mut state = self.shared.state.lock();
        if state.abandoned < ABANDONED_MAX {
            job.store(true, Ordering::SeqCst);
            state.abandoned += 1;
            self.permits.add_permits(1);
        }
        tracing::error!(abandoned = state.abandoned, "a turn does not stop; it goes on at idle priority");
    }

    /// Runs `job` some time later, without a permit. For short work that nobody waits for, like ending an isolate.
    pub(crate) fn push(&self, urgency: Urgency, job: Job) {
        let mut state = self.shared.state.lock();
        state.jobs.push(urgency, job);
        self.shared.seat_one_more(&mut state);
        if state.threads == 0 {
            // Nobody will ever take it. Dropping it tells whoever waits, and may push jobs of its own.
            let lost = state.jobs.pop();
            drop(state);
            drop(lost);
        }
    }
}

impl Shared {
    /// Seats a thread if there is a job for it and a seat. Whoever has a seat looks for jobs before it leaves it, so where
    /// all are taken nobody needs to be woken.
    fn seat_one_more(self: &Arc<Self>, state: &mut State) {
        if state.seated >= self.seats_max || state.jobs.is_empty() {
            return;
        }
        if let Some(seat) = state.idle.pop() {
            seat.taken.store(true, Ordering::Relaxed);
            seat.wake.notify_one();
            state.seated += 1;
        } else if state.threads < self.threads_max + state.abandoned {
            let seat = Arc::new(Seat { taken: AtomicBool::new(true), wake: Condvar::new() });
            let seated = Seated { seat, shared: self.clone() };
            let thread = thread::Builder::new().name("js".into()).stack_size(STACK_BYTES).spawn(move || work(seated));
            match thread {
                Ok(_) => {
                    state.threads += 1;
                    state.seated += 1;
                }
                Err(error) if state.threads == 0 => {
                    tracing::error!(%error, "no thread to run JavaScript can be started");
                }
                Err(_) => {}
            }
        }
    }
}

thread_local! {
    static RETIRED: Cell<bool> = const { Cell::new(false) };
    static SEATED: RefCell<Option<Seated>> = const { RefCell::new(None) };
}

/// Makes the current thread end after its job, because it runs at idle priority and cannot get its old one back.
pub(crate) fn retire() {
    RETIRED.set(true);
}

/// The current thread's seat; none if it is not one of these threads.
pub(crate) fn seated() -> Option<Seated> {
    SEATED.with_borrow(Clone::clone)
}

/// Lets the node's other threads run before this one. Lowering a priority needs no right, so it cannot fail.
fn lower_priority() {
    // SAFETY: changes a number of this thread: on Linux, threads have priorities of their own.
    unsafe { libc::nice(NICENESS) };
}

fn work(seated: Seated) {
    lower_priority();
    let _entered = seated.shared.tokio.enter();
    SEATED.set(Some(seated.clone()));
    let Seated { seat, shared } = seated;
    let mut state = shared.state.lock();
    while wait_for_seat(&seat, &mut state) {
        while let Some(job) = seat.taken.load(Ordering::Relaxed).then(|| state.jobs.pop()).flatten() {
            drop(state);
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                tracing::error!("a JavaScript thread's job panicked; its isolate is abandoned");
            }
            state = shared.state.lock();
            if RETIRED.get() {
                break;
            }
            take_free_seat(&shared, &seat, &mut state);
        }
        if seat.taken.swap(false, Ordering::Relaxed) {
            state.seated -= 1;
        }
        if RETIRED.get() {
            break;
        }
    }
    state.threads -= 1;
    shared.seat_one_more(&mut state);
}

/// A thread that has lost its seat takes another one, if one is free.
fn take_free_seat(shared: &Shared, seat: &Seat, state: &mut State) {
    if !seat.taken.load(Ordering::Relaxed) && state.seated < shared.seats_max {
        seat.taken.store(true, Ordering::Relaxed);
        state.seated += 1;
    }
}

/// Rests until somebody gives this thread a seat; `false` when it is to end instead.
fn wait_for_seat(seat: &Arc<Seat>, state: &mut MutexGuard<'_, State>) -> bool {
    if seat.taken.load(Ordering::Relaxed) {
        return true;
    }
    state.idle.push(seat.clone());
    while !seat.taken.load(Ordering::Relaxed) {
        if state.closed {
            state.idle.retain(|idle| !Arc::ptr_eq(idle, seat));
            return false;
        }
        seat.wake.wait(state);
    }
    true
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{atomic::AtomicUsize, mpsc},
        time::Duration,
    };

    use super::*;

    /// Longest wait of a test that fails.
    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_thread_that_lost_its_seat_does_not_delay_other_jobs() {
        let threads = Threads::with_seats(2, 1);
        let (release, blocked) = mpsc::channel::<()>();
        let busy = tokio::spawn({
            let threads = threads.clone();
            async move {
                let job = move || {
                    seated().expect("a JavaScript thread has a seat").lose();
                    blocked.recv().is_ok()
                };
                threads.run(Urgency::Turn, job).await
            }
        });
        for i in 0..100 {
            let answer = tokio::time::timeout(PATIENCE, threads.run(Urgency::Start, move || i)).await;
            assert_eq!(answer, Ok(Ok(i)));
        }
        release.send(()).unwrap();
        assert_eq!(busy.await.unwrap(), Ok(true));
        assert_eq!(tokio::time::timeout(PATIENCE, threads.run(Urgency::Start, || 7)).await, Ok(Ok(7)));
    }

    #[tokio::test]
    async fn no_more_jobs_run_at_once_than_there_are_seats_and_all_run() {
        const SEATS: usize = 3;
        let threads = Threads::with_seats(16, SEATS);
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let jobs = (0..200).map(|_| {
            let (running, most) = (running.clone(), most.clone());
            let job = move || {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                thread::yield_now();
                running.fetch_sub(1, Ordering::SeqCst);
            };
            threads.run(Urgency::Turn, job)
        });
        let done = tokio::time::timeout(PATIENCE, futures::future::join_all(jobs)).await.expect("all jobs run");
        assert!(done.iter().all(Result::is_ok));
        assert!((1..=SEATS).contains(&most.load(Ordering::SeqCst)));
    }

    #[tokio::test]
    async fn seats_that_were_lost_again_and_again_are_neither_lost_for_good_nor_doubled() {
        let threads = Threads::with_seats(8, 2);
        let lose = || {
            let seated = seated().expect("a JavaScript thread has a seat");
            seated.lose();
            seated.lose();
        };
        let jobs = (0..500).map(|_| threads.run(Urgency::Turn, lose));
        let done = tokio::time::timeout(PATIENCE, futures::future::join_all(jobs)).await.expect("all jobs run");
        assert!(done.iter().all(Result::is_ok));
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let (seated, idle, all) = {
                let state = threads.shared.state.lock();
                (state.seated, state.idle.len(), state.threads)
            };
            if (seated, idle) == (0, all) {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "{seated} seated, {idle} of {all} threads idle");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn threads_end_with_their_last_handle() {
        let threads = Threads::with_seats(4, 4);
        let jobs = (0..50).map(|_| threads.run(Urgency::Turn, || ()));
        assert!(futures::future::join_all(jobs).await.iter().all(Result::is_ok));
        let shared = threads.shared.clone();
        drop(threads);
        let deadline = std::time::Instant::now() + PATIENCE;
        while shared.state.lock().threads > 0 {
            assert!(std::time::Instant::now() < deadline, "threads go on");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn jobs_run_at_a_lower_priority_and_nothing_else_does() {
        // SAFETY: reads a number.
        let niceness = || unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        let before = niceness();
        let inside = Threads::new(1).run(Urgency::Turn, niceness).await;
        assert_eq!(inside, Ok((before + NICENESS).min(19)), "19 is as low as it goes");
        assert_eq!(niceness(), before);
    }

    #[tokio::test]
    async fn a_panicking_job_is_lost_and_its_thread_goes_on() {
        let threads = Threads::new(1);
        assert_eq!(threads.run(Urgency::Turn, || panic!("on purpose")).await, Err::<(), _>(Lost));
        assert_eq!(threads.run(Urgency::Turn, || 7).await, Ok(7));
    }
}
