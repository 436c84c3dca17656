//! The asynchronous runtime that openraft runs on: tokio's, except that timers for a moment go off together, and that telling
//! nobody costs nothing (see `watch`).
//!
//! Every replica has a clock of its own that ticks a fifth of the time between two heartbeats, at a phase drawn by lot. A node
//! at rest with 65 replicas was woken 2,000 times a second, each time for one of them, and waking cost as much as what there
//! was to do. Here all clocks of a process tick at the same moments, twice between two heartbeats: a clock that is late
//! leaves out the ticks it has missed.

use std::future::Future;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::AsyncRuntime;
use openraft::impls::TokioRuntime;

/// What is due so soon goes off when it is due: a pause of openraft between two looks, not one of its clocks.
const SOON: Duration = Duration::from_millis(1);

/// Microseconds between the moments at which timers go off. Until a node of this process said so, each has its own moment.
static APART_MICROS: AtomicU64 = AtomicU64::new(u64::MAX);

type Instant = <TokioRuntime as AsyncRuntime>::Instant;

/// tokio, with timers that go off together and a watch channel of ours.
#[derive(Debug)]
pub(super) struct Runtime(TokioRuntime);

/// Timers of this process go off at moments that are so far apart, and are late by less. Of several nodes the one that wants
/// the shortest time decides.
pub(super) fn tick_together(apart: Duration) {
    let micros = u64::try_from(apart.as_micros()).unwrap_or(u64::MAX);
    APART_MICROS.fetch_min(micros.max(1), Ordering::Relaxed);
}

/// When a timer for the deadline goes off.
fn goes_off(apart_micros: u64, now: Instant, deadline: Instant) -> Instant {
    static ORIGIN: LazyLock<Instant> = LazyLock::new(<Instant as openraft::Instant>::now);
    if apart_micros == u64::MAX || deadline - now <= SOON {
        return deadline;
    }
    match (deadline - *ORIGIN).as_micros() % u128::from(apart_micros) {
        0 => deadline,
        past => deadline + (Duration::from_micros(apart_micros) - Duration::from_micros(past as u64)),
    }
}

impl AsyncRuntime for Runtime {
    type JoinError = <TokioRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: Send + 'static> = <TokioRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <TokioRuntime as AsyncRuntime>::Sleep;
    type Instant = Instant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + Send> = <TokioRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = <TokioRuntime as AsyncRuntime>::ThreadLocalRng;
    type Mpsc = <TokioRuntime as AsyncRuntime>::Mpsc;
    type Watch = super::watch::Watch;
    type Oneshot = <TokioRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: Send + 'static> = <TokioRuntime as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + Send + 'static,
        T::Output: Send + 'static,
    {
        TokioRuntime::spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        TokioRuntime::sleep(duration)
    }

    fn sleep_until(deadline: Instant) -> Self::Sleep {
        let apart = APART_MICROS.load(Ordering::Relaxed);
        TokioRuntime::sleep_until(goes_off(apart, openraft::Instant::now(), deadline))
    }

    fn timeout<R, F: Future<Output = R> + Send>(duration: Duration, future: F) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + Send>(deadline: Instant, future: F) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        TokioRuntime::is_panic(join_error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        TokioRuntime::thread_rng()
    }

    fn new(threads: usize) -> Self {
        Self(TokioRuntime::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APART: u64 = 30_000;

    fn after(start: Instant, micros: u64) -> Instant {
        start + Duration::from_micros(micros)
    }

    #[test]
    fn openraft_finds_in_it_what_it_expects() {
        openraft::testing::runtime::Suite::<Runtime>::test_all();
    }

    #[test]
    fn timers_go_off_together_never_early_and_late_by_less_than_what_is_between() {
        let now = <Instant as openraft::Instant>::now();
        let first = goes_off(APART, now, after(now, 50_000));
        for micros in (0..APART).step_by(997) {
            let deadline = after(first, micros);
            let at = goes_off(APART, now, deadline);
            let together = if micros == 0 { first } else { after(first, APART) };
            // Clocks count nanoseconds, deadlines are put to microseconds.
            assert!(at >= deadline && at - together < Duration::from_micros(2), "{micros}: {:?}", at - first);
            assert!(at - deadline <= Duration::from_micros(APART));
        }
    }

    #[test]
    fn what_is_due_at_once_does_not_wait_for_others() {
        let now = <Instant as openraft::Instant>::now();
        for micros in [0, 1, 999, 1000] {
            assert!(goes_off(APART, now, after(now, micros)) == after(now, micros));
        }
    }

    #[test]
    fn where_nobody_asked_for_it_timers_have_moments_of_their_own() {
        let now = <Instant as openraft::Instant>::now();
        assert!(goes_off(u64::MAX, now, after(now, 12_345)) == after(now, 12_345));
    }
}
