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

/// What all clients of a run share.
pub struct Clients<W> {
    /// Where they write down what they ask and hear.
    pub writer: Writer,
    /// What they ask.
    pub workload: W,
    /// Where the server is, or last was.
    pub addresses: watch::Receiver<Addresses>,
    /// Set when no new call may begin.
    pub stopped: AtomicBool,
}

/// One worker: one call at a time, one each `pace`, until stopped.
pub async fn work<W: Workload>(clients: &Clients<W>, number: usize, pace: Duration, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed.wrapping_add(number as u64));
    let mut door = Door::for_worker(number);
    let mut process = clients.writer.new_process();
    let mut pause = PAUSE;
    sleep(pace.mul_f64(rng.random())).await;
    let mut ticks = interval(pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !clients.stopped.load(Ordering::Relaxed) {
        ticks.tick().await;
        let (actor, input) = clients.workload.next(&mut rng);
        match ask(clients, process, &mut door, &actor, input).await {
            Kind::Ok => pause = PAUSE,
            Kind::Info => process = clients.writer.new_process(),
            Kind::Fail | Kind::Invoke => {
                sleep(pause).await;
                pause = PAUSE_MAX.min(2 * pause);
            }
        }
    }
}

/// Reads every actor through every door until each has answered; `false` if that takes longer than `time_max`.
pub async fn final_reads<W: Workload>(clients: &Clients<W>, time_max: Duration) -> bool {
    let started = Instant::now();
    for number in 0..Door::NAMES.len() {
        let mut door = Door::for_worker(number);
        let mut process = clients.writer.new_process();
        for actor in clients.workload.actors() {
            loop {
                match ask(clients, process, &mut door, &actor, W::final_read()).await {
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
async fn ask<W: Workload>(clients: &Clients<W>, process: Process, door: &mut Door, actor: &str, input: In<W>) -> Kind {
    let at = clients.addresses.borrow().clone();
    let (f, invoked) = W::Model::invocation(&input);
    let pending = clients.writer.invoke(process, f, actor, invoked.clone(), door.name());
    let answer = door.call(&at, W::CLASS, actor, f, &W::arguments(input)).await;
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
