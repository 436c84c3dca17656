//! Clients: ask what a workload says through both doors, and write down what they were told.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, sleep},
};

use super::{In, Workload};
use crate::{
    cluster::Addresses,
    door::{Answer, Door},
    generate::Object,
    history::{Kind, Process, Writer},
};

/// After a refusal a worker waits this long, after the next twice as long, and so on up to the maximum: a server that
/// is down is not asked thousands of times, and one that is back is soon found.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_millis(400);
/// A roaming worker goes to another node after so many answers, on average.
const CALLS_BEFORE_ROAMING: u32 = 20;
/// More nodes than any cluster has; a number of a node is taken modulo the nodes that are there.
const NODES_MAX: usize = 5_040;

/// What all clients of a run share.
pub struct Clients<W> {
    /// Where they write down what they ask and hear.
    pub writer: Writer,
    /// What they ask.
    pub workload: W,
    /// Where each server is, or last was.
    pub addresses: watch::Receiver<Vec<Addresses>>,
    /// Set when no new call may begin.
    pub stopped: AtomicBool,
}

/// Through which node and which door a worker calls. Half of the workers are pinned to a node, and so see what it alone
/// believes; the others roam, as clients behind a balancer do.
struct Way {
    door: Door,
    node: usize,
    pinned: bool,
}

impl Way {
    fn for_worker(number: usize) -> Self {
        Self { door: Door::for_worker(number), node: number / 2, pinned: number % 4 < 2 }
    }

    /// To another node, if this worker roams.
    fn roam(&mut self, rng: &mut StdRng) {
        if !self.pinned {
            self.node = rng.random_range(0..NODES_MAX);
        }
    }

    /// The name of a node and a door, as it stands in a history.
    fn name(at: &Addresses, door: &str) -> String {
        at.node.as_ref().map_or_else(|| door.to_owned(), |node| format!("{node}.{door}"))
    }
}

/// One worker: one call at a time, one each `pace`, until stopped.
pub async fn work<W: Workload>(clients: &Clients<W>, number: usize, pace: Duration, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed.wrapping_add(number as u64));
    let mut way = Way::for_worker(number);
    let mut process = clients.writer.new_process();
    let mut pause = PAUSE;
    sleep(pace.mul_f64(rng.random())).await;
    let mut ticks = interval(pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !clients.stopped.load(Ordering::Relaxed) {
        ticks.tick().await;
        let (actor, input) = clients.workload.next(&mut rng);
        let kind = ask(clients, process, &mut way, &actor, input).await;
        if kind != Kind::Ok || rng.random_ratio(1, CALLS_BEFORE_ROAMING) {
            way.roam(&mut rng);
        }
        match kind {
            Kind::Ok => pause = PAUSE,
            Kind::Info => process = clients.writer.new_process(),
            Kind::Fail | Kind::Invoke => {
                sleep(pause).await;
                pause = PAUSE_MAX.min(2 * pause);
            }
        }
    }
}

/// Reads every actor through every door of every node until each has answered; `false` if that takes longer than
/// `time_max`.
pub async fn final_reads<W: Workload>(clients: &Clients<W>, time_max: Duration) -> bool {
    let started = Instant::now();
    let nodes = clients.addresses.borrow().len();
    for (node, door) in (0..nodes).flat_map(|node| (0..Door::NAMES.len()).map(move |door| (node, door))) {
        let mut way = Way { door: Door::for_worker(door), node, pinned: true };
        let mut process = clients.writer.new_process();
        for actor in clients.workload.actors() {
            loop {
                match ask(clients, process, &mut way, &actor, W::final_read()).await {
                    Kind::Ok => break,
                    Kind::Info => process = clients.writer.new_process(),
                    Kind::Fail | Kind::Invoke => sleep(PAUSE).await,
                }
                if started.elapsed() > time_max {
                    return false;
                }
            }
        }
    }
    true
}

/// One call, written down before it is sent and after it is answered.
async fn ask<W: Workload>(clients: &Clients<W>, process: Process, way: &mut Way, actor: &str, input: In<W>) -> Kind {
    let at = {
        let all = clients.addresses.borrow();
        all[way.node % all.len()].clone()
    };
    let (f, invoked) = W::Model::invocation(&input);
    let name = Way::name(&at, way.door.name());
    let pending = clients.writer.invoke(process, f, actor, invoked.clone(), &name);
    let answer = way.door.call(&at, W::CLASS, actor, f, &W::arguments(input)).await;
    let (kind, value, error) = completion(clients, actor, input, answer);
    clients.writer.complete(pending, kind, value.unwrap_or(invoked), error);
    kind
}

/// What to write down of an answer; no value means that of the invocation.
fn completion<W: Workload>(
    clients: &Clients<W>,
    actor: &str,
    input: In<W>,
    answer: Answer,
) -> (Kind, Option<Value>, Option<String>) {
    let unexpected = |what: String| (Kind::Info, None, Some(format!("unexpected: {what}")));
    let output = match answer {
        Answer::Value(result) => match W::output(input, &result) {
            Some(output) => output,
            None => return unexpected(result.to_string()),
        },
        Answer::Ended if input != W::final_read() => {
            return (Kind::Info, None, Some("destroyed, perhaps after it was done".into()));
        }
        // A read leaves nothing behind: whenever it was done, it found nothing to answer.
        Answer::Destroyed | Answer::Ended => match W::destroyed(input) {
            Some(output) => output,
            None => return unexpected("destroyed, but nobody destroyed it".into()),
        },
        Answer::NotDone(why) => return (Kind::Fail, None, Some(why)),
        Answer::Unknown(why) => return (Kind::Info, None, Some(why)),
        Answer::Unexpected(what) => return unexpected(what),
    };
    clients.workload.saw(actor, input, output);
    (Kind::Ok, Some(W::Model::answer(&input, &output)), None)
}
