//! Checks the form of a history. A checker may be misled by a malformed history, so none sees one.

use std::collections::{BTreeMap, BTreeSet};

use super::{Kind, Op, Process};

/// What is wrong with the form of a history.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Indices are not 0, 1, 2, ...
    #[error("line {place} has index {index}: indices must be dense from 0")]
    Index {
        /// Line, from 0.
        place: usize,
        /// The index it has.
        index: u64,
    },
    /// Time went backwards.
    #[error("op {index}: time goes backwards")]
    Time {
        /// Its index.
        index: u64,
    },
    /// A process invoked while its last operation was open.
    #[error("op {index}: process {process:?} invokes while its last operation is open")]
    TwoOpen {
        /// Its index.
        index: u64,
        /// The process.
        process: Process,
    },
    /// An answer without a question, or with another function, key or way than the question.
    #[error("op {index}: completes nothing that process {process:?} invoked")]
    NoInvoke {
        /// Its index.
        index: u64,
        /// The process.
        process: Process,
    },
    /// A process went on after an `info`.
    #[error("op {index}: process {process:?} was retired by an info")]
    Retired {
        /// Its index.
        index: u64,
        /// The process.
        process: Process,
    },
    /// An operation has no completion.
    #[error("op {index} is never completed")]
    Dangling {
        /// Index of the invocation.
        index: u64,
    },
    /// A line of the nemesis is not `info`.
    #[error("op {index}: the nemesis only has info lines")]
    Nemesis {
        /// Its index.
        index: u64,
    },
    /// A client's operation names no key.
    #[error("op {index}: no key")]
    NoKey {
        /// Its index.
        index: u64,
    },
    /// Two operations write the same value to one key, so a read of it proves nothing.
    #[error("op {index}: value {value} was already written to key {key:?}")]
    ValueTwice {
        /// Index of the second invocation.
        index: u64,
        /// The key.
        key: String,
        /// The value, as JSON.
        value: String,
    },
}

/// Checks the form of a whole history; the first defect is returned.
pub fn validate(history: &[Op]) -> Result<(), Malformed> {
    let mut open: BTreeMap<Process, &Op> = BTreeMap::new();
    let mut retired = BTreeSet::new();
    let mut written: BTreeSet<(&str, String)> = BTreeSet::new();
    let mut time = 0;
    for (place, op) in history.iter().enumerate() {
        let (index, process) = (op.index, op.process);
        if index != place as u64 {
            return Err(Malformed::Index { place, index });
        }
        if op.time < time {
            return Err(Malformed::Time { index });
        }
        time = op.time;
        if process == Process::Nemesis {
            if op.kind != Kind::Info {
                return Err(Malformed::Nemesis { index });
            }
            continue;
        }
        let Some(key) = op.key.as_deref() else { return Err(Malformed::NoKey { index }) };
        if retired.contains(&process) {
            return Err(Malformed::Retired { index, process });
        }
        match op.kind {
            Kind::Invoke => {
                if open.insert(process, op).is_some() {
                    return Err(Malformed::TwoOpen { index, process });
                }
                if let Some(value) = written_value(op)
                    && !written.insert((key, value.clone()))
                {
                    return Err(Malformed::ValueTwice { index, key: key.to_string(), value });
                }
            }
            Kind::Ok | Kind::Fail | Kind::Info => {
                let matches = open
                    .remove(&process)
                    .is_some_and(|invoke| invoke.f == op.f && invoke.key == op.key && invoke.node == op.node);
                if !matches {
                    return Err(Malformed::NoInvoke { index, process });
                }
                if op.kind == Kind::Info {
                    retired.insert(process);
                }
            }
        }
    }
    match open.values().map(|op| op.index).min() {
        Some(index) => Err(Malformed::Dangling { index }),
        None => Ok(()),
    }
}

/// The value an invocation would leave behind, if it writes one. Counters add the same value often, so `add` is not here.
fn written_value(op: &Op) -> Option<String> {
    match op.f.as_str() {
        "write" => Some(op.value.to_string()),
        "cas" => op.value.get(1).map(|value| value.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn op(index: u64, process: u64, kind: Kind, f: &str, value: Value) -> Op {
        Op {
            index,
            time: index,
            process: Process::Client(process),
            kind,
            f: f.into(),
            key: Some("a".into()),
            value,
            error: None,
            node: None,
        }
    }

    #[test]
    fn a_well_formed_history_passes() {
        let nemesis = Op { process: Process::Nemesis, key: None, ..op(2, 0, Kind::Info, "kill", json!(null)) };
        let history = [
            op(0, 0, Kind::Invoke, "write", json!(1)),
            op(1, 1, Kind::Invoke, "read", json!(null)),
            nemesis,
            op(3, 1, Kind::Ok, "read", json!(1)),
            op(4, 0, Kind::Info, "write", json!(1)),
            op(5, 1, Kind::Invoke, "cas", json!([1, 2])),
            op(6, 1, Kind::Fail, "cas", json!([1, 2])),
        ];
        assert_eq!(validate(&history), Ok(()));
    }

    #[test]
    fn each_defect_of_form_is_named() {
        let process = Process::Client(0);
        let invoke = op(0, 0, Kind::Invoke, "write", json!(1));
        let ok = op(1, 0, Kind::Ok, "write", json!(1));
        let cases = [
            (vec![Op { index: 1, ..invoke.clone() }], Malformed::Index { place: 0, index: 1 }),
            (vec![invoke.clone(), Op { index: 2, ..ok.clone() }], Malformed::Index { place: 1, index: 2 }),
            (vec![Op { time: 9, ..invoke.clone() }, ok.clone()], Malformed::Time { index: 1 }),
            (
                vec![invoke.clone(), op(1, 0, Kind::Invoke, "read", json!(null))],
                Malformed::TwoOpen { index: 1, process },
            ),
            (vec![op(0, 0, Kind::Ok, "write", json!(1))], Malformed::NoInvoke { index: 0, process }),
            (
                vec![invoke.clone(), Op { key: Some("b".into()), ..ok.clone() }],
                Malformed::NoInvoke { index: 1, process },
            ),
            (
                vec![
                    invoke.clone(),
                    op(1, 0, Kind::Info, "write", json!(1)),
                    op(2, 0, Kind::Invoke, "read", json!(null)),
                ],
                Malformed::Retired { index: 2, process },
            ),
            (vec![invoke.clone()], Malformed::Dangling { index: 0 }),
            (vec![Op { process: Process::Nemesis, ..invoke.clone() }], Malformed::Nemesis { index: 0 }),
            (vec![Op { key: None, ..invoke.clone() }], Malformed::NoKey { index: 0 }),
            (
                vec![invoke.clone(), ok.clone(), op(2, 0, Kind::Invoke, "cas", json!([1, 1]))],
                Malformed::ValueTwice { index: 2, key: "a".into(), value: "1".into() },
            ),
        ];
        for (history, expected) in cases {
            assert_eq!(validate(&history), Err(expected));
        }
    }
}
