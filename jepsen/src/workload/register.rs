//! Registers: read, written, compared and set, then destroyed, then probed.

use std::sync::{
    Mutex,
    atomic::{AtomicI64, Ordering},
};

use rand::{RngExt, rngs::StdRng};
use serde_json::{Value, json};

use super::{
    Workload,
    slots::{Life, Slots},
};
use crate::{
    check::Required,
    model::{Register, RegisterIn, RegisterOut},
};

const LIFE: Life = Life { calls: 50..=250, unanswered_max: 40 };
/// Calls that a register gets after the one that destroys it; they find it destroyed.
const PROBES: u32 = 15;

/// The workload.
pub struct RegisterWorkload {
    /// Noted is a value that the register was lately said to hold: worth expecting in a compare-and-set.
    slots: Mutex<Slots<Option<i64>>>,
    last_value: AtomicI64,
}

impl Default for RegisterWorkload {
    fn default() -> Self {
        Self { slots: Mutex::new(Slots::new(LIFE)), last_value: AtomicI64::new(0) }
    }
}

impl Workload for RegisterWorkload {
    type Model = Register;
    type Note = Option<i64>;

    const CLASS: &'static str = "Register";

    fn slots(&self) -> &Mutex<Slots<Option<i64>>> {
        &self.slots
    }

    /// Values are never repeated.
    fn next(&self, team: usize, rng: &mut StdRng) -> (String, RegisterIn) {
        let new = self.last_value.fetch_add(1, Ordering::Relaxed) + 1;
        let mut slots = self.locked();
        let turn = slots.next(team, rng);
        let input = match (rng.random_range(0..10), *turn.note) {
            _ if turn.calls_left == PROBES => RegisterIn::Destroy,
            (0..4, _) => RegisterIn::Read,
            (4..7, Some(expected)) => RegisterIn::Cas(expected, new),
            _ => RegisterIn::Write(new),
        };
        (turn.actor, input)
    }

    fn final_read() -> RegisterIn {
        RegisterIn::Read
    }

    fn arguments(input: RegisterIn) -> Value {
        match input {
            RegisterIn::Read | RegisterIn::Destroy => json!([]),
            RegisterIn::Write(new) => json!([new]),
            RegisterIn::Cas(expected, new) => json!([expected, new]),
        }
    }

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

    fn destroyed(_input: RegisterIn) -> Option<RegisterOut> {
        Some(RegisterOut::Destroyed)
    }

    fn saw(&self, actor: &str, input: RegisterIn, output: RegisterOut) {
        let holds = match (input, output) {
            (_, RegisterOut::Value(held) | RegisterOut::Mismatch(held)) => held,
            (RegisterIn::Write(new) | RegisterIn::Cas(_, new), RegisterOut::Done) => Some(new),
            (RegisterIn::Read | RegisterIn::Destroy, RegisterOut::Done) | (_, RegisterOut::Destroyed) => None,
        };
        if let (Some(_), Some(note)) = (holds, self.locked().note(actor)) {
            *note = holds;
        }
    }

    fn require(required: &mut Required) {
        required.functions.extend(["read", "write", "cas", "destroy"].map(str::to_string));
        required.cas_swapped = (0.1, 0.95);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use std::collections::{BTreeMap, BTreeSet};

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
            assert_eq!(RegisterWorkload::output(input, &result), expected, "{input:?} {result}");
        }
    }

    #[test]
    fn every_register_is_destroyed_once_and_probed_after() {
        let (workload, mut rng) = (RegisterWorkload::default(), StdRng::seed_from_u64(1));
        let mut by_actor: BTreeMap<String, Vec<RegisterIn>> = BTreeMap::new();
        for turn in 0..3_000 {
            let (actor, input) = workload.next(turn % 3, &mut rng);
            workload.saw(&actor, input, RegisterOut::Done);
            by_actor.entry(actor).or_default().push(input);
        }
        let used_up: Vec<_> = by_actor.values().filter(|calls| calls.contains(&RegisterIn::Destroy)).collect();
        assert!(used_up.len() >= 8, "{} registers were used up", used_up.len());
        for calls in &used_up {
            let destroys: Vec<usize> = (0..calls.len()).filter(|at| calls[*at] == RegisterIn::Destroy).collect();
            assert_eq!(destroys.len(), 1);
            let probes = calls.len() - destroys[0] - 1;
            assert!(
                probes <= PROBES as usize && (LIFE.calls.contains(&(calls.len() as u32)) || probes < PROBES as usize)
            );
            for f in ["read", "write", "cas"] {
                assert!(calls.iter().any(|input| input.f() == f), "no {f}");
            }
        }
        let mut values = BTreeSet::new();
        for input in by_actor.values().flatten() {
            if let RegisterIn::Write(new) | RegisterIn::Cas(_, new) = input {
                assert!(values.insert(*new), "value {new} twice");
            }
        }
        assert_eq!(workload.actors().len(), by_actor.len());
    }
}
