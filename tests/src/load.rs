//! Load that remembers: counters that are counted up through all nodes, and a ledger of what was acknowledged.
//!
//! Two callers share each counter, from different nodes. Every answer must be larger than each answer that had arrived
//! before its call was sent, and no answer may come twice: so two instances of an actor that both have effects, a
//! stale read, a lost and a doubled write are all found at once. Nothing is retried.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use lethe_client::{Client, Id, Outcome};
use serde_json::json;
use tokio::task::JoinSet;

use self::silence::Watch;
pub use self::silence::{Attempt, Silence};
use crate::{Cluster, Node, Project, Reply, get};

mod silence;

/// Callers of one counter.
const CALLERS: usize = 2;
/// A call that takes longer has no answer.
const CALL_MAX: Duration = Duration::from_secs(10);
/// As the last resort: a read that is refused for so long fails.
const READ_MAX: Duration = Duration::from_secs(60);
/// After an error, so that a node that refuses is not asked in a hot loop.
const AFTER_ERROR: Duration = Duration::from_millis(20);
const NAMESPACE: &str = "Counter";

/// The project that is called: `GET /NAME` reads a counter, `POST /NAME` adds one; `GET /clock` tells the
/// time.
const INDEX_JS: &str = "
import { DurableObject } from 'cloudflare:workers';
export class Counter extends DurableObject {
  async add() { const n = ((await this.ctx.storage.get('n')) ?? 0) + 1; this.ctx.storage.put('n', n); return n; }
  async value() { return (await this.ctx.storage.get('n')) ?? 0; }
}
export default {
  async fetch(request, env) {
    if (request.url.endsWith('/clock')) return new Response(String(Date.now()));
    const stub = env.COUNTER.getByName(new URL(request.url).pathname.slice(1));
    return new Response(String(request.method === 'POST' ? await stub.add() : await stub.value()));
  },
};";

/// The project to deploy before a load is started.
pub fn counters() -> Project {
    Project::new(INDEX_JS, &[("COUNTER", "Counter")])
}

/// What is known of one counter.
#[derive(Clone, Debug, Default)]
struct Count {
    /// Largest answer.
    acked_max: u64,
    answers: BTreeSet<u64>,
    /// Calls that may have had an effect.
    attempts: u64,
    /// Longest time from an answer to the next.
    gap_max: Duration,
    silences: Watch,
}

/// What callers share.
#[derive(Default)]
struct Shared {
    counts: Vec<Mutex<Count>>,
    errors: Mutex<BTreeMap<String, u64>>,
    violations: Mutex<Vec<String>>,
    acked: AtomicU64,
    unknown: AtomicU64,
    stopped: AtomicBool,
}

/// Callers at work.
pub struct Load {
    shared: Arc<Shared>,
    callers: JoinSet<()>,
}

impl Load {
    /// Starts to count up so many counters through all nodes of the cluster.
    pub fn start(cluster: &Cluster, counters: usize) -> Self {
        let counts = (0..counters).map(|_| Mutex::default()).collect();
        let shared = Arc::new(Shared { counts, ..Shared::default() });
        let doors: Arc<Vec<String>> = Arc::new(cluster.nodes().iter().map(Node::grpc).collect());
        let mut callers = JoinSet::new();
        for number in 0..counters * CALLERS {
            callers.spawn(call(Arc::clone(&shared), Arc::clone(&doors), number));
        }
        Self { shared, callers }
    }

    /// Answers so far.
    pub fn acked(&self) -> u64 {
        self.shared.acked.load(Ordering::Relaxed)
    }

    /// Waits until every counter was counted up once more by a call that began from now on. Gives how long that took.
    pub async fn all_answer(&self, time_max: Duration) -> Result<Duration> {
        let started = Instant::now();
        // The first answers may be to calls that began earlier: as many as there are callers of one counter.
        let heard = || self.shared.counts.iter().map(|count| lock(count).answers.len());
        let wanted: Vec<usize> = heard().map(|heard| heard + CALLERS + 1).collect();
        while heard().zip(&wanted).any(|(heard, wanted)| heard < *wanted) {
            if started.elapsed() > time_max {
                let silent = heard().zip(&wanted).filter(|(heard, wanted)| heard < *wanted).count();
                bail!("{silent} counters do not answer after {time_max:?}; errors: {:?}", lock(&self.shared.errors));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(started.elapsed())
    }

    /// Waits until so many more calls were answered.
    pub async fn more(&self, calls: u64, time_max: Duration) -> Result<()> {
        let (started, wanted) = (Instant::now(), self.acked() + calls);
        while self.acked() < wanted {
            if started.elapsed() > time_max {
                bail!("no {calls} answers within {time_max:?}; errors: {:?}", lock(&self.shared.errors));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Longest silence of each counter since this was asked last.
    pub fn silences(&self) -> Vec<Silence> {
        self.shared.counts.iter().map(|count| lock(count).silences.take()).collect()
    }

    /// Ends all callers. Fails if any answer was wrong.
    pub async fn stop(mut self) -> Result<Ledger> {
        self.shared.stopped.store(true, Ordering::Relaxed);
        while let Some(caller) = self.callers.join_next().await {
            caller.context("a caller panicked")?;
        }
        let violations = lock(&self.shared.violations).clone();
        ensure!(violations.is_empty(), "wrong answers:\n{}", violations.join("\n"));
        Ok(Ledger {
            counts: self.shared.counts.iter().map(|count| lock(count).clone()).collect(),
            errors: lock(&self.shared.errors).clone(),
            unknown: self.shared.unknown.load(Ordering::Relaxed),
            acked: self.acked(),
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("no holder of this lock panics")
}

fn name(counter: usize) -> String {
    format!("counter-{counter}")
}

/// One caller: one call at a time, to the next node after each error.
async fn call(shared: Arc<Shared>, doors: Arc<Vec<String>>, number: usize) {
    let counter = number % shared.counts.len();
    let mut door = number / shared.counts.len() + counter;
    let mut client: Option<Client> = None;
    while !shared.stopped.load(Ordering::Relaxed) {
        let (began, node) = (Instant::now(), door % doors.len());
        let ended = |result| Attempt { node, began, ended: Instant::now(), result };
        let result = match &client {
            Some(client) => {
                let floor = {
                    let mut count = lock(&shared.counts[counter]);
                    count.attempts += 1;
                    count.acked_max
                };
                let answer = client.actor(NAMESPACE, Id::name(name(counter))).call_json("add", &json!([])).await;
                note(&shared, counter, floor, answer, &ended)
            }
            None => match Client::connect(&doors[node]).await {
                Ok(connected) => {
                    client = Some(connected.with_deadline(CALL_MAX));
                    Ok(())
                }
                Err(error) => Err(format!("connecting: {}", error.code.as_str_name())),
            },
        };
        if let Err(error) = result {
            lock(&shared.counts[counter]).silences.failed(ended(error.clone()));
            *lock(&shared.errors).entry(error).or_default() += 1;
            (client, door) = (None, door + 1);
            tokio::time::sleep(AFTER_ERROR).await;
        }
    }
}

/// Takes note of an answer; an error is given back in a few words.
fn note(
    shared: &Shared,
    counter: usize,
    floor: u64,
    answer: Result<serde_json::Value, lethe_client::Error>,
    ended: &impl Fn(String) -> Attempt,
) -> Result<(), String> {
    let mut count = lock(&shared.counts[counter]);
    let value = match answer {
        Ok(value) => value,
        Err(error) => {
            match error.outcome {
                Outcome::NotDone => count.attempts -= 1,
                Outcome::Unknown => drop(shared.unknown.fetch_add(1, Ordering::Relaxed)),
                Outcome::Done => lock(&shared.violations).push(format!("{}: {}", name(counter), error.describe())),
            }
            // Errors are counted by their text, so numbers in it must not make each a kind of its own.
            let message = error.message.replace(|c: char| c.is_ascii_digit(), "").replace("  ", " ");
            return Err(format!("{} ({}): {message}", error.code.as_str_name(), error.outcome));
        }
    };
    let gap = count.silences.answered(ended("answered".to_owned()));
    count.gap_max = count.gap_max.max(gap);
    shared.acked.fetch_add(1, Ordering::Relaxed);
    let fresh = value.as_u64().is_some_and(|n| n > floor && n <= count.attempts && count.answers.insert(n));
    if !fresh {
        let (most, who) = (count.attempts, name(counter));
        lock(&shared.violations).push(format!("{who} answered {value} after {floor}, {most} calls were sent"));
    }
    count.acked_max = count.acked_max.max(value.as_u64().unwrap_or(0));
    Ok(())
}

/// What was acknowledged by a load that has ended.
#[derive(Debug)]
pub struct Ledger {
    counts: Vec<Count>,
    /// Errors and how often they came.
    pub errors: BTreeMap<String, u64>,
    /// Calls of which nobody knows whether they were done.
    pub unknown: u64,
    /// Calls that were answered.
    pub acked: u64,
}

impl Ledger {
    /// Longest time in which a counter gave no answer.
    pub fn gap_max(&self) -> Duration {
        self.counts.iter().map(|count| count.gap_max).max().unwrap_or_default()
    }

    /// Longest silence of the counter in the middle.
    pub fn gap_median(&self) -> Duration {
        let mut gaps: Vec<_> = self.counts.iter().map(|count| count.gap_max).collect();
        gaps.sort_unstable();
        gaps.get(gaps.len() / 2).copied().unwrap_or_default()
    }

    /// Reads every counter through gRPC and HTTP of every running node: all must agree, hold all that was
    /// acknowledged, and no more than was asked.
    pub async fn check(&self, cluster: &Cluster) -> Result<()> {
        for (counter, count) in self.counts.iter().enumerate() {
            let mut seen = BTreeSet::new();
            for node in cluster.running() {
                seen.insert(patiently(async || through_grpc(node, counter).await).await?);
                seen.insert(patiently(async || through_http(node, counter).await).await?);
            }
            let (low, high) = (count.acked_max, count.attempts);
            let held = seen.iter().all(|value| (low..=high).contains(value));
            ensure!(
                seen.len() == 1 && held,
                "{}: nodes hold {seen:?}; {low} was acknowledged, {high} calls may have counted",
                name(counter)
            );
        }
        Ok(())
    }
}

/// Asks until there is an answer: a node may refuse while it finds out who leads.
async fn patiently(ask: impl AsyncFn() -> Result<u64>) -> Result<u64> {
    let started = Instant::now();
    loop {
        match ask().await {
            Ok(value) => return Ok(value),
            Err(error) if started.elapsed() > READ_MAX => return Err(error),
            Err(_) => tokio::time::sleep(AFTER_ERROR).await,
        }
    }
}

async fn through_grpc(node: &Node, counter: usize) -> Result<u64> {
    let at = || format!("{} through gRPC of {}", name(counter), node.name);
    let client = Client::connect(&node.grpc()).await.with_context(at)?;
    let value = client.actor(NAMESPACE, Id::name(name(counter))).call_json("value", &json!([])).await;
    value.with_context(at)?.as_u64().with_context(at)
}

async fn through_http(node: &Node, counter: usize) -> Result<u64> {
    let reply = get(&node.http(), &format!("/{}", name(counter))).await;
    let reply: Reply = reply.with_context(|| format!("{} through HTTP of {}", name(counter), node.name))?;
    let text = reply.text();
    let at = || format!("{} through HTTP of {}: {} {text}", name(counter), node.name, reply.status());
    text.parse().with_context(at)
}

/// Deploys [`counters`] on a cluster.
pub async fn deploy_counters(cluster: &Cluster) -> Result<()> {
    let project = counters();
    let path: &Path = project.path();
    cluster.deploy(path).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(answers: &[(u64, u64)]) -> usize {
        let shared = Shared { counts: vec![Mutex::default()], ..Shared::default() };
        for (floor, answer) in answers {
            lock(&shared.counts[0]).attempts += 1;
            let now = Instant::now();
            let ended = |result| Attempt { node: 0, began: now, ended: now, result };
            note(&shared, 0, *floor, Ok(json!(answer)), &ended).unwrap();
        }
        lock(&shared.violations).len()
    }

    #[test]
    fn answers_that_no_single_counter_gives_are_found() {
        assert_eq!(answered(&[(0, 1), (1, 2), (1, 3)]), 0);
        // Given twice; older than one that had arrived; more than was asked.
        assert_eq!(answered(&[(0, 1), (0, 1)]), 1);
        assert_eq!(answered(&[(0, 1), (1, 2), (2, 1)]), 1);
        assert_eq!(answered(&[(0, 2)]), 1);
    }
}
