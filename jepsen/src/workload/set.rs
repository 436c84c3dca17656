//! Sets: numbers are inserted, some are removed again, and reads list all that are there.

use std::sync::Mutex;

use rand::{RngExt, rngs::StdRng};
use serde_json::{Value, json};

use super::{
    Workload,
    slots::{Life, Slots},
};
use crate::{
    check::Required,
    model::{NUMBERS, Set, SetIn, SetOut},
};

/// Not more calls than there are numbers, for every call may insert one.
const LIFE: Life = Life { calls: 40..=NUMBERS, unanswered_max: 24 };

/// The workload.
pub struct SetWorkload {
    /// Noted is how many numbers were inserted.
    slots: Mutex<Slots<u32>>,
}

impl Default for SetWorkload {
    fn default() -> Self {
        Self { slots: Mutex::new(Slots::new(LIFE)) }
    }
}

impl Workload for SetWorkload {
    type Model = Set;
    type Note = u32;

    const CLASS: &'static str = "Set";

    fn slots(&self) -> &Mutex<Slots<u32>> {
        &self.slots
    }

    fn next(&self, team: usize, rng: &mut StdRng) -> (String, SetIn) {
        let mut slots = self.locked();
        let turn = slots.next(team, rng);
        let input = match (rng.random_range(0..10), *turn.note) {
            (0..4, _) => SetIn::Read,
            (4..6, inserted) if inserted > 0 => SetIn::Remove(rng.random_range(0..inserted)),
            (_, inserted) => {
                *turn.note += 1;
                SetIn::Insert(inserted)
            }
        };
        (turn.actor, input)
    }

    fn final_read() -> SetIn {
        SetIn::Read
    }

    fn arguments(input: SetIn) -> Value {
        match input {
            SetIn::Insert(number) | SetIn::Remove(number) => json!([number]),
            SetIn::Read => json!([]),
        }
    }

    fn output(input: SetIn, result: &Value) -> Option<SetOut> {
        SetOut::parse(input, result)
    }

    fn require(required: &mut Required) {
        required.functions.extend(["insert", "remove", "read"].map(str::to_string));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use std::collections::BTreeSet;

    #[test]
    fn a_number_is_inserted_once_and_removed_only_after_that() {
        let (workload, mut rng) = (SetWorkload::default(), StdRng::seed_from_u64(1));
        let mut inserted = BTreeSet::new();
        let mut removals = 0;
        for turn in 0..2_000 {
            match workload.next(turn % 3, &mut rng) {
                (actor, SetIn::Insert(number)) => assert!(inserted.insert((actor, number)), "{number} twice"),
                (actor, SetIn::Remove(number)) => {
                    assert!(inserted.contains(&(actor, number)), "{number} too early");
                    removals += 1;
                }
                (_, SetIn::Read) => {}
            }
        }
        assert!(inserted.len() > 500 && removals > 200 && workload.actors().len() > 12);
    }
}
