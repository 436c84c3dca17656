//! The watchdog: one thread that looks at all running turns every few milliseconds, and ends those over their limits.
//!
//! A turn that takes long loses its thread's seat, so that others need not wait for its end.
//!
//! CPU time is that of the thread a turn runs on. Memory is checked by an interrupt, on the turn's own thread.

use std::{
    cell::Cell,
    collections::HashMap,
    mem::MaybeUninit,
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

use crate::{
    error::{InvocationError, Limit},
    footprint::Footprint,
    memory::{self, HeapGuard},
    threads::{self, Seated},
};

/// Time between two looks.
const TICK: Duration = Duration::from_millis(5);
/// Ticks without a running turn after which the thread sleeps until there is one.
const IDLE_TICKS_MAX: u32 = 200;

/// CPU time after which a turn is a long one, and somebody else may run beside it.
const SLICE: Duration = Duration::from_millis(5);
/// Ticks after which it is a long one however little it could use the processor.
const SLICE_TICKS_MAX: u32 = 20;

/// Ticks after its kill at which a turn is in native code that does not stop, and loses its priority.
const OVERDUE_TICKS_MAX: u32 = 100;

/// Handle of the watchdog. Its thread ends when the last handle is dropped.
#[derive(Clone)]
pub(crate) struct Watchdog {
    shared: Arc<Shared>,
    _closer: Arc<Closer>,
}

#[derive(Default)]
struct Shared {
    turns: Mutex<Turns>,
    wake: Condvar,
}

#[derive(Default)]
struct Turns {
    next_id: u64,
    running: HashMap<u64, Running>,
    asleep: bool,
    closed: bool,
}

/// A turn that runs.
struct Running {
    clock: libc::clockid_t,
    /// The thread's CPU time at which the turn began.
    start: Duration,
    /// The thread's CPU time at which the turn must have ended.
    end: Duration,
    /// The thread's seat, until the turn has become a long one.
    seated: Option<Seated>,
    /// Looks at it while it has the seat.
    ticks: u32,
    guard: Arc<HeapGuard>,
    /// Where the process stood when the turn was first looked at, if it may have WebAssembly memories.
    footprint: Option<Footprint>,
    thread: libc::pid_t,
    /// Looks at which the turn was killed already and still ran.
    overdue_ticks: u32,
}

/// A turn on this thread is watched while this lives, also when it panics.
struct Registered<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        memory::set_current(None);
        let running = self.shared.turns.lock().running.remove(&self.id);
        if running.is_some_and(|running| running.overdue_ticks >= OVERDUE_TICKS_MAX) {
            threads::retire();
        }
    }
}

struct Closer(Arc<Shared>);

impl Drop for Closer {
    fn drop(&mut self) {
        self.0.turns.lock().closed = true;
        self.0.wake.notify_all();
    }
}

thread_local! {
    /// This thread's CPU time when its last turn ended, as long as it did nothing much since. Each look at the clock is a
    /// system call, and a turn may be as short as ten of them.
    static TIME: Cell<Option<Duration>> = const { Cell::new(None) };
    /// This thread's CPU clock and id, once they were asked for.
    static THREAD: Cell<Option<(libc::clockid_t, libc::pid_t)>> = const { Cell::new(None) };
}

/// This thread does something that takes long and is no turn; the next turn shall not be charged for it.
pub(crate) fn forget_time() {
    TIME.set(None);
}

fn this_thread() -> (libc::clockid_t, libc::pid_t) {
    let thread = THREAD.get().unwrap_or_else(|| (thread_clock(), thread_id()));
    THREAD.set(Some(thread));
    thread
}

impl Watchdog {
    /// Starts the thread.
    pub(crate) fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let watched = shared.clone();
        let started = thread::Builder::new().name("js-watchdog".into()).spawn(move || watch(&watched));
        // Without its watchdog the engine would keep no limit at all, so it must not start.
        started.unwrap_or_else(|error| panic!("start the watchdog's thread: {error}"));
        Self { _closer: Arc::new(Closer(shared.clone())), shared }
    }

    /// Runs `turn` on this thread with at most `budget` of CPU time; returns its result and what it used.
    pub(crate) fn guard<R>(&self, guard: Arc<HeapGuard>, budget: Duration, turn: impl FnOnce() -> R) -> (R, Duration) {
        let (clock, thread) = this_thread();
        let start = TIME.take().unwrap_or_else(thread_time);
        let end = start + budget;
        memory::set_current(Some(guard.clone()));
        let seated = threads::seated();
        let running = Running { clock, start, end, seated, ticks: 0, guard, footprint: None, thread, overdue_ticks: 0 };
        let registered = self.enter(running);
        let result = turn();
        drop(registered);
        let now = thread_time();
        TIME.set(Some(now));
        (result, now.saturating_sub(start))
    }

    fn enter(&self, running: Running) -> Registered<'_> {
        let mut turns = self.shared.turns.lock();
        turns.next_id += 1;
        let id = turns.next_id;
        turns.running.insert(id, running);
        if turns.asleep {
            turns.asleep = false;
            drop(turns);
            self.shared.wake.notify_one();
        }
        Registered { shared: &self.shared, id }
    }
}

fn watch(shared: &Shared) {
    let mut turns = shared.turns.lock();
    let mut idle_ticks = 0;
    while !turns.closed {
        if turns.running.is_empty() {
            idle_ticks += 1;
        } else {
            idle_ticks = 0;
            check(&mut turns);
        }
        if idle_ticks > IDLE_TICKS_MAX {
            turns.asleep = true;
            while turns.asleep && !turns.closed {
                shared.wake.wait(&mut turns);
            }
            idle_ticks = 0;
        } else {
            shared.wake.wait_until(&mut turns, Instant::now() + TICK);
        }
    }
}

fn check(turns: &mut Turns) {
    for running in turns.running.values_mut() {
        let kill = running.guard.kill();
        if kill.reason().is_some() {
            if let Some(seated) = running.seated.take() {
                seated.lose();
            }
            running.overdue_ticks = running.overdue_ticks.saturating_add(1);
            if running.overdue_ticks == OVERDUE_TICKS_MAX {
                demote(running.thread);
            }
            continue;
        }
        let now = clock_time(running.clock);
        running.ticks += 1;
        let long = running.ticks > SLICE_TICKS_MAX || now.is_some_and(|now| now.saturating_sub(running.start) >= SLICE);
        if let Some(seated) = running.seated.take_if(|_| long) {
            seated.lose();
        }
        match now {
            Some(now) if now < running.end => kill.interrupt(memory::check),
            Some(_) => kill.kill(InvocationError::Limit(Limit::Cpu)),
            None => {}
        }
        if running.guard.wasm_used.load(Ordering::Relaxed)
            && let Some(now) = Footprint::now(running.thread)
            && now.has_grown(*running.footprint.get_or_insert(now), running.guard.max())
        {
            kill.kill(InvocationError::Limit(Limit::Memory));
        }
    }
}

/// Lets a thread run only when nobody else wants its processor.
fn demote(thread: libc::pid_t) {
    let priority = libc::sched_param { sched_priority: 0 };
    // SAFETY: the thread is one of ours: its turn is registered, so it has not ended.
    if unsafe { libc::sched_setscheduler(thread, libc::SCHED_IDLE, &raw const priority) } != 0 {
        tracing::warn!(thread, "a turn that does not stop keeps its priority");
    }
}

fn thread_id() -> libc::pid_t {
    // SAFETY: the call has no arguments and cannot fail.
    unsafe { libc::gettid() }
}

/// The clock that counts this thread's CPU time, readable from other threads while this one lives.
fn thread_clock() -> libc::clockid_t {
    let mut clock = MaybeUninit::uninit();
    // SAFETY: the thread is this one, and the clock's place is written when the result is 0.
    match unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), clock.as_mut_ptr()) } {
        // SAFETY: as above.
        0 => unsafe { clock.assume_init() },
        _ => libc::CLOCK_THREAD_CPUTIME_ID,
    }
}

fn thread_time() -> Duration {
    clock_time(libc::CLOCK_THREAD_CPUTIME_ID).unwrap_or_default()
}

/// A CPU clock's time. The kernel itself is asked: libraries that move a process's wall clock move the C library's CPU
/// clocks of other threads along, and every turn would end.
fn clock_time(clock: libc::clockid_t) -> Option<Duration> {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the place is valid and written when the result is 0.
    let time =
        unsafe { (libc::syscall(libc::SYS_clock_gettime, clock, time.as_mut_ptr()) == 0).then(|| time.assume_init()) }?;
    Some(Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
}
