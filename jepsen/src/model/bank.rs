//! A bank: accounts that start with the same balance, transfers between them, reads of all.
//!
//! | f | `value` invoked | `value` of `ok` |
//! |---|---|---|
//! | `read` | `null` | all balances |
//! | `transfer` | `[from, to, amount]` | `[left, arrived]`, the two new balances, or `null` if there was not enough |

use serde_json::{Value, json};

use super::{CallOf, Model};
use crate::history::Op;

/// Accounts of a bank.
pub const ACCOUNTS: usize = 5;
/// What each holds at first.
pub const OPENING_BALANCE: i64 = 100;

/// The model.
#[derive(Clone, Debug)]
pub enum Bank {}

/// What all accounts hold.
pub type Balances = [i64; ACCOUNTS];

/// What can be asked of a bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BankIn {
    /// All balances?
    Read,
    /// Move money between two different accounts.
    Transfer {
        /// Loses it.
        from: usize,
        /// Gets it.
        to: usize,
        /// How much, more than 0.
        amount: i64,
    },
}

/// What a bank answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BankOut {
    /// All balances.
    Balances(Balances),
    /// Moved; the two new balances.
    Moved(i64, i64),
    /// There was not enough.
    Refused,
}

impl BankIn {
    /// The function's name and the `value` of the invocation.
    pub fn invocation(self) -> (&'static str, Value) {
        match self {
            Self::Read => ("read", Value::Null),
            Self::Transfer { from, to, amount } => ("transfer", json!([from, to, amount])),
        }
    }
}

impl BankOut {
    /// The `value` of the `ok` completion.
    pub fn value(self) -> Value {
        match self {
            Self::Balances(balances) => json!(balances),
            Self::Moved(left, arrived) => json!([left, arrived]),
            Self::Refused => Value::Null,
        }
    }

    /// What `value` means as an answer to `input`; `None` if it is none.
    pub fn parse(input: BankIn, value: &Value) -> Option<Self> {
        let numbers = || value.as_array()?.iter().map(Value::as_i64).collect::<Option<Vec<_>>>();
        match input {
            BankIn::Read => numbers()?.try_into().ok().map(Self::Balances),
            BankIn::Transfer { .. } if value.is_null() => Some(Self::Refused),
            BankIn::Transfer { .. } => match numbers()?[..] {
                [left, arrived] => Some(Self::Moved(left, arrived)),
                _ => None,
            },
        }
    }
}

impl Model for Bank {
    type State = Balances;
    type Input = BankIn;
    type Output = BankOut;

    fn initial() -> Balances {
        [OPENING_BALANCE; ACCOUNTS]
    }

    fn step(state: &Balances, input: &BankIn, output: Option<&BankOut>) -> Option<Balances> {
        let (next, right) = match *input {
            BankIn::Read => (*state, BankOut::Balances(*state)),
            BankIn::Transfer { from, amount, .. } if state[from] < amount => (*state, BankOut::Refused),
            BankIn::Transfer { from, to, amount } => {
                let mut next = *state;
                next[from] -= amount;
                next[to] += amount;
                (next, BankOut::Moved(next[from], next[to]))
            }
        };
        output.is_none_or(|output| *output == right).then_some(next)
    }

    /// Calls that only look may go; a transfer is part of all later balances.
    fn droppable(calls: &[CallOf<Self>]) -> Vec<bool> {
        let looks = |call: &CallOf<Self>| call.input == BankIn::Read || call.output == Some(BankOut::Refused);
        calls.iter().map(looks).collect()
    }

    fn knows(f: &str) -> bool {
        matches!(f, "read" | "transfer")
    }

    fn input(invoke: &Op) -> Result<BankIn, String> {
        let wrong = || format!("{} is not an argument of {}", invoke.value, invoke.f);
        if invoke.f == "read" && invoke.value.is_null() {
            return Ok(BankIn::Read);
        }
        let parts: Option<Vec<u32>> = serde_json::from_value(invoke.value.clone()).ok();
        match parts.as_deref() {
            Some(&[from, to, amount]) if from != to && (from.max(to) as usize) < ACCOUNTS && amount > 0 => {
                Ok(BankIn::Transfer { from: from as usize, to: to as usize, amount: amount.into() })
            }
            _ => Err(wrong()),
        }
    }

    fn output(input: &BankIn, ok: &Op) -> Result<BankOut, String> {
        BankOut::parse(*input, &ok.value).ok_or_else(|| format!("{} is not an answer to {}", ok.value, ok.f))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_allows_exactly_the_right_answers() {
        let transfer = |amount| BankIn::Transfer { from: 0, to: 2, amount };
        let (start, moved) = (Bank::initial(), [60, 100, 140, 100, 100]);
        let cases = [
            (BankIn::Read, BankOut::Balances(start), Some(start)),
            (BankIn::Read, BankOut::Balances(moved), None),
            (transfer(40), BankOut::Moved(60, 140), Some(moved)),
            (transfer(40), BankOut::Moved(60, 100), None),
            (transfer(40), BankOut::Refused, None),
            (transfer(101), BankOut::Refused, Some(start)),
            (transfer(101), BankOut::Moved(-1, 201), None),
        ];
        for (input, output, expected) in cases {
            assert_eq!(Bank::step(&start, &input, Some(&output)), expected, "{input:?} {output:?}");
        }
        assert_eq!(Bank::step(&start, &transfer(40), None), Some(moved));
        assert_eq!(Bank::step(&start, &transfer(101), None), Some(start));
    }

    #[test]
    fn answers_round_trip_through_their_json() {
        let transfer = BankIn::Transfer { from: 0, to: 1, amount: 5 };
        for (input, output) in [
            (BankIn::Read, BankOut::Balances([1, 2, 3, 4, 5])),
            (transfer, BankOut::Moved(95, 105)),
            (transfer, BankOut::Refused),
        ] {
            assert_eq!(BankOut::parse(input, &output.value()), Some(output));
        }
        for (input, value) in [(BankIn::Read, json!([1, 2])), (BankIn::Read, json!(null)), (transfer, json!([1]))] {
            assert_eq!(BankOut::parse(input, &value), None);
        }
    }
}
