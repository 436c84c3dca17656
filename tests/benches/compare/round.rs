//! One round: all callers at once, a warm-up, a measured time.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use lethe_tests::Usage;
use tokio::{sync::watch, task::JoinSet};

use crate::{caller::Caller, histogram::Histogram};

/// How long a caller waits after an error.
const AFTER_ERROR: Duration = Duration::from_millis(10);

/// What a round saw.
#[derive(Default)]
pub struct Seen {
    pub latencies: Histogram,
    pub errors: BTreeMap<String, u64>,
    pub elapsed: Duration,
    /// CPU time that the system's processes used meanwhile.
    pub cpu: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    WarmUp,
    Measuring,
    Stopped,
}

/// Runs one round against a system of these processes and gives the callers back. Calls that are under way when it ends
/// are not counted.
pub async fn run(
    callers: Vec<Caller>,
    processes: &[u32],
    warmup_seconds: f64,
    seconds: f64,
) -> Result<(Seen, Vec<Caller>)> {
    let (phase, watched) = watch::channel(Phase::WarmUp);
    let mut tasks = JoinSet::new();
    for (number, caller) in callers.into_iter().enumerate() {
        let watched = watched.clone();
        tasks.spawn(async move { (number, work(caller, watched).await) });
    }
    tokio::time::sleep(Duration::from_secs_f64(warmup_seconds)).await;
    phase.send_replace(Phase::Measuring);
    let (began, used) = (Instant::now(), cpu(processes)?);
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    phase.send_replace(Phase::Stopped);
    let mut total = Seen { elapsed: began.elapsed(), cpu: cpu(processes)? - used, ..Seen::default() };
    let mut callers = BTreeMap::new();
    while let Some(done) = tasks.join_next().await {
        let (number, (caller, part)) = done.context("a caller panicked")?;
        callers.insert(number, caller);
        total.latencies.add(&part.latencies);
        for (error, count) in part.errors {
            *total.errors.entry(error).or_default() += count;
        }
    }
    Ok((total, callers.into_values().collect()))
}

fn cpu(processes: &[u32]) -> Result<Duration> {
    processes.iter().map(|pid| Ok(Usage::of(*pid)?.cpu)).sum()
}

async fn work(mut caller: Caller, phase: watch::Receiver<Phase>) -> (Caller, Seen) {
    let mut seen = Seen::default();
    while *phase.borrow() != Phase::Stopped {
        let began = Instant::now();
        let answered = caller.call().await;
        let counts = *phase.borrow() == Phase::Measuring;
        match answered {
            Ok(()) if counts => seen.latencies.record(began.elapsed()),
            Ok(()) => {}
            Err(error) => {
                if counts {
                    *seen.errors.entry(error).or_default() += 1;
                }
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }
    (caller, seen)
}
