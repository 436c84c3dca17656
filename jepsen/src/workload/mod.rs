//! Workloads: what clients ask of actors while things break, and what the answers mean.

mod bank;
mod client;
mod counter;
mod list;
mod register;
mod set;
mod slots;

pub use bank::BankWorkload;
pub use client::{Clients, Rhythm, final_reads, witness, work};
pub use counter::CounterWorkload;
pub use list::ListWorkload;
pub use register::RegisterWorkload;
pub use set::SetWorkload;

use std::sync::{Mutex, MutexGuard};

use clap::ValueEnum;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::slots::Slots;
use crate::{check::Required, generate::Object};

/// A workload by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Name {
    /// Reads, writes, compare-and-sets and destructions of single registers.
    Register,
    /// Transfers between the accounts of a bank, in one go and in transactions that wait, and reads of all accounts.
    Bank,
    /// Additions to single counters, and reads.
    Counter,
    /// Insertions and removals of numbers, and reads that list them all.
    Set,
    /// Items appended to a list, and reads that tell all of them in their order.
    List,
}

impl Name {
    /// As on the command line and in `run.json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Bank => "bank",
            Self::Counter => "counter",
            Self::Set => "set",
            Self::List => "list",
        }
    }
}

/// Shared by all workers of a run.
pub trait Workload: Default + Send + Sync + 'static {
    /// The model its histories are checked against.
    type Model: Object<Input: Copy + Send, Output: Clone + Send>;

    /// What is noted about an actor that is in use.
    type Note: Default + Send;

    /// The actor's class in `jepsen/actors`.
    const CLASS: &'static str;

    /// The actors of the run.
    fn slots(&self) -> &Mutex<Slots<Self::Note>>;

    /// The actor of a team of clients, by name, and what one of them is to ask of it.
    fn next(&self, team: usize, rng: &mut StdRng) -> (String, In<Self>);

    /// What reads an actor at the end.
    fn final_read() -> In<Self>;

    /// Arguments of the method that is named like the function.
    fn arguments(input: In<Self>) -> Value;

    /// What the method's result means; `None` if the actor's contract does not allow it.
    fn output(input: In<Self>, result: &Value) -> Option<Out<Self>>;

    /// What it means that the actor was destroyed before the call; `None` if it cannot be.
    fn destroyed(_input: In<Self>) -> Option<Out<Self>> {
        None
    }

    /// Takes note of an answer.
    fn saw(&self, _actor: &str, _input: In<Self>, _output: Out<Self>) {}

    /// The actors of the run, for one look.
    fn locked(&self) -> MutexGuard<'_, Slots<Self::Note>> {
        self.slots().lock().expect("no holder of this lock panics")
    }

    /// Takes note of a call of which nobody will ever know whether it was done.
    fn unanswered(&self, actor: &str) {
        self.locked().unanswered(actor);
    }

    /// Gives a team a new actor that it keeps until it is let go.
    fn keep(&self, team: usize) -> String {
        self.locked().keep(team)
    }

    /// The team's actor is replaced in its time again.
    fn let_go(&self, team: usize) {
        self.locked().let_go(team);
    }

    /// All actors that were asked anything.
    fn actors(&self) -> Vec<String> {
        self.locked().actors()
    }

    /// Adds what this workload, in particular, must have done.
    fn require(required: &mut Required);
}

/// Inputs of a workload.
pub type In<W> = <<W as Workload>::Model as crate::model::Model>::Input;
/// Outputs of a workload.
pub type Out<W> = <<W as Workload>::Model as crate::model::Model>::Output;
