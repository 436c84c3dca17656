//! Lists: items are appended, and reads tell all of them in their order.

use std::sync::Mutex;

use rand::{RngExt, rngs::StdRng};
use serde_json::{Value, json};

use super::{
    Workload,
    slots::{Life, Slots},
};
use crate::{
    check::Required,
    model::{List, ListIn, ListOut},
};

const LIFE: Life = Life { calls: 40..=200, unanswered_max: 40 };

/// The workload.
pub struct ListWorkload {
    /// Noted is how many items were appended.
    slots: Mutex<Slots<u32>>,
}

impl Default for ListWorkload {
    fn default() -> Self {
        Self { slots: Mutex::new(Slots::new(LIFE)) }
    }
}

impl Workload for ListWorkload {
    type Model = List;
    type Note = u32;

    const CLASS: &'static str = "List";

    fn slots(&self) -> &Mutex<Slots<u32>> {
        &self.slots
    }

    /// Items are never repeated.
    fn next(&self, team: usize, rng: &mut StdRng) -> (String, ListIn) {
        let mut slots = self.locked();
        let turn = slots.next(team, rng);
        if rng.random_bool(0.4) {
            return (turn.actor, ListIn::Read);
        }
        *turn.note += 1;
        (turn.actor, ListIn::Append(*turn.note))
    }

    fn final_read() -> ListIn {
        ListIn::Read
    }

    fn arguments(input: ListIn) -> Value {
        match input {
            ListIn::Append(item) => json!([item]),
            ListIn::Read => json!([]),
        }
    }

    fn output(input: ListIn, result: &Value) -> Option<ListOut> {
        ListOut::parse(input, result)
    }

    fn require(required: &mut Required) {
        required.functions.extend(["append", "read"].map(str::to_string));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use std::collections::BTreeSet;

    #[test]
    fn an_item_is_appended_once() {
        let (workload, mut rng) = (ListWorkload::default(), StdRng::seed_from_u64(1));
        let mut appended = BTreeSet::new();
        for turn in 0..2_000 {
            if let (actor, ListIn::Append(item)) = workload.next(turn % 3, &mut rng) {
                assert!(appended.insert((actor, item)), "{item} twice");
            }
        }
        assert!(appended.len() > 800 && workload.actors().len() > 12);
    }
}
