//! Objects that a simulated run can call: a second, straightforward implementation of each model.

use rand::{Rng, RngExt};
use serde_json::{Value, json};

use crate::model::{
    ACCOUNTS, Bank, BankIn, BankOut, Counter, List, ListIn, ListOut, Model, NUMBERS, Register, RegisterIn, RegisterOut,
    RegisterState, Set, SetIn, SetOut,
};

/// A model that can be simulated.
pub trait Object: Model {
    /// Something to ask. `fresh` is a number never used before, `hint` a value the object lately held.
    fn random_input(rng: &mut impl Rng, fresh: i64, hint: Option<i64>, destroy: bool) -> Self::Input;
    /// Does it.
    fn apply(state: &Self::State, input: &Self::Input) -> (Self::State, Self::Output);
    /// A value worth expecting in a compare-and-set.
    fn hint(state: &Self::State) -> Option<i64>;
    /// Function and `value` of the invocation.
    fn invocation(input: &Self::Input) -> (&'static str, Value);
    /// `value` of the answer.
    fn answer(input: &Self::Input, output: &Self::Output) -> Value;
}

impl Object for Register {
    fn random_input(rng: &mut impl Rng, fresh: i64, hint: Option<i64>, destroy: bool) -> RegisterIn {
        if destroy {
            return RegisterIn::Destroy;
        }
        match (rng.random_range(0..4), hint) {
            (0 | 1, _) => RegisterIn::Read,
            (2, Some(expected)) => RegisterIn::Cas(expected, fresh),
            _ => RegisterIn::Write(fresh),
        }
    }

    fn apply(state: &RegisterState, input: &RegisterIn) -> (RegisterState, RegisterOut) {
        let held = match state {
            RegisterState::Destroyed => return (RegisterState::Destroyed, RegisterOut::Destroyed),
            RegisterState::Live(held) => *held,
        };
        match *input {
            RegisterIn::Read => (state.clone(), RegisterOut::Value(held)),
            RegisterIn::Write(new) => (RegisterState::Live(Some(new)), RegisterOut::Done),
            RegisterIn::Cas(expected, new) if Some(expected) == held => {
                (RegisterState::Live(Some(new)), RegisterOut::Done)
            }
            RegisterIn::Cas(..) => (state.clone(), RegisterOut::Mismatch(held)),
            RegisterIn::Destroy => (RegisterState::Destroyed, RegisterOut::Done),
        }
    }

    fn hint(state: &RegisterState) -> Option<i64> {
        match state {
            RegisterState::Live(held) => *held,
            RegisterState::Destroyed => None,
        }
    }

    fn invocation(input: &RegisterIn) -> (&'static str, Value) {
        (input.f(), input.value())
    }

    fn answer(input: &RegisterIn, output: &RegisterOut) -> Value {
        output.value(*input)
    }
}

impl Object for Counter {
    fn random_input(rng: &mut impl Rng, _fresh: i64, _hint: Option<i64>, _destroy: bool) -> Option<i64> {
        rng.random_bool(0.5).then(|| rng.random_range(1..=5))
    }

    fn apply(state: &i64, input: &Option<i64>) -> (i64, i64) {
        let total = state + input.unwrap_or(0);
        (total, total)
    }

    fn hint(_state: &i64) -> Option<i64> {
        None
    }

    fn invocation(input: &Option<i64>) -> (&'static str, Value) {
        match input {
            Some(by) => ("add", json!(by)),
            None => ("read", Value::Null),
        }
    }

    fn answer(_input: &Option<i64>, output: &i64) -> Value {
        json!(output)
    }
}

impl Object for Bank {
    fn random_input(rng: &mut impl Rng, _fresh: i64, _hint: Option<i64>, _destroy: bool) -> BankIn {
        if rng.random_bool(0.4) {
            return BankIn::Read;
        }
        let from = rng.random_range(0..ACCOUNTS);
        let to = (from + rng.random_range(1..ACCOUNTS)) % ACCOUNTS;
        BankIn::Transfer { from, to, amount: rng.random_range(1..=40) }
    }

    fn apply(state: &[i64; ACCOUNTS], input: &BankIn) -> ([i64; ACCOUNTS], BankOut) {
        let mut accounts = *state;
        match *input {
            BankIn::Read => (accounts, BankOut::Balances(accounts)),
            BankIn::Transfer { from, to, amount } => {
                if accounts[from] - amount < 0 {
                    return (accounts, BankOut::Refused);
                }
                accounts[from] -= amount;
                accounts[to] += amount;
                (accounts, BankOut::Moved(accounts[from], accounts[to]))
            }
        }
    }

    fn hint(_state: &[i64; ACCOUNTS]) -> Option<i64> {
        None
    }

    fn invocation(input: &BankIn) -> (&'static str, Value) {
        input.invocation()
    }

    fn answer(_input: &BankIn, output: &BankOut) -> Value {
        output.value()
    }
}

impl Object for Set {
    fn random_input(rng: &mut impl Rng, fresh: i64, _hint: Option<i64>, _destroy: bool) -> SetIn {
        let number = u32::try_from(fresh).unwrap_or(NUMBERS).min(NUMBERS - 1);
        match rng.random_range(0..4) {
            0 | 1 => SetIn::Insert(number),
            2 => SetIn::Remove(rng.random_range(0..=number)),
            _ => SetIn::Read,
        }
    }

    fn apply(state: &u128, input: &SetIn) -> (u128, SetOut) {
        let has = |number: u32| state >> number & 1 == 1;
        match *input {
            SetIn::Insert(number) => (state | 1 << number, SetOut::Done),
            SetIn::Remove(number) if has(number) => (state ^ 1 << number, SetOut::Removed(true)),
            SetIn::Remove(_) => (*state, SetOut::Removed(false)),
            SetIn::Read => (*state, SetOut::Numbers(*state)),
        }
    }

    fn hint(_state: &u128) -> Option<i64> {
        None
    }

    fn invocation(input: &SetIn) -> (&'static str, Value) {
        input.invocation()
    }

    fn answer(input: &SetIn, output: &SetOut) -> Value {
        output.value(*input)
    }
}

impl Object for List {
    fn random_input(rng: &mut impl Rng, fresh: i64, _hint: Option<i64>, _destroy: bool) -> ListIn {
        match rng.random_bool(0.5) {
            true => ListIn::Append(u32::try_from(fresh).unwrap_or(u32::MAX)),
            false => ListIn::Read,
        }
    }

    fn apply(state: &Vec<u32>, input: &ListIn) -> (Vec<u32>, ListOut) {
        let mut items = state.clone();
        match *input {
            ListIn::Append(item) => {
                items.push(item);
                (items, ListOut::Done)
            }
            ListIn::Read => (items.clone(), ListOut::Items(items)),
        }
    }

    fn hint(_state: &Vec<u32>) -> Option<i64> {
        None
    }

    fn invocation(input: &ListIn) -> (&'static str, Value) {
        input.invocation()
    }

    fn answer(input: &ListIn, output: &ListOut) -> Value {
        output.value(*input)
    }
}
