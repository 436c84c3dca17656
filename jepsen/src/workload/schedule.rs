//! Which register is asked next, and what: a few hot registers at a time, each used for a while, then destroyed, then
//! probed, then replaced by a new one.
//!
//! Few hot keys make calls overlap; replacing them keeps each key's history short enough to be checked to the end.

use std::{collections::BTreeMap, sync::Mutex};

use rand::{Rng, RngExt};

use crate::model::RegisterIn;

/// Registers in use at the same time.
const SLOTS: usize = 3;
/// The call that destroys a register.
const DESTROYED_AT: u32 = 150;
/// Calls that a register gets in all; the last of them find it destroyed.
const CALLS_PER_KEY: u32 = 170;

/// Shared by all workers of a run.
pub struct Schedule {
    inner: Mutex<Inner>,
}

struct Inner {
    slots: [Slot; SLOTS],
    next_value: i64,
    keys: BTreeMap<String, usize>,
}

#[derive(Clone, Default)]
struct Slot {
    generation: u32,
    calls: u32,
    /// A value it was lately said to hold: worth expecting in a compare-and-set.
    hint: Option<i64>,
}

impl Default for Schedule {
    fn default() -> Self {
        let inner = Inner { slots: Default::default(), next_value: 0, keys: BTreeMap::new() };
        Self { inner: Mutex::new(inner) }
    }
}

impl Schedule {
    /// A register and what to ask of it. Values are never repeated.
    pub fn next(&self, rng: &mut impl Rng) -> (String, RegisterIn) {
        let mut inner = self.inner.lock().expect("no holder of this lock panics");
        inner.next_value += 1;
        let new = inner.next_value;
        let number = rng.random_range(0..SLOTS);
        let slot = &mut inner.slots[number];
        slot.calls += 1;
        if slot.calls > CALLS_PER_KEY {
            *slot = Slot { generation: slot.generation + 1, calls: 1, hint: None };
        }
        let input = match (rng.random_range(0..10), slot.hint) {
            _ if slot.calls == DESTROYED_AT => RegisterIn::Destroy,
            (0..4, _) => RegisterIn::Read,
            (4..7, Some(expected)) => RegisterIn::Cas(expected, new),
            _ => RegisterIn::Write(new),
        };
        let key = format!("r{number}-{}", slot.generation);
        inner.keys.insert(key.clone(), number);
        (key, input)
    }

    /// Takes note of a value that a register was said to hold.
    pub fn saw(&self, key: &str, value: i64) {
        let mut inner = self.inner.lock().expect("no holder of this lock panics");
        if let Some(&number) = inner.keys.get(key) {
            inner.slots[number].hint = Some(value);
        }
    }

    /// All registers that were asked anything.
    pub fn keys(&self) -> Vec<String> {
        self.inner.lock().expect("no holder of this lock panics").keys.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::StdRng};
    use std::collections::BTreeSet;

    #[test]
    fn every_register_is_destroyed_once_and_probed_after() {
        let (schedule, mut rng) = (Schedule::default(), StdRng::seed_from_u64(1));
        let mut by_key: BTreeMap<String, Vec<RegisterIn>> = BTreeMap::new();
        for _ in 0..SLOTS * CALLS_PER_KEY as usize * 4 {
            let (key, input) = schedule.next(&mut rng);
            if let RegisterIn::Write(value) = input {
                schedule.saw(&key, value);
            }
            by_key.entry(key).or_default().push(input);
        }
        let full: Vec<_> = by_key.values().filter(|calls| calls.len() == CALLS_PER_KEY as usize).collect();
        assert!(full.len() >= SLOTS, "{} registers were used up", full.len());
        for calls in &full {
            let destroys = calls.iter().filter(|input| **input == RegisterIn::Destroy).count();
            assert_eq!((destroys, calls[DESTROYED_AT as usize - 1]), (1, RegisterIn::Destroy));
            for f in ["read", "write", "cas"] {
                assert!(calls.iter().any(|input| input.f() == f), "no {f}");
            }
        }
        let mut values = BTreeSet::new();
        for input in by_key.values().flatten() {
            if let RegisterIn::Write(new) | RegisterIn::Cas(_, new) = input {
                assert!(values.insert(*new), "value {new} twice");
            }
        }
        assert_eq!(schedule.keys().len(), by_key.len());
    }
}
