//! Models: what one object would do if calls came one at a time. A checker asks whether a concurrent history could
//! have been such a sequence.

mod bank;
mod counter;
mod list;
mod register;
mod set;

use std::{collections::BTreeMap, fmt::Debug, hash::Hash};

use crate::history::{Kind, Op, Process};

pub use bank::{ACCOUNTS, Bank, BankIn, BankOut};
pub use counter::Counter;
pub use list::{List, ListIn, ListOut};
pub use register::{Register, RegisterIn, RegisterOut, State as RegisterState};
pub use set::{NUMBERS, Set, SetIn, SetOut};

/// One client call on one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call<I, O> {
    /// What was asked.
    pub input: I,
    /// What was answered; `None` when nobody knows whether it was done.
    pub output: Option<O>,
    /// History index of the invocation.
    pub invoked: u64,
    /// History index of the answer; `None` when the effect may come at any later time, or never.
    pub returned: Option<u64>,
}

/// A call of a model.
pub type CallOf<M> = Call<<M as Model>::Input, <M as Model>::Output>;

/// An answer that the actor's contract does not know. It is no violation of consistency: the run is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("op {index}: unexpected response: {what}")]
pub struct Unexpected {
    /// Index of the operation's completion (or invocation, if that is at fault).
    pub index: u64,
    /// What was wrong with it.
    pub what: String,
}

/// A sequential object.
pub trait Model {
    /// What it holds.
    type State: Clone + Eq + Hash + Debug;
    /// What can be asked.
    type Input: Clone + Debug + PartialEq;
    /// What can be answered.
    type Output: Clone + Debug + PartialEq;

    /// What it holds before the first call.
    fn initial() -> Self::State;

    /// What it holds after `input`, or `None` if it could not have answered `output` in this state.
    /// An unknown output is compatible with everything.
    fn step(state: &Self::State, input: &Self::Input, output: Option<&Self::Output>) -> Option<Self::State>;

    /// For each call, whether the history without it is linearizable whenever the whole is. All such calls may be
    /// removed together. Answer `false` when in doubt.
    fn droppable(calls: &[CallOf<Self>]) -> Vec<bool>;

    /// Whether the function is one of this model.
    fn knows(f: &str) -> bool;

    /// Reads a call's input from its invocation.
    fn input(invoke: &Op) -> Result<Self::Input, String>;

    /// Reads a call's output from its `ok` completion.
    fn output(input: &Self::Input, ok: &Op) -> Result<Self::Output, String>;
}

/// The calls of each key of a valid history. `fail`ed calls are left out: they surely were not done.
pub fn calls_by_key<M: Model>(history: &[Op]) -> Result<BTreeMap<String, Vec<CallOf<M>>>, Unexpected> {
    let mut open: BTreeMap<Process, (&Op, M::Input)> = BTreeMap::new();
    let mut keys: BTreeMap<String, Vec<CallOf<M>>> = BTreeMap::new();
    for op in history.iter().filter(|op| op.process != Process::Nemesis && M::knows(&op.f)) {
        let unexpected = |what| Unexpected { index: op.index, what };
        if op.kind == Kind::Invoke {
            open.insert(op.process, (op, M::input(op).map_err(unexpected)?));
            continue;
        }
        let Some((invoke, input)) = open.remove(&op.process) else {
            return Err(unexpected("it completes nothing".into()));
        };
        let (output, returned) = match op.kind {
            Kind::Ok => (Some(M::output(&input, op).map_err(unexpected)?), Some(op.index)),
            Kind::Info => (None, None),
            Kind::Fail | Kind::Invoke => continue,
        };
        let key = op.key.clone().unwrap_or_default();
        keys.entry(key).or_default().push(Call { input, output, invoked: invoke.index, returned });
    }
    Ok(keys)
}
