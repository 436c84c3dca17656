//! Checks a whole history for linearizability: each key is an object of its own and is searched alone.

use serde::{Deserialize, Serialize};

use super::{
    Verdict,
    counterexample::shrink,
    wgl::{Effort, Search, search},
};
use crate::{
    history::Op,
    model::{CallOf, Model, Unexpected, calls_by_key},
};

/// Keys whose counter-example is printed in full; the others are only named.
const SHOWN_MAX: usize = 3;

/// What the checker found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Objects checked.
    pub keys: usize,
    /// Calls checked; `fail`ed ones are not among them.
    pub calls: usize,
    /// Calls of the key with the most.
    pub calls_per_key_max: usize,
    /// Over all keys.
    pub verdict: Verdict,
}

/// Searches every key of a valid history. The effort is per key.
pub fn linearizable<M: Model>(history: &[Op], effort: Effort) -> Result<Report, Unexpected> {
    let keys = calls_by_key::<M>(history)?;
    let (mut verdict, mut shown) = (Verdict::Valid, 0);
    for (key, calls) in &keys {
        let calls = relevant::<M>(calls);
        let of_key = match search::<M>(&calls, effort) {
            Search::Linearizable(_) => Verdict::Valid,
            Search::GaveUp(why) => Verdict::Unknown(format!("key {key}: {why} ({} calls)", calls.len())),
            Search::Impossible(_) => {
                shown += 1;
                let small = if shown <= SHOWN_MAX { shrink::<M>(&calls, effort).to_string() } else { String::new() };
                Verdict::Violation(format!("key {key} is not linearizable\n{small}"))
            }
        };
        verdict = verdict.and(of_key);
    }
    let sizes = keys.values().map(Vec::len);
    Ok(Report { keys: keys.len(), calls: sizes.clone().sum(), calls_per_key_max: sizes.max().unwrap_or(0), verdict })
}

/// Without the unanswered calls that explain nothing: they double the work each and cannot change the result.
fn relevant<M: Model>(calls: &[CallOf<M>]) -> Vec<CallOf<M>> {
    let droppable = M::droppable(calls);
    let keep = |(call, droppable): (&CallOf<M>, bool)| (call.returned.is_some() || !droppable).then(|| call.clone());
    calls.iter().zip(droppable).filter_map(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{history::Kind, history::Writer, model::Register};
    use serde_json::json;

    #[test]
    fn one_bad_key_among_good_ones_is_named() {
        let writer = Writer::create(None).unwrap();
        let process = writer.new_process();
        for (key, seen) in [("good", 1), ("bad", 2)] {
            let pending = writer.invoke(process, "write", key, json!(1), "n1");
            writer.complete(pending, Kind::Ok, json!(1), None);
            let pending = writer.invoke(process, "read", key, json!(null), "n1");
            writer.complete(pending, Kind::Ok, json!(seen), None);
        }
        let report = linearizable::<Register>(&writer.finish().unwrap(), Effort::default()).unwrap();
        let Verdict::Violation(why) = report.verdict else { panic!("{report:?}") };
        assert!(why.contains("key bad is not linearizable") && !why.contains("key good"), "{why}");
        assert_eq!((report.keys, report.calls, report.calls_per_key_max), (2, 4, 2));
    }

    #[test]
    fn a_failed_write_that_is_read_all_the_same_is_a_violation() {
        let writer = Writer::create(None).unwrap();
        let process = writer.new_process();
        let pending = writer.invoke(process, "write", "a", json!(1), "n1");
        writer.complete(pending, Kind::Fail, json!(1), Some("refused".into()));
        let pending = writer.invoke(process, "read", "a", json!(null), "n1");
        writer.complete(pending, Kind::Ok, json!(1), None);
        let report = linearizable::<Register>(&writer.finish().unwrap(), Effort::default()).unwrap();
        assert!(matches!(report.verdict, Verdict::Violation(_)), "{report:?}");
    }

    #[test]
    fn an_answer_outside_the_contract_is_unexpected() {
        let writer = Writer::create(None).unwrap();
        let pending = writer.invoke(writer.new_process(), "read", "a", json!(null), "n1");
        writer.complete(pending, Kind::Ok, json!("banana"), None);
        let error = linearizable::<Register>(&writer.finish().unwrap(), Effort::default()).unwrap_err();
        assert_eq!(error.to_string(), r#"op 1: unexpected response: "banana" is not an answer to read"#);
    }
}
