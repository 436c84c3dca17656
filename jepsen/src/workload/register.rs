//! The register workload: workers that read, write, compare-and-set and destroy registers through both doors, and
//! write down what they were told.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, sleep},
};

use super::Schedule;
use crate::{
    cluster::Addresses,
    door::{Answer, Door},
    history::{Kind, Process, Writer},
    model::{RegisterIn, RegisterOut},
};

/// After a refusal a worker waits this long, after the next twice as long, and so on up to the maximum: a server that
/// is down is not asked thousands of times, and one that is back is soon found.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_millis(400);

/// What all clients of a run share.
pub struct Clients {
    /// Where they write down what they ask and hear.
    pub writer: Writer,
    /// What they ask.
    pub schedule: Schedule,
    /// Where the server is, or last was.
    pub addresses: watch::Receiver<Addresses>,
    /// Set when no new call may begin.
    pub stopped: AtomicBool,
}

/// One worker: one call at a time, one each `pace`, until stopped.
pub async fn work(clients: &Clients, number: usize, pace: Duration, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed.wrapping_add(number as u64));
    let mut door = Door::for_worker(number);
    let mut process = clients.writer.new_process();
    let mut pause = PAUSE;
    sleep(pace.mul_f64(rng.random())).await;
    let mut ticks = interval(pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !clients.stopped.load(Ordering::Relaxed) {
        ticks.tick().await;
        let (key, input) = clients.schedule.next(&mut rng);
        match ask(clients, process, &mut door, &key, input).await {
            Kind::Ok => pause = PAUSE,
            Kind::Info => process = clients.writer.new_process(),
            Kind::Fail | Kind::Invoke => {
                sleep(pause).await;
                pause = PAUSE_MAX.min(2 * pause);
            }
        }
    }
}

/// Reads every register through every door until each has answered; `false` if that takes longer than `time_max`.
pub async fn final_reads(clients: &Clients, time_max: Duration) -> bool {
    let started = Instant::now();
    for number in 0..Door::NAMES.len() {
        let mut door = Door::for_worker(number);
        let mut process = clients.writer.new_process();
        for key in clients.schedule.keys() {
            loop {
                match ask(clients, process, &mut door, &key, RegisterIn::Read).await {
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
async fn ask(clients: &Clients, process: Process, door: &mut Door, key: &str, input: RegisterIn) -> Kind {
    let at = clients.addresses.borrow().clone();
    let pending = clients.writer.invoke(process, input.f(), key, input.value(), door.name());
    let answer = door.call(&at, key, input.f(), &arguments(input)).await;
    let (kind, value, error) = match answer {
        Answer::Value(result) => match output(input, &result) {
            Some(output) => {
                take_note(clients, key, input, output);
                (Kind::Ok, output.value(input), None)
            }
            None => (Kind::Info, input.value(), Some(format!("unexpected: {result}"))),
        },
        Answer::Destroyed => (Kind::Ok, RegisterOut::Destroyed.value(input), None),
        Answer::Ended if input == RegisterIn::Read => (Kind::Ok, RegisterOut::Destroyed.value(input), None),
        Answer::Ended => (Kind::Info, input.value(), Some("destroyed, perhaps after it was done".into())),
        Answer::NotDone(why) => (Kind::Fail, input.value(), Some(why)),
        Answer::Unknown(why) => (Kind::Info, input.value(), Some(why)),
        Answer::Unexpected(what) => (Kind::Info, input.value(), Some(format!("unexpected: {what}"))),
    };
    clients.writer.complete(pending, kind, value, error);
    kind
}

fn arguments(input: RegisterIn) -> Value {
    match input {
        RegisterIn::Read | RegisterIn::Destroy => json!([]),
        RegisterIn::Write(new) => json!([new]),
        RegisterIn::Cas(expected, new) => json!([expected, new]),
    }
}

/// What the test actor's result means; `None` if it may not answer that.
fn output(input: RegisterIn, result: &Value) -> Option<RegisterOut> {
    let held = |value: &Value| if value.is_null() { Some(None) } else { value.as_i64().map(Some) };
    match input {
        RegisterIn::Read => held(result).map(RegisterOut::Value),
        RegisterIn::Write(new) => (result.as_i64() == Some(new)).then_some(RegisterOut::Done),
        RegisterIn::Destroy => result.is_null().then_some(RegisterOut::Done),
        RegisterIn::Cas(expected, _) => {
            let (swapped, seen) = (result.get("swapped")?.as_bool()?, held(result.get("seen")?)?);
            match swapped {
                true => (seen == Some(expected)).then_some(RegisterOut::Done),
                false => Some(RegisterOut::Mismatch(seen)),
            }
        }
    }
}

fn take_note(clients: &Clients, key: &str, input: RegisterIn, output: RegisterOut) {
    let holds = match (input, output) {
        (_, RegisterOut::Value(held) | RegisterOut::Mismatch(held)) => held,
        (RegisterIn::Write(new) | RegisterIn::Cas(_, new), RegisterOut::Done) => Some(new),
        (RegisterIn::Read | RegisterIn::Destroy, RegisterOut::Done) | (_, RegisterOut::Destroyed) => None,
    };
    if let Some(value) = holds {
        clients.schedule.saw(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_results_of_the_actors_contract_are_answers() {
        let (cas, read, write) = (RegisterIn::Cas(1, 2), RegisterIn::Read, RegisterIn::Write(2));
        let cases = [
            (read, json!(null), Some(RegisterOut::Value(None))),
            (read, json!(4), Some(RegisterOut::Value(Some(4)))),
            (read, json!("4"), None),
            (write, json!(2), Some(RegisterOut::Done)),
            (write, json!(3), None),
            (cas, json!({"swapped": true, "seen": 1}), Some(RegisterOut::Done)),
            (cas, json!({"swapped": true, "seen": 9}), None),
            (cas, json!({"swapped": false, "seen": 9}), Some(RegisterOut::Mismatch(Some(9)))),
            (cas, json!({"swapped": false, "seen": null}), Some(RegisterOut::Mismatch(None))),
            (cas, json!({"swapped": false}), None),
            (RegisterIn::Destroy, json!(null), Some(RegisterOut::Done)),
            (RegisterIn::Destroy, json!(1), None),
        ];
        for (input, result, expected) in cases {
            assert_eq!(output(input, &result), expected, "{input:?} {result}");
        }
    }
}
