//! One round: a number of callers, a warm-up, a measured time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lethe_client::{Actor, Client, Id};
use serde_json::Value;
use tokio::sync::watch;

use super::histogram::Histogram;

/// How long a caller waits after an error, so that a server that refuses is not asked in a hot loop.
const AFTER_ERROR: Duration = Duration::from_millis(10);

/// What a round is made of.
pub struct Conditions {
    pub clients: Vec<Client>,
    pub namespace: String,
    pub method: String,
    pub arguments: Value,
    pub callers: u16,
    pub actors: u16,
    pub warmup_seconds: f64,
    pub seconds: f64,
}

/// What a round saw.
#[derive(Default)]
pub struct Round {
    pub latencies: Histogram,
    /// Text and outcome of each kind of error, and how often it came.
    pub errors: BTreeMap<String, u64>,
    pub elapsed: Duration,
}

impl Round {
    pub fn calls_per_second(&self) -> f64 {
        self.latencies.count() as f64 / self.elapsed.as_secs_f64()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    WarmUp,
    Measuring,
    Stopped,
}

/// Runs one round. Calls under way when it ends are not counted.
pub async fn run(conditions: Conditions) -> anyhow::Result<Round> {
    let (phase, watched) = watch::channel(Phase::WarmUp);
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..conditions.callers {
        let client = &conditions.clients[usize::from(number) % conditions.clients.len()];
        let id = Id::name(format!("load-{}", number % conditions.actors));
        let actor = client.actor(&conditions.namespace, id);
        callers.spawn(call(actor, conditions.method.clone(), conditions.arguments.clone(), watched.clone()));
    }
    tokio::time::sleep(Duration::from_secs_f64(conditions.warmup_seconds)).await;
    phase.send_replace(Phase::Measuring);
    let began = Instant::now();
    tokio::time::sleep(Duration::from_secs_f64(conditions.seconds)).await;
    phase.send_replace(Phase::Stopped);
    let mut total = Round { elapsed: began.elapsed(), ..Round::default() };
    while let Some(part) = callers.join_next().await {
        let part = part?;
        total.latencies.add(&part.latencies);
        for (error, count) in part.errors {
            *total.errors.entry(error).or_default() += count;
        }
    }
    Ok(total)
}

async fn call(actor: Actor, method: String, arguments: Value, phase: watch::Receiver<Phase>) -> Round {
    let mut seen = Round::default();
    while *phase.borrow() != Phase::Stopped {
        let began = Instant::now();
        let answered = actor.call_json(&method, &arguments).await;
        let counts = *phase.borrow() == Phase::Measuring;
        match answered {
            Ok(_) if counts => seen.latencies.record(began.elapsed()),
            Ok(_) => {}
            Err(error) => {
                if counts {
                    *seen.errors.entry(error.describe()).or_default() += 1;
                }
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }
    seen
}
