//! Busy isolates must not delay others. Alone in their file, and one after the other: whatever runs beside them in the same
//! process would be measured, too.

mod support;

use std::{
    mem::MaybeUninit,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use lethe_runtime::engine::{Engine, InvocationError, Limit, Program};
use tokio::sync::Mutex;

/// Where p99 must stay while another isolate is busy.
const P99_MAX: Duration = Duration::from_millis(50);
/// How much worse than without the busy isolate it may get on a machine that is itself overloaded.
const WORSE_MAX: u32 = 3;
const BUSY_MS: u64 = 2000;
/// Answers in that time at least.
const ANSWERS_MIN: usize = 50;
/// Rounds of which one must be good.
const ROUNDS_MAX: usize = 10;

/// A worker that answers at once, and one that never does.
async fn quick_and_busy(engine: &Engine) -> (Arc<Program>, Arc<Program>) {
    let quick = support::source("export default { fetch: () => new Response('quick') };");
    let mut busy = support::source("export default { fetch() { for (;;); } };");
    busy.limits.cpu_ms = BUSY_MS;
    (support::compile(engine, quick).await, support::compile(engine, busy).await)
}

/// Answer times of requests sent one after another until `done`.
async fn times(engine: &Engine, program: &Arc<Program>, done: impl Fn() -> bool) -> Vec<Duration> {
    let mut times = Vec::new();
    while !done() {
        let started = Instant::now();
        assert_eq!(support::fetch_text(engine, program, Arc::default()).await.as_deref(), Ok("quick"));
        times.push(started.elapsed());
    }
    times.sort();
    times
}

fn p99(times: &[Duration]) -> Duration {
    times.get(times.len() * 99 / 100).copied().unwrap_or(Duration::MAX)
}

/// One test at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

/// CPU time of this process.
fn cpu() -> Duration {
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the place is valid, and written when the result is 0.
    let usage = unsafe {
        assert_eq!(libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()), 0);
        usage.assume_init()
    };
    let micros = |time: libc::timeval| time.tv_sec.unsigned_abs() * 1_000_000 + time.tv_usec.unsigned_abs();
    Duration::from_micros(micros(usage.ru_utime) + micros(usage.ru_stime))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_answered_beside_more_busy_isolates_than_there_are_processors() {
    let _alone = ALONE.lock().await;
    let engine = support::engine();
    let (quick, busy) = quick_and_busy(&engine).await;

    let processors = thread::available_parallelism().map_or(1, usize::from);
    // As many as the engine has threads for, less those that the quick requests need.
    let count = (2 * processors).min(12);
    let before = cpu();
    let spinning: Vec<_> = (0..count)
        .map(|_| {
            let (engine, busy) = (engine.clone(), busy.clone());
            tokio::spawn(async move { support::fetch_text(&engine, &busy, Arc::default()).await })
        })
        .collect();
    // They have used more than it takes to start them, so they are busy.
    let busy_at_least = Duration::from_millis(BUSY_MS) / 4 * u32::try_from(count).expect("a small number");
    let deadline = Instant::now() + Duration::from_secs(120);
    while cpu() - before < busy_at_least {
        assert!(Instant::now() < deadline, "{count} busy isolates used only {:?}", cpu() - before);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for _ in 0..3 {
        assert_eq!(support::fetch_text(&engine, &quick, Arc::default()).await.as_deref(), Ok("quick"));
    }
    let ended = spinning.iter().filter(|busy| busy.is_finished()).count();
    // If those that have a processor kept the others waiting, the quick requests would be answered after the first of the
    // second half had ended.
    assert!(2 * ended <= count, "requests waited until {ended} of {count} busy isolates had ended");
    for busy in spinning {
        assert_eq!(busy.await.expect("no panic"), Err(InvocationError::Limit(Limit::Cpu)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_isolate_does_not_delay_another() {
    let _alone = ALONE.lock().await;
    let engine = support::engine();
    let (quick, busy) = quick_and_busy(&engine).await;

    // Other programs may take the processors away just while the isolate is busy, so not every round needs to be good.
    let mut seen = Vec::new();
    for _ in 0..ROUNDS_MAX {
        let started = Instant::now();
        let alone = times(&engine, &quick, || started.elapsed() > Duration::from_millis(BUSY_MS)).await;
        let spinning = tokio::spawn({
            let (engine, busy) = (engine.clone(), busy.clone());
            async move { support::fetch_text(&engine, &busy, Arc::default()).await }
        });
        let beside = times(&engine, &quick, || spinning.is_finished()).await;
        assert_eq!(spinning.await.expect("no panic"), Err(InvocationError::Limit(Limit::Cpu)));
        let bound = P99_MAX.max(p99(&alone) * WORSE_MAX);
        if beside.len() >= ANSWERS_MIN && p99(&beside) < bound {
            return;
        }
        seen.push(format!("{} answers, p99 {:?} where {bound:?} is the bound", beside.len(), p99(&beside)));
    }
    panic!("requests beside a busy isolate are slow again and again: {seen:?}");
}
