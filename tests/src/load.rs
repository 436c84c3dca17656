//! Load that remembers: counters that are counted up through all nodes, and a ledger of what was acknowledged.
//!
//! Two callers share each counter, from different nodes. Every answer must be larger than each answer that had arrived
//! before its call was sent, and no answer may come twice: so two instances of an actor that both have effects, a
//! stale read, a lost and a doubled write are all found at once. Nothing is retried. Each counter also remembers which
//! calls it did: what was answered is among them, what was said to be not done never is.

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
use tokio::{
    sync::{OwnedRwLockWriteGuard, RwLock},
    task::JoinSet,
};

pub use self::bulk::write_much;
use self::{done::Calls, silence::Watch};
pub use self::{
    posts::Posts,
    silence::{Attempt, Silence},
};
use crate::{Cluster, HEALTHY_MAX, Node, Project, Reply, get};

mod bulk;
mod done;
mod posts;
mod silence;

/// Callers of one counter.
const CALLERS: usize = 2;
/// A call that takes longer has no answer.
const CALL_MAX: Duration = Duration::from_secs(10);
/// As the last resort: a read that is refused for so long fails.
const READ_MAX: Duration = Duration::from_secs(60);
/// After an error, so that a node that refuses is not asked in a hot loop.
const AFTER_ERROR: Duration = Duration::from_millis(20);
/// The class of the counters. Besides being counted, one can `wait(ms)`, and tell how many calls are `waiting()` in it.
pub const NAMESPACE: &str = "Counter";

/// The project that is called: `GET /NAME` reads a counter, `POST /NAME` writes beside it; `GET /clock` tells the time. A counter keeps which calls of
/// each caller it did, as ranges of their numbers.
const INDEX_JS: &str = "
import { DurableObject } from 'cloudflare:workers';
export class Counter extends DurableObject {
  async count() { return (await this.ctx.storage.get('count')) ?? { n: 0, done: {} }; }
  async add(caller, call) {
    const { n, done } = await this.count();
    const ranges = done[caller] ??= [];
    const before = ranges.find((range) => range[1] === call - 1);
    if (before) before[1] = call; else ranges.push([call, call]);
    this.ctx.storage.put('count', { n: n + 1, done });
    return n + 1;
  }
  async value() { return (await this.count()).n; }
  async fill(values, bytes) { for (let i = 0; i < values; i++) this.ctx.storage.put('v' + i, 'x'.repeat(bytes)); }
  waiters = 0;
  async wait(ms) { this.waiters += 1; await new Promise((done) => setTimeout(done, ms)); return --this.waiters; }
  waiting() { return this.waiters; }
}
export default {
  async fetch(request, env) {
    if (request.url.endsWith('/clock')) return new Response(String(Date.now()));
    const stub = env.COUNTER.getByName(new URL(request.url).pathname.slice(1));
    if (request.method === 'POST') await stub.fill(1, 1);
    return new Response(String(await stub.value()));
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
    /// What became of each call.
    calls: Calls,
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
    /// The call that took longest since this was asked last.
    longest: Mutex<Option<Attempt>>,
    /// Held for reading during a call.
    turns: Arc<RwLock<()>>,
}

impl Shared {
    /// Takes note of how long a call took.
    fn took(&self, attempt: Attempt) {
        let mut longest = lock(&self.longest);
        if longest.as_ref().is_none_or(|longest| longest.lasted() < attempt.lasted()) {
            *longest = Some(attempt);
        }
    }
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

    /// The call that took longest since this was asked last, whatever became of it. Its counter may have answered others
    /// meanwhile.
    pub fn longest_call(&self) -> Option<Attempt> {
        lock(&self.shared.longest).take()
    }

    /// Ends all callers. Fails if any answer was wrong.
    pub async fn stop(mut self) -> Result<Ledger> {
        self.shared.stopped.store(true, Ordering::Relaxed);
        while let Some(caller) = self.callers.join_next().await {
            caller.context("a caller panicked")?;
        }
        self.ledger()
    }

    /// Lets the calls under way end, and no other begin until this is dropped.
    pub async fn rest(&self) -> Rest {
        Rest { shared: Arc::clone(&self.shared), _turn: Arc::clone(&self.shared.turns).write_owned().await }
    }

    /// While the load rests: everything acknowledged is read from every running node, and the replicas are equal. Fails
    /// if any answer was wrong.
    pub async fn check(&self, cluster: &Cluster) -> Result<()> {
        let _rest = self.rest().await;
        self.ledger()?.check(cluster).await?;
        cluster.digests_agree(HEALTHY_MAX).await
    }

    /// What was acknowledged so far.
    fn ledger(&self) -> Result<Ledger> {
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

/// Nobody calls meanwhile, and that is no silence.
pub struct Rest {
    shared: Arc<Shared>,
    _turn: OwnedRwLockWriteGuard<()>,
}

impl Drop for Rest {
    fn drop(&mut self) {
        self.shared.counts.iter().for_each(|count| lock(count).silences.rested());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("no holder of this lock panics")
}

/// The name of a counter.
pub fn name(counter: usize) -> String {
    format!("counter-{counter}")
}

/// One caller: one call at a time, to the next node after each error.
async fn call(shared: Arc<Shared>, doors: Arc<Vec<String>>, number: usize) {
    let counter = number % shared.counts.len();
    let mut door = number / shared.counts.len() + counter;
    let mut client: Option<Client> = None;
    for call in 0_u64.. {
        let _turn = shared.turns.read().await;
        if shared.stopped.load(Ordering::Relaxed) {
            return;
        }
        let (began, node) = (Instant::now(), door % doors.len());
        let ended = |result| Attempt { node, began, ended: Instant::now(), result };
        let result = match &client {
            Some(client) => {
                let floor = {
                    let mut count = lock(&shared.counts[counter]);
                    count.attempts += 1;
                    count.acked_max
                };
                let args = json!([number, call]);
                let answer = client.actor(NAMESPACE, Id::name(name(counter))).call_json("add", &args).await;
                note(&shared, counter, (number, call), floor, answer, &ended)
            }
            None => match Client::connect(&doors[node]).await {
                Ok(connected) => {
                    client = Some(connected.with_deadline(CALL_MAX));
                    Ok(())
                }
                Err(error) => Err(format!("connecting: {}", error.code.as_str_name())),
            },
        };
        shared.took(ended(result.clone().err().unwrap_or_else(|| "answered".to_owned())));
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
    call: done::Call,
    floor: u64,
    answer: Result<serde_json::Value, lethe_client::Error>,
    ended: &impl Fn(String) -> Attempt,
) -> Result<(), String> {
    let mut count = lock(&shared.counts[counter]);
    let value = match answer {
        Ok(value) => value,
        Err(error) => {
            match error.outcome {
                Outcome::NotDone => {
                    count.attempts -= 1;
                    count.calls.refused(call);
                }
                Outcome::Unknown => drop(shared.unknown.fetch_add(1, Ordering::Relaxed)),
                Outcome::Done => lock(&shared.violations).push(format!("{}: {}", name(counter), error.describe())),
            }
            // Errors are counted by their text, so numbers in it must not make each a kind of its own.
            let message = error.message.replace(|c: char| c.is_ascii_digit(), "").replace("  ", " ");
            return Err(format!("{} ({}): {message}", error.code.as_str_name(), error.outcome));
        }
    };
    count.calls.answered(call);
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

    /// Reads every counter through gRPC and HTTP of every running node: all must agree, hold all that was acknowledged,
    /// and nothing that was said to be not done.
    pub async fn check(&self, cluster: &Cluster) -> Result<()> {
        for (counter, count) in self.counts.iter().enumerate() {
            let value = agreed(cluster, counter).await?;
            let (low, high) = (count.acked_max, count.attempts);
            let who = name(counter);
            ensure!(
                (low..=high).contains(&value),
                "{who}: nodes hold {value}; {low} was acknowledged, {high} calls may have counted"
            );
            let node = cluster.running().next().context("no node runs")?;
            let counted = patiently(async || counted(node, counter).await).await?;
            count.calls.check(&counted).with_context(|| who)?;
        }
        Ok(())
    }
}

/// The value that every running node gives through both doors. Only calls whose fate nobody knows may still come; so it
/// may grow meanwhile, and never shrink.
async fn agreed(cluster: &Cluster, counter: usize) -> Result<u64> {
    let (started, mut last) = (Instant::now(), 0);
    loop {
        let mut seen = BTreeSet::new();
        for node in cluster.running() {
            let doors = [
                patiently(async || through_grpc(node, counter).await).await?,
                patiently(async || through_http(node, counter).await).await?,
            ];
            for value in doors {
                let who = name(counter);
                ensure!(value >= last, "{who}: {} gave {value} after {last} was read", node.name);
                last = value;
                seen.insert(value);
            }
        }
        if seen.len() == 1 {
            return Ok(last);
        }
        ensure!(started.elapsed() < READ_MAX, "{}: nodes hold {seen:?}", name(counter));
    }
}

/// Asks until there is an answer: a node may refuse while it finds out who leads.
async fn patiently<T>(ask: impl AsyncFn() -> Result<T>) -> Result<T> {
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
    ask(node, counter, "value").await?.as_u64().context("a value is a number")
}

/// Which calls it did.
async fn counted(node: &Node, counter: usize) -> Result<done::Counted> {
    Ok(serde_json::from_value(ask(node, counter, "count").await?)?)
}

async fn ask(node: &Node, counter: usize, method: &str) -> Result<serde_json::Value> {
    let at = || format!("{} through gRPC of {}", name(counter), node.name);
    let client = Client::connect(&node.grpc()).await.with_context(at)?;
    client.actor(NAMESPACE, Id::name(name(counter))).call_json(method, &json!([])).await.with_context(at)
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
            note(&shared, 0, (0, *answer), *floor, Ok(json!(answer)), &ended).unwrap();
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
