//! One busy isolate must not delay others. Alone in its file: a test beside it in the same process would be measured, too.

mod support;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use lethe_runtime::engine::{Engine, InvocationError, Limit, Program};

/// Where p99 must stay while another isolate is busy.
const P99_MAX: Duration = Duration::from_millis(50);
/// How much worse than without the busy isolate it may get on a machine that is itself overloaded.
const WORSE_MAX: u32 = 3;
const BUSY_MS: u64 = 2000;

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
    times[times.len() * 99 / 100]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_isolate_does_not_delay_another() {
    let engine = support::engine();
    let quick =
        support::compile(&engine, support::source("export default { fetch: () => new Response('quick') };")).await;
    let mut busy = support::source("export default { fetch() { for (;;); } };");
    busy.limits.cpu_ms = BUSY_MS;
    let busy = support::compile(&engine, busy).await;

    let started = Instant::now();
    let alone = times(&engine, &quick, || started.elapsed() > Duration::from_millis(BUSY_MS)).await;
    let spinning = tokio::spawn({
        let engine = engine.clone();
        async move { support::fetch_text(&engine, &busy, Arc::default()).await }
    });
    let beside = times(&engine, &quick, || spinning.is_finished()).await;

    assert_eq!(spinning.await.expect("no panic"), Err(InvocationError::Limit(Limit::Cpu)));
    assert!(beside.len() >= 50, "only {} requests were answered beside the busy one", beside.len());
    let bound = P99_MAX.max(p99(&alone) * WORSE_MAX);
    let p99 = p99(&beside);
    assert!(p99 < bound, "p99 of {} requests beside a busy isolate is {p99:?}, more than {bound:?}", beside.len());
}
