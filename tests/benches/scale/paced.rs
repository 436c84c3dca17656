//! Calls at fixed moments, whatever became of those before: the same work for every cluster that is compared.
//!
//! A latency counts from the moment at which its call was due, so a call that had to wait for its turn has waited too.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use lethe_client::{Actor, Client, Id};
use lethe_tests::Cluster;
use serde_json::Value;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use crate::histogram::Histogram;

/// Connections to each node.
const CONNECTIONS: usize = 2;
/// Calls that can be under way at once.
const LANES: u64 = 128;
/// A call that takes longer has no answer.
const CALL_MAX: Duration = Duration::from_secs(20);
/// An actor that answers nothing for so long cannot be measured.
const EACH_MAX: Duration = Duration::from_secs(120);
/// How long a caller waits after an error, where it calls again.
const AFTER_ERROR: Duration = Duration::from_millis(50);
/// Kinds of errors that are printed.
const KINDS: usize = 3;

/// What is called, and how often.
pub struct Pace {
    /// They are called in turns. Each goes to the node where it last found its actor.
    actors: Arc<[Actor]>,
    method: &'static str,
    arguments: Arc<Value>,
    per_second: u32,
}

/// What callers saw.
#[derive(Clone, Default)]
pub struct Seen {
    /// Of calls that were answered.
    pub latencies: Histogram,
    /// The others; none of them was made again.
    pub errors: BTreeMap<String, u64>,
}

/// Callers at work.
pub struct Running {
    stop: Arc<AtomicBool>,
    lanes: JoinSet<Seen>,
}

impl Pace {
    /// Calls of actors with numbers below `count`, through all nodes that run.
    pub async fn new(
        cluster: &Cluster,
        namespace: &str,
        count: u64,
        call: (&'static str, Value),
        per_second: u32,
    ) -> Result<Self> {
        let doors: Vec<String> = cluster.running().map(|node| node.grpc()).collect();
        let mut doors: Vec<&str> = doors.iter().map(String::as_str).collect();
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            clients.push(Client::connect_any(&doors).await?.with_deadline(CALL_MAX));
            doors.rotate_left(1);
        }
        let actor = |number: u64| {
            let client = &clients[number as usize % clients.len()];
            client.actor(namespace, Id::name(format!("paced-{number}")))
        };
        let (method, arguments) = call;
        Ok(Self { actors: (0..count).map(actor).collect(), method, arguments: Arc::new(arguments), per_second })
    }

    /// Makes this call once to each actor, as fast as `at_once` callers can, so that all exist and are found.
    pub async fn each(&self, method: &'static str, arguments: &Value, at_once: usize) -> Result<()> {
        let mut calls = JoinSet::new();
        for actor in self.actors.iter().cloned() {
            if calls.len() >= at_once {
                calls.join_next().await.context("calls are under way")???;
            }
            let arguments = arguments.clone();
            calls.spawn(patiently(actor, method, arguments));
        }
        while let Some(call) = calls.join_next().await {
            call??;
        }
        Ok(())
    }

    /// Makes as many calls as are due in this time.
    pub async fn run(&self, time: Duration) -> Result<Seen> {
        let calls = (time.as_secs_f64() * f64::from(self.per_second)) as u64;
        self.begin(calls).ended().await
    }

    /// Calls until it is stopped.
    pub fn start(&self) -> Running {
        self.begin(u64::MAX)
    }

    fn begin(&self, calls: u64) -> Running {
        let (stop, mut lanes, began) = (Arc::new(AtomicBool::new(false)), JoinSet::new(), Instant::now());
        for first in 0..LANES {
            let (stop, actors, arguments) = (stop.clone(), self.actors.clone(), self.arguments.clone());
            let (method, per_second) = (self.method, f64::from(self.per_second));
            lanes.spawn(async move {
                let mut seen = Seen::default();
                for number in (first..calls).step_by(LANES as usize) {
                    let due = began + Duration::from_secs_f64(number as f64 / per_second);
                    sleep_until(due).await;
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    match actors[number as usize % actors.len()].call_json(method, &arguments).await {
                        Ok(_) => seen.latencies.record(due.elapsed()),
                        Err(error) => *seen.errors.entry(error.describe()).or_default() += 1,
                    }
                }
                seen
            });
        }
        Running { stop, lanes }
    }
}

/// Calls until there is an answer: it does no harm to do it twice, and a busy machine may be slow to form quorums.
async fn patiently(actor: Actor, method: &'static str, arguments: Value) -> Result<()> {
    let began = Instant::now();
    while let Err(error) = actor.call_json(method, &arguments).await {
        ensure!(began.elapsed() < EACH_MAX, "no answer: {}", error.describe());
        sleep(AFTER_ERROR).await;
    }
    Ok(())
}

impl Running {
    /// Begins no more calls, and waits for those under way. Fails if none was answered.
    pub async fn stop(self) -> Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        self.ended().await
    }

    async fn ended(mut self) -> Result<Seen> {
        let mut seen = Seen::default();
        while let Some(lane) = self.lanes.join_next().await {
            let lane = lane.context("a caller panicked")?;
            seen.latencies.add(&lane.latencies);
            for (error, count) in lane.errors {
                *seen.errors.entry(error).or_default() += count;
            }
        }
        ensure!(seen.latencies.count() > 0, "no call was answered: {:?}", seen.errors.keys().next());
        Ok(seen)
    }
}

impl Seen {
    /// The latency that this share of calls did not exceed, in milliseconds.
    pub fn ms(&self, share: f64) -> f64 {
        self.latencies.quantile_us(share) as f64 / 1e3
    }
}

/// Latencies, and what failed.
impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (answered, longest) = (self.latencies.count(), self.latencies.max_us() as f64 / 1e3);
        write!(f, "{answered} answered, p50 {:.2} ms, p99 {:.2} ms, max {longest:.0} ms", self.ms(0.5), self.ms(0.99))?;
        write!(f, ", {} failed", self.errors.values().sum::<u64>())?;
        for (error, count) in self.errors.iter().take(KINDS) {
            write!(f, "\n            {count} x {error}")?;
        }
        Ok(())
    }
}
