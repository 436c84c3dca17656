//! A set of small numbers: add, remove, read all. Each number is added at most once in a set's life.
//!
//! | f | `value` invoked | `value` of `ok` |
//! |---|---|---|
//! | `insert` | the number | the same |
//! | `remove` | the number | `[number, was it there]` |
//! | `read` | `null` | all numbers, ascending |

use serde_json::{Value, json};

use super::{CallOf, Model};
use crate::history::Op;

/// Numbers are below this.
pub const NUMBERS: u32 = u128::BITS;

/// The model. Its state has one bit for each number.
#[derive(Clone, Debug)]
pub enum Set {}

/// What can be asked of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetIn {
    /// Hold this number.
    Insert(u32),
    /// Hold it no more.
    Remove(u32),
    /// All numbers?
    Read,
}

/// What a set answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetOut {
    /// Inserted.
    Done,
    /// Whether the number was there.
    Removed(bool),
    /// All numbers, a bit for each.
    Numbers(u128),
}

impl SetIn {
    /// The function's name and the `value` of the invocation.
    pub fn invocation(self) -> (&'static str, Value) {
        match self {
            Self::Insert(number) => ("insert", json!(number)),
            Self::Remove(number) => ("remove", json!(number)),
            Self::Read => ("read", Value::Null),
        }
    }
}

impl SetOut {
    /// The `value` of the `ok` completion of `input`.
    pub fn value(self, input: SetIn) -> Value {
        match (self, input) {
            (Self::Numbers(bits), _) => json!((0..NUMBERS).filter(|n| bits & (1 << n) != 0).collect::<Vec<_>>()),
            (Self::Removed(was_there), SetIn::Remove(number)) => json!([number, was_there]),
            (Self::Removed(_) | Self::Done, input) => input.invocation().1,
        }
    }

    /// What `value` means as an answer to `input`; `None` if it is none.
    pub fn parse(input: SetIn, value: &Value) -> Option<Self> {
        match input {
            SetIn::Insert(number) => (value.as_u64() == Some(number.into())).then_some(Self::Done),
            SetIn::Remove(number) => match value.as_array()?.as_slice() {
                [of, was_there] if of.as_u64() == Some(number.into()) => was_there.as_bool().map(Self::Removed),
                _ => None,
            },
            SetIn::Read => {
                let numbers: Vec<u32> = serde_json::from_value(value.clone()).ok()?;
                let ascending = numbers.is_sorted_by(|a, b| a < b) && numbers.iter().all(|n| *n < NUMBERS);
                ascending.then(|| Self::Numbers(numbers.iter().fold(0, |bits, n| bits | 1 << n)))
            }
        }
    }
}

impl Model for Set {
    type State = u128;
    type Input = SetIn;
    type Output = SetOut;

    fn initial() -> u128 {
        0
    }

    fn step(state: &u128, input: &SetIn, output: Option<&SetOut>) -> Option<u128> {
        let (next, right) = match *input {
            SetIn::Insert(number) => (state | 1 << number, SetOut::Done),
            SetIn::Remove(number) => (state & !(1 << number), SetOut::Removed(state & (1 << number) != 0)),
            SetIn::Read => (*state, SetOut::Numbers(*state)),
        };
        output.is_none_or(|output| *output == right).then_some(next)
    }

    /// Calls that only look may go. An insert may go if nobody mentions its number, and so may a removal of it.
    fn droppable(calls: &[CallOf<Self>]) -> Vec<bool> {
        let (mut read, mut inserted, mut removed) = (0_u128, 0_u128, 0_u128);
        for call in calls {
            match (call.input, call.output) {
                (SetIn::Insert(number), _) => inserted |= 1 << number,
                (SetIn::Remove(number), _) => removed |= 1 << number,
                (SetIn::Read, Some(SetOut::Numbers(bits))) => read |= bits,
                (SetIn::Read, _) => {}
            }
        }
        let free = |call: &CallOf<Self>| match (call.input, call.output) {
            (SetIn::Read, _) | (SetIn::Remove(_), Some(SetOut::Removed(false))) => true,
            (SetIn::Insert(number), _) => (read | removed) & (1 << number) == 0,
            (SetIn::Remove(number), None) => inserted & (1 << number) == 0,
            (SetIn::Remove(_), Some(_)) => false,
        };
        calls.iter().map(free).collect()
    }

    fn knows(f: &str) -> bool {
        matches!(f, "insert" | "remove" | "read")
    }

    fn input(invoke: &Op) -> Result<SetIn, String> {
        let number = invoke.value.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| *n < NUMBERS);
        match (invoke.f.as_str(), number) {
            ("insert", Some(number)) => Ok(SetIn::Insert(number)),
            ("remove", Some(number)) => Ok(SetIn::Remove(number)),
            ("read", None) if invoke.value.is_null() => Ok(SetIn::Read),
            _ => Err(format!("{} is not an argument of {}", invoke.value, invoke.f)),
        }
    }

    fn output(input: &SetIn, ok: &Op) -> Result<SetOut, String> {
        SetOut::parse(*input, &ok.value).ok_or_else(|| format!("{} is not an answer to {}", ok.value, ok.f))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_allows_exactly_the_right_answers() {
        let cases = [
            (0b01, SetIn::Insert(1), SetOut::Done, Some(0b11)),
            (0b11, SetIn::Remove(1), SetOut::Removed(true), Some(0b01)),
            (0b11, SetIn::Remove(1), SetOut::Removed(false), None),
            (0b01, SetIn::Remove(1), SetOut::Removed(false), Some(0b01)),
            (0b11, SetIn::Read, SetOut::Numbers(0b11), Some(0b11)),
            (0b11, SetIn::Read, SetOut::Numbers(0b01), None),
        ];
        for (state, input, output, expected) in cases {
            assert_eq!(Set::step(&state, &input, Some(&output)), expected, "{input:?} {output:?}");
        }
    }

    #[test]
    fn answers_round_trip_and_what_is_out_of_order_or_twice_is_none() {
        for (input, output) in [
            (SetIn::Read, SetOut::Numbers(1 << 127 | 5)),
            (SetIn::Insert(7), SetOut::Done),
            (SetIn::Remove(7), SetOut::Removed(true)),
        ] {
            assert_eq!(SetOut::parse(input, &output.value(input)), Some(output));
        }
        for value in [json!([2, 1]), json!([1, 1]), json!([128]), json!(["1"]), json!(null)] {
            assert_eq!(SetOut::parse(SetIn::Read, &value), None, "{value}");
        }
        assert_eq!(SetOut::parse(SetIn::Remove(1), &json!([2, true])), None);
    }
}
