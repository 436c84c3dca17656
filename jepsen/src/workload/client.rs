//! Clients: ask what a workload says through both doors, and write down what they were told.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use futures::future::join_all;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval_at, sleep, timeout},
};

use super::{In, Workload};
use crate::{
    aim::{Actors, Post, Sights, TEAM},
    check::has_changed,
    cluster::Addresses,
    door::{Answer, Door},
    generate::Object,
    history::{Kind, Process, Writer},
};

/// After a call that was not answered a worker waits this long, after the next twice as long, and so on up to the
/// maximum: a server that is down is not asked thousands of times, and one that is back is soon found.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_millis(400);
/// A roaming worker goes to another node after so many answers, on average.
const CALLS_BEFORE_ROAMING: u32 = 20;
/// More nodes than any cluster has; a number of a node is taken modulo the nodes that are there.
const NODES_MAX: usize = 5_040;
/// Time from one call of a witness to its next, at least.
const WITNESS_EVERY: Duration = Duration::from_millis(20);

/// What all clients of a run share.
pub struct Clients<W> {
    /// Where they write down what they ask and hear.
    pub writer: Writer,
    /// What they ask.
    pub workload: W,
    /// Where each server is, or last was.
    pub addresses: watch::Receiver<Vec<Addresses>>,
    /// What the nemesis aims at.
    pub sights: Sights,
    /// Set when no new call may begin.
    pub stopped: AtomicBool,
}

impl<W: Workload> Actors for Clients<W> {
    fn keep(&self, team: usize) -> String {
        self.workload.keep(team)
    }

    fn let_go(&self, team: usize) {
        self.workload.let_go(team);
    }
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

    /// To any of so many nodes but this one.
    fn avoid(&mut self, node: usize, nodes: usize, rng: &mut StdRng) {
        if self.node % nodes == node && nodes > 1 {
            self.node = (node + rng.random_range(1..nodes)) % nodes;
        }
    }

    /// The name of a node and a door, as it stands in a history.
    fn name(at: &Addresses, door: &str) -> String {
        at.node.as_ref().map_or_else(|| door.to_owned(), |node| format!("{node}.{door}"))
    }
}

/// When workers make their calls.
#[derive(Clone, Copy, Debug)]
pub struct Rhythm {
    /// When the first calls are made.
    pub begin: Instant,
    /// Time from one call of a worker to its next.
    pub pace: Duration,
}

/// One worker: one call at a time until stopped. A team calls at the same moments, so that calls of one actor overlap.
pub async fn work<W: Workload>(clients: &Clients<W>, number: usize, rhythm: Rhythm, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed.wrapping_add(number as u64));
    let mut way = Way::for_worker(number);
    let mut process = clients.writer.new_process();
    let (team, mut pause) = (number / TEAM, PAUSE);
    // Teams are spread over the time of one call.
    let offset = rhythm.pace.mul_f64(f64::from(team as u32) * 0.618 % 1.0);
    let mut ticks = interval_at((rhythm.begin + offset).into(), rhythm.pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while !clients.stopped.load(Ordering::Relaxed) {
        ticks.tick().await;
        let post = clients.sights.post(number);
        if matches!(post, Post::Hold) {
            continue;
        }
        let (actor, input) = match &post {
            Post::Reads(aim) => (aim.actor.clone(), W::final_read()),
            _ => clients.workload.next(team, &mut rng),
        };
        let kind = call_from(clients, &post, &mut way, process, (&actor, input), &mut rng).await;
        if kind == Kind::Ok {
            pause = PAUSE;
            if rng.random_ratio(1, CALLS_BEFORE_ROAMING) {
                way.roam(&mut rng);
            }
            continue;
        }
        if kind == Kind::Info {
            process = clients.writer.new_process();
            clients.workload.unanswered(&actor);
        }
        way.roam(&mut rng);
        sleep(pause).await;
        pause = PAUSE_MAX.min(2 * pause);
    }
}

/// One call through the node that a worker was posted to.
async fn call_from<W: Workload>(
    clients: &Clients<W>,
    post: &Post,
    way: &mut Way,
    process: Process,
    (actor, input): (&str, In<W>),
    rng: &mut StdRng,
) -> Kind {
    match post {
        Post::Victim(aim) | Post::Reads(aim) => {
            let usual = std::mem::replace(&mut way.node, aim.victim);
            let (kind, _) = ask(clients, process, way, actor, input).await;
            way.node = usual;
            if matches!(post, Post::Victim(_)) {
                aim.free_at_victim(kind == Kind::Ok && aim.actor == actor);
            }
            kind
        }
        Post::Others(aim) => {
            way.avoid(aim.victim, clients.addresses.borrow().len(), rng);
            let (kind, changed) = ask(clients, process, way, actor, input).await;
            aim.free(changed && aim.actor == actor);
            if kind != Kind::Ok {
                // Elsewhere the next time, even if it is pinned.
                way.node = rng.random_range(0..NODES_MAX);
            }
            kind
        }
        Post::Free | Post::Hold => ask(clients, process, way, actor, input).await.0,
    }
}

/// A witness: reads what is aimed at through the victim, again and again, until stopped.
pub async fn witness<W: Workload>(clients: &Clients<W>, number: usize) {
    let mut way = Way { door: Door::for_worker(number), node: 0, pinned: true };
    let mut process = clients.writer.new_process();
    let mut ticks = interval_at(Instant::now().into(), WITNESS_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !clients.stopped.load(Ordering::Relaxed) {
        ticks.tick().await;
        let Some(look) = clients.sights.look(number) else { continue };
        way.node = look.aim.victim;
        let (kind, _) = ask(clients, process, &mut way, &look.aim.actor, W::final_read()).await;
        look.end();
        if kind == Kind::Info {
            process = clients.writer.new_process();
        }
        if kind != Kind::Ok {
            sleep(PAUSE).await;
        }
    }
}

/// Reads every actor through every door of every node until each has answered, all ways at once; `false` if that takes
/// longer than `time_max`.
pub async fn final_reads<W: Workload>(clients: &Clients<W>, time_max: Duration) -> bool {
    let nodes = clients.addresses.borrow().len();
    let ways = (0..nodes).flat_map(|node| (0..Door::NAMES.len()).map(move |door| (node, door)));
    let reads = ways.map(|(node, door)| final_reads_by(clients, node, door));
    timeout(time_max, join_all(reads)).await.is_ok()
}

async fn final_reads_by<W: Workload>(clients: &Clients<W>, node: usize, door: usize) {
    let mut way = Way { door: Door::for_worker(door), node, pinned: true };
    let mut process = clients.writer.new_process();
    for actor in clients.workload.actors() {
        loop {
            match ask(clients, process, &mut way, &actor, W::final_read()).await.0 {
                Kind::Ok => break,
                Kind::Info => process = clients.writer.new_process(),
                Kind::Fail | Kind::Invoke => {}
            }
            sleep(PAUSE).await;
        }
    }
}

/// One call, written down before it is sent and after it is answered. Says also whether it surely changed the actor.
async fn ask<W: Workload>(
    clients: &Clients<W>,
    process: Process,
    way: &mut Way,
    actor: &str,
    input: In<W>,
) -> (Kind, bool) {
    let at = {
        let all = clients.addresses.borrow();
        all[way.node % all.len()].clone()
    };
    let (f, invoked) = W::Model::invocation(&input);
    let name = Way::name(&at, way.door.name());
    let pending = clients.writer.invoke(process, f, actor, invoked.clone(), &name);
    let answer = way.door.call(&at, W::CLASS, actor, f, &W::arguments(input)).await;
    let (kind, value, error) = completion(clients, actor, input, answer);
    let value = value.unwrap_or(invoked);
    let changed = kind == Kind::Ok && has_changed(f, &value);
    clients.writer.complete(pending, kind, value, error);
    (kind, changed)
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
    let value = W::Model::answer(&input, &output);
    clients.workload.saw(actor, input, output);
    (Kind::Ok, Some(value), None)
}
