//! The asynchronous runtime that openraft runs on: tokio's, except that timers for a moment go off together.
//!
//! Every replica has a clock of its own that ticks every 30 ms, at a phase drawn by lot. A node at rest with 65 replicas was
//! woken 2,000 times a second, each time for one of them, and waking cost as much as what there was to do.

use std::future::Future;
use std::sync::LazyLock;
use std::time::Duration;

use openraft::AsyncRuntime;
use openraft::impls::TokioRuntime;

/// Timers for a moment go off at multiples of this, so late by this much at most.
const GRID: Duration = Duration::from_millis(30);
/// What is due so soon goes off when it is due: a pause of openraft between two looks, not one of its clocks.
const SOON: Duration = Duration::from_millis(1);

type Instant = <TokioRuntime as AsyncRuntime>::Instant;

/// tokio, with timers that go off together.
#[derive(Debug)]
pub(super) struct Runtime(TokioRuntime);

/// When a timer for the deadline goes off.
fn goes_off(now: Instant, deadline: Instant) -> Instant {
    static ORIGIN: LazyLock<Instant> = LazyLock::new(<Instant as openraft::Instant>::now);
    let past_line = (deadline - *ORIGIN).as_micros() % GRID.as_micros();
    match u64::try_from(past_line) {
        Ok(past_line @ 1..) if deadline - now > SOON => deadline + (GRID - Duration::from_micros(past_line)),
        _ => deadline,
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
    type Watch = <TokioRuntime as AsyncRuntime>::Watch;
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
        TokioRuntime::sleep_until(goes_off(openraft::Instant::now(), deadline))
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

    fn after(start: Instant, micros: u64) -> Instant {
        start + Duration::from_micros(micros)
    }

    #[test]
    fn timers_go_off_together_and_never_early_or_more_than_a_grid_line_late() {
        let now = <Instant as openraft::Instant>::now();
        let first = goes_off(now, after(now, 50_000));
        for micros in (0..30_000).step_by(997) {
            let deadline = after(first, micros);
            let at = goes_off(now, deadline);
            let together = if micros == 0 { first } else { first + GRID };
            // Clocks count nanoseconds, deadlines are put to microseconds.
            assert!(at >= deadline && at - together < Duration::from_micros(2), "{micros}: {:?}", at - first);
            assert!(at - deadline <= GRID);
        }
    }

    #[test]
    fn what_is_due_at_once_does_not_wait_for_others() {
        let now = <Instant as openraft::Instant>::now();
        for micros in [0, 1, 999, 1000] {
            assert!(goes_off(now, after(now, micros)) == after(now, micros));
        }
    }
}
