//! A register that can be destroyed: read, write, compare-and-set, destroy.
//!
//! | f | `value` invoked | `value` of `ok` |
//! |---|---|---|
//! | `read` | `null` | the value, or `null` before the first write |
//! | `write` | the new value, an integer never used before | the same |
//! | `cas` | `[expected, new]` | `[expected, new]` if swapped, `[expected, new, seen]` if it held `seen` instead |
//! | `destroy` | `null` | `null` |
//!
//! Any of them may be answered `"destroyed"`: then it was not done, and the register stays destroyed for ever. A change
//! that was under way when its register was destroyed may have been done before that: it is `info`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{CallOf, Model};
use crate::history::Op;

/// The model.
#[derive(Clone, Debug)]
pub enum Register {}

/// What a register holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// A value, or none yet.
    Live(Option<i64>),
    /// Nothing, for ever.
    Destroyed,
}

/// What can be asked of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterIn {
    /// Its value?
    Read,
    /// Hold this.
    Write(i64),
    /// Hold the second if you hold the first.
    Cas(i64, i64),
    /// Be gone.
    Destroy,
}

/// What a register answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterOut {
    /// The value read.
    Value(Option<i64>),
    /// Written, swapped, destroyed.
    Done,
    /// Not swapped: it held this.
    Mismatch(Option<i64>),
    /// It was already destroyed.
    Destroyed,
}

impl RegisterIn {
    /// The function's name.
    pub fn f(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write(_) => "write",
            Self::Cas(..) => "cas",
            Self::Destroy => "destroy",
        }
    }

    /// The `value` of the invocation.
    pub fn value(self) -> Value {
        match self {
            Self::Read | Self::Destroy => Value::Null,
            Self::Write(new) => json!(new),
            Self::Cas(expected, new) => json!([expected, new]),
        }
    }
}

impl RegisterOut {
    /// The `value` of the `ok` completion of `input`.
    pub fn value(self, input: RegisterIn) -> Value {
        match (self, input) {
            (Self::Value(seen), _) => json!(seen),
            (Self::Done, input) => input.value(),
            (Self::Mismatch(seen), RegisterIn::Cas(expected, new)) => json!([expected, new, seen]),
            (Self::Mismatch(seen), _) => json!(seen),
            (Self::Destroyed, _) => json!("destroyed"),
        }
    }
}

impl Model for Register {
    type State = State;
    type Input = RegisterIn;
    type Output = RegisterOut;

    fn initial() -> State {
        State::Live(None)
    }

    fn step(state: &State, input: &RegisterIn, output: Option<&RegisterOut>) -> Option<State> {
        let State::Live(held) = *state else {
            let possible = match (input, output) {
                (_, None | Some(RegisterOut::Destroyed)) => true,
                // Destroying twice is done both times.
                (input, Some(RegisterOut::Done)) => *input == RegisterIn::Destroy,
                (_, Some(RegisterOut::Value(_) | RegisterOut::Mismatch(_))) => false,
            };
            return possible.then_some(State::Destroyed);
        };
        let next = match *input {
            RegisterIn::Read => State::Live(held),
            RegisterIn::Write(new) => State::Live(Some(new)),
            RegisterIn::Cas(expected, new) if held == Some(expected) => State::Live(Some(new)),
            RegisterIn::Cas(..) => State::Live(held),
            RegisterIn::Destroy => State::Destroyed,
        };
        let possible = match (input, output) {
            (_, None) => true,
            (RegisterIn::Read, Some(RegisterOut::Value(seen))) => *seen == held,
            (RegisterIn::Cas(expected, _), Some(RegisterOut::Mismatch(seen))) => {
                *seen == held && held != Some(*expected)
            }
            (RegisterIn::Cas(expected, _), Some(RegisterOut::Done)) => held == Some(*expected),
            (RegisterIn::Write(_) | RegisterIn::Destroy, Some(RegisterOut::Done)) => true,
            (_, Some(_)) => false,
        };
        possible.then_some(next)
    }

    /// Calls that only look may always go. A call that writes may go if nobody mentions its value: no other call was
    /// answered with it or expects it. A destroy may go if nobody saw it.
    fn droppable(calls: &[CallOf<Self>]) -> Vec<bool> {
        let mut mentioned = BTreeSet::new();
        let mut destroyed_seen = false;
        for call in calls {
            match call.output {
                Some(RegisterOut::Value(seen) | RegisterOut::Mismatch(seen)) => mentioned.extend(seen),
                Some(RegisterOut::Destroyed) => destroyed_seen = true,
                Some(RegisterOut::Done) | None => {}
            }
            if let RegisterIn::Cas(expected, _) = call.input {
                mentioned.insert(expected);
            }
        }
        let only_looks = |output| matches!(output, Some(RegisterOut::Mismatch(_) | RegisterOut::Destroyed));
        let free = |call: &CallOf<Self>| match call.input {
            RegisterIn::Read => true,
            _ if only_looks(call.output) => true,
            RegisterIn::Write(new) | RegisterIn::Cas(_, new) => !mentioned.contains(&new),
            RegisterIn::Destroy => !destroyed_seen,
        };
        calls.iter().map(free).collect()
    }

    fn knows(f: &str) -> bool {
        matches!(f, "read" | "write" | "cas" | "destroy")
    }

    fn input(invoke: &Op) -> Result<RegisterIn, String> {
        let wrong = || format!("{} is not an argument of {}", invoke.value, invoke.f);
        match (invoke.f.as_str(), &invoke.value) {
            ("read", Value::Null) => Ok(RegisterIn::Read),
            ("destroy", Value::Null) => Ok(RegisterIn::Destroy),
            ("write", value) => value.as_i64().map(RegisterIn::Write).ok_or_else(wrong),
            ("cas", Value::Array(pair)) => match pair.iter().map(Value::as_i64).collect::<Option<Vec<_>>>() {
                Some(pair) if pair.len() == 2 => Ok(RegisterIn::Cas(pair[0], pair[1])),
                Some(_) | None => Err(wrong()),
            },
            _ => Err(wrong()),
        }
    }

    fn output(input: &RegisterIn, ok: &Op) -> Result<RegisterOut, String> {
        let wrong = || format!("{} is not an answer to {}", ok.value, ok.f);
        let seen = |value: &Value| match value {
            Value::Null => Ok(None),
            value => value.as_i64().map(Some).ok_or_else(wrong),
        };
        if ok.value == "destroyed" {
            return Ok(RegisterOut::Destroyed);
        }
        match (input, &ok.value) {
            (RegisterIn::Read, value) => seen(value).map(RegisterOut::Value),
            (RegisterIn::Destroy, Value::Null) => Ok(RegisterOut::Done),
            (RegisterIn::Write(new), value) if value.as_i64() == Some(*new) => Ok(RegisterOut::Done),
            (RegisterIn::Cas(..), Value::Array(parts)) if parts.len() == 2 => Ok(RegisterOut::Done),
            (RegisterIn::Cas(..), Value::Array(parts)) if parts.len() == 3 => {
                seen(&parts[2]).map(RegisterOut::Mismatch)
            }
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Call;

    #[test]
    fn each_step_allows_exactly_the_right_answers() {
        use RegisterIn::*;
        use RegisterOut::*;
        let one = State::Live(Some(1));
        let cases = [
            (State::Live(None), Read, Value(None), Some(State::Live(None))),
            (State::Live(None), Read, Value(Some(1)), None),
            (one.clone(), Read, Value(Some(1)), Some(one.clone())),
            (one.clone(), Read, Value(None), None),
            (one.clone(), Write(2), Done, Some(State::Live(Some(2)))),
            (one.clone(), Cas(1, 2), Done, Some(State::Live(Some(2)))),
            (one.clone(), Cas(3, 2), Done, None),
            (one.clone(), Cas(3, 2), Mismatch(Some(1)), Some(one.clone())),
            (one.clone(), Cas(1, 2), Mismatch(Some(1)), None),
            (one.clone(), Read, Destroyed, None),
            (one.clone(), Destroy, Done, Some(State::Destroyed)),
            (State::Destroyed, Read, Destroyed, Some(State::Destroyed)),
            (State::Destroyed, Read, Value(Some(1)), None),
            (State::Destroyed, Write(2), Done, None),
            (State::Destroyed, Destroy, Done, Some(State::Destroyed)),
        ];
        for (state, input, output, expected) in cases {
            let next = Register::step(&state, &input, Some(&output));
            assert_eq!(next, expected, "{state:?} {input:?} {output:?}");
        }
    }

    #[test]
    fn only_unmentioned_writes_and_calls_that_look_may_be_dropped() {
        let call = |input, output| Call { input, output, invoked: 0, returned: Some(1) };
        let calls = [
            call(RegisterIn::Write(1), Some(RegisterOut::Done)),
            call(RegisterIn::Write(2), Some(RegisterOut::Done)),
            call(RegisterIn::Cas(2, 3), None),
            call(RegisterIn::Read, Some(RegisterOut::Value(Some(3)))),
            call(RegisterIn::Destroy, None),
        ];
        assert_eq!(Register::droppable(&calls), [true, false, false, true, true]);
    }
}
