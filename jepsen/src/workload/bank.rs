//! Banks: money moves between the accounts of one actor, and none of it may get lost or made.

use std::sync::Mutex;

use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::{
    Workload,
    slots::{Life, Slots},
};
use crate::{
    check::Required,
    generate::Object,
    model::{Bank, BankIn, BankOut},
};

/// Unanswered changes may double the checker's work each, so there must not be many of them.
const LIFE: Life = Life { calls: 40..=160, unanswered_max: 8 };

/// The workload.
pub struct BankWorkload {
    slots: Mutex<Slots<()>>,
}

impl Default for BankWorkload {
    fn default() -> Self {
        Self { slots: Mutex::new(Slots::new(LIFE)) }
    }
}

impl Workload for BankWorkload {
    type Model = Bank;
    type Note = ();

    const CLASS: &'static str = "Bank";

    fn slots(&self) -> &Mutex<Slots<()>> {
        &self.slots
    }

    fn next(&self, team: usize, rng: &mut StdRng) -> (String, BankIn) {
        let actor = self.locked().next(team, rng).actor;
        (actor, Bank::random_input(rng, 0, None, false))
    }

    fn final_read() -> BankIn {
        BankIn::Read
    }

    fn arguments(input: BankIn) -> Value {
        match input {
            BankIn::Read => json!([]),
            BankIn::Transfer { from, to, amount } => json!([from, to, amount]),
        }
    }

    fn output(input: BankIn, result: &Value) -> Option<BankOut> {
        BankOut::parse(input, result)
    }

    fn require(required: &mut Required) {
        required.functions.extend(["read", "transfer"].map(str::to_string));
    }
}
