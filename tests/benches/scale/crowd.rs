//! Many callers at once, each with the next actor of a list, until all were answered or the time is over.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use lethe_client::Actor;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::{bed::Bed, histogram::Histogram};

/// How long a caller waits after an error.
const AFTER_ERROR: Duration = Duration::from_millis(50);
/// Kinds of errors that are printed.
const KINDS: usize = 3;

/// What callers do.
#[derive(Clone)]
pub struct Work {
    pub method: &'static str,
    pub arguments: Value,
    pub callers: usize,
    /// After this nothing more is begun.
    pub until: Instant,
}

/// What callers saw.
#[derive(Default)]
pub struct Seen {
    /// Of calls that were answered.
    pub latencies: Histogram,
    pub errors: BTreeMap<String, u64>,
    pub elapsed: Duration,
}

impl Seen {
    /// Calls that were answered.
    pub fn answered(&self) -> u64 {
        self.latencies.count()
    }

    pub fn per_second(&self) -> f64 {
        self.answered() as f64 / self.elapsed.as_secs_f64()
    }
}

/// Latencies, and what failed.
impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |share| self.latencies.quantile_us(share) as f64 / 1e3;
        write!(f, "p50 {:.2} ms, p99 {:.2} ms, max {:.0} ms", ms(0.5), ms(0.99), self.latencies.max_us() as f64 / 1e3)?;
        match self.errors.values().sum::<u64>() {
            0 => Ok(()),
            failed => write!(f, ", {failed} calls failed and were made again"),
        }
    }
}

/// Calls every one of these actors once; one whose call failed is called again. Fails if none was answered.
pub async fn call(bed: &Bed, numbers: impl Iterator<Item = u64>, work: &Work) -> Result<Seen> {
    let actors: Arc<Vec<u64>> = Arc::new(numbers.collect());
    let next = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let mut callers = JoinSet::new();
    // An actor is made when its turn comes: a million of them would be memory of this program.
    let bed_actor = bed.actors();
    for _ in 0..work.callers.min(actors.len()) {
        let (actors, next, work, bed_actor) = (actors.clone(), next.clone(), work.clone(), bed_actor.clone());
        callers.spawn(async move {
            let mut seen = Seen::default();
            while let Some(number) = actors.get(next.fetch_add(1, Ordering::Relaxed)) {
                if !answered(&bed_actor(*number), &work, &mut seen).await {
                    break;
                }
            }
            seen
        });
    }
    let mut total = Seen::default();
    while let Some(part) = callers.join_next().await {
        let part = part.context("a caller panicked")?;
        total.latencies.add(&part.latencies);
        for (error, count) in part.errors {
            *total.errors.entry(error).or_default() += count;
        }
    }
    total.elapsed = began.elapsed();
    let first = total.errors.keys().next().cloned().unwrap_or_default();
    ensure!(total.answered() > 0, "no call was answered: {first}");
    for (error, count) in total.errors.iter().take(KINDS) {
        println!("    {count} x {error}");
    }
    Ok(total)
}

/// Calls until there is an answer; false if the time was over before.
async fn answered(actor: &Actor, work: &Work, seen: &mut Seen) -> bool {
    while Instant::now() < work.until {
        let began = Instant::now();
        match actor.call_json(work.method, &work.arguments).await {
            Ok(_) => {
                seen.latencies.record(began.elapsed());
                return true;
            }
            Err(error) => {
                *seen.errors.entry(error.describe()).or_default() += 1;
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }
    false
}
