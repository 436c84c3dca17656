//! A counter: `add` answers the new total, `read` the total.

use super::{CallOf, Model};
use crate::history::Op;

/// The model. Input `Some(n)` adds n, `None` reads; the output is the total afterwards.
#[derive(Clone, Debug)]
pub enum Counter {}

impl Model for Counter {
    type State = i64;
    type Input = Option<i64>;
    type Output = i64;

    fn initial() -> i64 {
        0
    }

    fn step(state: &i64, input: &Option<i64>, output: Option<&i64>) -> Option<i64> {
        let next = state.checked_add(input.unwrap_or(0))?;
        output.is_none_or(|total| *total == next).then_some(next)
    }

    /// Only reads may go: every add is part of all later totals.
    fn droppable(calls: &[CallOf<Self>]) -> Vec<bool> {
        calls.iter().map(|call| call.input.is_none()).collect()
    }

    fn knows(f: &str) -> bool {
        matches!(f, "add" | "read")
    }

    fn input(invoke: &Op) -> Result<Option<i64>, String> {
        match (invoke.f.as_str(), invoke.value.as_i64()) {
            ("add", Some(by)) => Ok(Some(by)),
            ("read", None) if invoke.value.is_null() => Ok(None),
            _ => Err(format!("{} is not an argument of {}", invoke.value, invoke.f)),
        }
    }

    fn output(_input: &Option<i64>, ok: &Op) -> Result<i64, String> {
        ok.value.as_i64().ok_or_else(|| format!("{} is not a total", ok.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_must_add_up() {
        assert_eq!(Counter::step(&4, &Some(3), Some(&7)), Some(7));
        assert_eq!(Counter::step(&4, &Some(3), Some(&8)), None);
        assert_eq!(Counter::step(&4, &Some(3), None), Some(7));
        assert_eq!(Counter::step(&4, &None, Some(&4)), Some(4));
        assert_eq!(Counter::step(&4, &None, Some(&3)), None);
        assert_eq!(Counter::step(&i64::MAX, &Some(1), None), None);
    }
}
