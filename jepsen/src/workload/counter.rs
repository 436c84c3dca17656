//! Counters: numbers are added, and every answer is the total.

use std::sync::Mutex;

use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::{
    Workload,
    slots::{Life, Slots},
};
use crate::{check::Required, generate::Object, model::Counter};

/// Unanswered changes may double the checker's work each, so there must not be many of them.
const LIFE: Life = Life { calls: 40..=160, unanswered_max: 8 };

/// The workload.
pub struct CounterWorkload {
    slots: Mutex<Slots<()>>,
}

impl Default for CounterWorkload {
    fn default() -> Self {
        Self { slots: Mutex::new(Slots::new(LIFE)) }
    }
}

impl Workload for CounterWorkload {
    type Model = Counter;
    type Note = ();

    const CLASS: &'static str = "Counter";

    fn slots(&self) -> &Mutex<Slots<()>> {
        &self.slots
    }

    fn next(&self, team: usize, rng: &mut StdRng) -> (String, Option<i64>) {
        let actor = self.locked().next(team, rng).actor;
        (actor, Counter::random_input(rng, 0, None, false))
    }

    fn final_read() -> Option<i64> {
        None
    }

    fn arguments(input: Option<i64>) -> Value {
        input.map_or_else(|| json!([]), |by| json!([by]))
    }

    fn output(_input: Option<i64>, result: &Value) -> Option<i64> {
        result.as_i64()
    }

    fn require(required: &mut Required) {
        required.functions.extend(["read", "add"].map(str::to_string));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_totals_are_answers() {
        assert_eq!(CounterWorkload::output(Some(2), &json!(7)), Some(7));
        assert_eq!(CounterWorkload::output(None, &json!(null)), None);
        assert_eq!(CounterWorkload::arguments(Some(2)), json!([2]));
        assert_eq!(CounterWorkload::arguments(None), json!([]));
    }
}
