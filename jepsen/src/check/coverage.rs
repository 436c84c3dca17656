//! Coverage: whether a run did enough for a clean history to mean anything.
//!
//! A run in which nothing happened, nothing overlapped or nothing was broken passes every checker. So each run is
//! measured, and a run below what is [`Required`] is unknown, however clean its history looks.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Verdict;
use crate::history::{Kind, Op, Process};

/// Outcomes of one function, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcomes {
    /// Answered.
    pub ok: u64,
    /// Surely not done.
    pub fail: u64,
    /// Nobody knows.
    pub info: u64,
}

impl Outcomes {
    /// How many were invoked.
    pub fn total(&self) -> u64 {
        self.ok + self.fail + self.info
    }

    /// Share of `ok`, 0 to 1.
    pub fn ok_share(&self) -> f64 {
        share(self.ok, self.total())
    }
}

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    /// All client operations.
    pub all: Outcomes,
    /// By function.
    pub by_f: BTreeMap<String, Outcomes>,
    /// By way.
    pub by_node: BTreeMap<String, Outcomes>,
    /// Seconds from the first line to the last.
    pub seconds: f64,
    /// Median over invocations of how many operations were then open on the same key, itself included.
    pub overlap_median: u64,
    /// Share of answered reads that overlapped a change of the same key, 0 to 1.
    pub reads_beside_changes: f64,
    /// Share of answered compare-and-sets that swapped, 0 to 1.
    pub cas_swapped: f64,
    /// Faults by name that were confirmed to be installed.
    pub faults: BTreeMap<String, u64>,
    /// Operations answered in each stretch between faults, in order.
    pub ok_between_faults: Vec<u64>,
    /// Longest time in which nothing was answered, seconds.
    #[serde(default)]
    pub silence_max: f64,
}

/// What a run must have done to count.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Required {
    /// Answered operations in a second, over the whole run.
    pub ok_per_second: f64,
    /// Share answered, 0 to 1.
    pub ok_share: f64,
    /// Operations answered in the stretches between faults, on average: a measure that no slow machine misses.
    #[serde(default)]
    pub ok_per_stretch: u64,
    /// Functions that must each have been answered.
    pub functions: BTreeSet<String>,
    /// Ways that must each have answered.
    pub nodes: BTreeSet<String>,
    /// See [`Coverage::overlap_median`].
    pub overlap_median: u64,
    /// See [`Coverage::reads_beside_changes`].
    pub reads_beside_changes: f64,
    /// See [`Coverage::cas_swapped`]; both ends.
    pub cas_swapped: (f64, f64),
    /// Faults that must have been installed, and how often.
    pub faults: BTreeMap<String, u64>,
    /// If there are any, some operation must be `info`. Not so where all of them are orderly: to cut nobody off is what
    /// is promised of those.
    #[serde(default = "unless_told")]
    pub interrupts: bool,
}

/// Runs that were recorded before it was told had to interrupt something.
fn unless_told() -> bool {
    true
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn is_change(f: &str) -> bool {
    matches!(f, "write" | "cas" | "add" | "append" | "insert" | "remove" | "transfer" | "destroy")
}

/// Whether a call that was answered like this surely changed its actor.
pub fn has_changed(f: &str, answer: &serde_json::Value) -> bool {
    match f {
        // [expected, new] when it swapped, [expected, new, found] when it did not.
        "cas" => answer.as_array().is_some_and(|parts| parts.len() == 2),
        "write" | "add" | "append" | "insert" => answer.is_number(),
        // Null when it was refused.
        "transfer" => answer.is_array(),
        "remove" => answer.get(1).and_then(serde_json::Value::as_bool).unwrap_or(false),
        _ => false,
    }
}

/// Measures a valid history.
pub fn measure(history: &[Op]) -> Coverage {
    let mut coverage = Coverage { ok_between_faults: vec![0], ..Coverage::default() };
    let mut open: BTreeMap<Process, usize> = BTreeMap::new();
    let (mut overlaps, mut beside) = (Vec::new(), BTreeSet::new());
    let (mut swapped, mut compared) = (0, 0);
    let mut answered_at = history.first().map_or(0, |op| op.time);
    for (at, op) in history.iter().enumerate() {
        if op.process == Process::Nemesis {
            count_fault(&mut coverage, op);
            continue;
        }
        if op.kind == Kind::Invoke {
            let same_key = || open.iter().filter(|(_, other)| history[**other].key == op.key);
            overlaps.push(1 + same_key().count() as u64);
            if op.f == "read" && same_key().any(|(_, other)| is_change(&history[*other].f)) {
                beside.insert(op.process);
            }
            if is_change(&op.f) {
                beside
                    .extend(same_key().filter(|(_, other)| history[**other].f == "read").map(|(process, _)| *process));
            }
            open.insert(op.process, at);
            continue;
        }
        open.remove(&op.process);
        let overlapped = beside.remove(&op.process);
        let of_f = coverage.by_f.entry(op.f.clone()).or_default();
        let of_node = coverage.by_node.entry(op.node.clone().unwrap_or_default()).or_default();
        for outcomes in [&mut coverage.all, of_f, of_node] {
            match op.kind {
                Kind::Ok => outcomes.ok += 1,
                Kind::Fail => outcomes.fail += 1,
                Kind::Info | Kind::Invoke => outcomes.info += 1,
            }
        }
        if op.kind == Kind::Ok {
            let silence = (op.time - std::mem::replace(&mut answered_at, op.time)) as f64 / 1e9;
            coverage.silence_max = coverage.silence_max.max(silence);
            *coverage.ok_between_faults.last_mut().expect("starts with one") += 1;
            coverage.reads_beside_changes += f64::from(u8::from(op.f == "read" && overlapped));
            if op.f == "cas"
                && let Some(parts) = op.value.as_array()
            {
                compared += 1;
                swapped += u64::from(parts.len() == 2);
            }
        }
    }
    let reads = coverage.by_f.get("read").map_or(0, |outcomes| outcomes.ok);
    coverage.reads_beside_changes = if reads == 0 { 0.0 } else { coverage.reads_beside_changes / reads as f64 };
    coverage.cas_swapped = share(swapped, compared);
    overlaps.sort_unstable();
    coverage.overlap_median = overlaps.get(overlaps.len() / 2).copied().unwrap_or(0);
    if let (Some(first), Some(last)) = (history.first(), history.last()) {
        coverage.seconds = (last.time - first.time) as f64 / 1e9;
    }
    coverage
}

/// A fault counts when the nemesis saw it take effect; each one ends a stretch.
fn count_fault(coverage: &mut Coverage, op: &Op) {
    if op.value.get("status").and_then(|status| status.as_str()) == Some("installed") {
        *coverage.faults.entry(op.f.clone()).or_default() += 1;
        coverage.ok_between_faults.push(0);
    }
}

impl Required {
    /// Valid if `coverage` reaches everything, else unknown with all that is missing.
    pub fn check(&self, coverage: &Coverage) -> Verdict {
        let mut missing = Vec::new();
        let mut want = |met: bool, what: String| {
            if !met {
                missing.push(what);
            }
        };
        let per_second = coverage.all.ok as f64 / coverage.seconds.max(1e-9);
        want(coverage.all.ok > 0, "nothing was answered".into());
        want(
            per_second >= self.ok_per_second,
            format!("{per_second:.1} answered operations a second, {} required", self.ok_per_second),
        );
        let ok_share = coverage.all.ok_share();
        want(ok_share >= self.ok_share, format!("{ok_share:.2} of operations answered, {} required", self.ok_share));
        let stretches = coverage.ok_between_faults.len().max(1) as u64;
        want(
            coverage.all.ok / stretches >= self.ok_per_stretch,
            format!(
                "{} operations answered between faults, {} required",
                coverage.all.ok / stretches,
                self.ok_per_stretch
            ),
        );
        for (kind, names, found) in
            [("function", &self.functions, &coverage.by_f), ("way", &self.nodes, &coverage.by_node)]
        {
            for name in names {
                let ok = found.get(name).map_or(0, |outcomes| outcomes.ok);
                want(ok > 0, format!("{kind} {name} was never answered"));
            }
        }
        want(
            coverage.overlap_median >= self.overlap_median,
            format!("median overlap {}, {} required", coverage.overlap_median, self.overlap_median),
        );
        want(
            coverage.reads_beside_changes >= self.reads_beside_changes,
            format!(
                "{:.2} of reads overlap a change, {} required",
                coverage.reads_beside_changes, self.reads_beside_changes
            ),
        );
        let (low, high) = self.cas_swapped;
        want(
            (low..=high).contains(&coverage.cas_swapped),
            format!("{:.2} of compare-and-sets swapped, {low} to {high} required", coverage.cas_swapped),
        );
        for (fault, times) in &self.faults {
            let installed = coverage.faults.get(fault).copied().unwrap_or(0);
            want(installed >= *times, format!("fault {fault} installed {installed} times, {times} required"));
        }
        if self.faults.values().any(|times| *times > 0) {
            want(
                coverage.all.info > 0 || !self.interrupts,
                "the faults interrupted nothing: no operation is info".into(),
            );
            let last = coverage.ok_between_faults.last().copied().unwrap_or(0);
            want(last > 0, "nothing was answered after the last fault".into());
        }
        if missing.is_empty() { Verdict::Valid } else { Verdict::Unknown(missing.join("\n")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Writer;
    use serde_json::json;

    fn nothing_required() -> Required {
        Required {
            ok_per_second: 0.0,
            ok_share: 0.0,
            ok_per_stretch: 0,
            functions: BTreeSet::new(),
            nodes: BTreeSet::new(),
            overlap_median: 0,
            reads_beside_changes: 0.0,
            cas_swapped: (0.0, 1.0),
            faults: BTreeMap::new(),
            interrupts: true,
        }
    }

    /// Two writes, one of them unknown, a read between, a cas of each kind, and a kill.
    fn sample() -> Vec<Op> {
        let writer = Writer::create(None).unwrap();
        let (one, two, three) = (writer.new_process(), writer.new_process(), writer.new_process());
        let write = writer.invoke(one, "write", "a", json!(1), "n1");
        let read = writer.invoke(two, "read", "a", json!(null), "n2");
        writer.complete(write, Kind::Ok, json!(1), None);
        writer.complete(read, Kind::Ok, json!(1), None);
        writer.nemesis("kill", json!({"status": "installed"}));
        writer.nemesis("pause", json!({"status": "skipped"}));
        let cas = writer.invoke(two, "cas", "a", json!([1, 2]), "n2");
        writer.complete(cas, Kind::Ok, json!([1, 2]), None);
        let cas = writer.invoke(two, "cas", "a", json!([1, 3]), "n2");
        writer.complete(cas, Kind::Ok, json!([1, 3, 2]), None);
        let lost = writer.invoke(three, "write", "b", json!(1), "n1");
        writer.complete(lost, Kind::Info, json!(1), Some("timeout".into()));
        writer.finish().unwrap()
    }

    #[test]
    fn what_a_run_did_is_counted() {
        let coverage = measure(&sample());
        assert_eq!(coverage.all, Outcomes { ok: 4, fail: 0, info: 1 });
        assert_eq!(coverage.by_f["write"], Outcomes { ok: 1, fail: 0, info: 1 });
        assert_eq!(coverage.by_node["n2"], Outcomes { ok: 3, fail: 0, info: 0 });
        assert_eq!(coverage.faults, BTreeMap::from([("kill".to_string(), 1)]));
        assert_eq!(coverage.ok_between_faults, [2, 2]);
        assert_eq!((coverage.reads_beside_changes, coverage.cas_swapped, coverage.overlap_median), (1.0, 0.5, 1));
    }

    #[test]
    fn each_requirement_can_fail_a_run_on_its_own() {
        let coverage = measure(&sample());
        assert_eq!(nothing_required().check(&coverage), Verdict::Valid);
        let named = |name: &str| BTreeSet::from([name.to_string()]);
        let cases = [
            (Required { ok_per_second: 1e12, ..nothing_required() }, "operations a second"),
            (Required { ok_share: 0.9, ..nothing_required() }, "0.80 of operations answered"),
            (Required { ok_per_stretch: 3, ..nothing_required() }, "2 operations answered between faults, 3 required"),
            (Required { functions: named("destroy"), ..nothing_required() }, "function destroy was never answered"),
            (Required { nodes: named("n3"), ..nothing_required() }, "way n3 was never answered"),
            (Required { overlap_median: 2, ..nothing_required() }, "median overlap 1, 2 required"),
            (Required { reads_beside_changes: 1.1, ..nothing_required() }, "of reads overlap a change"),
            (Required { cas_swapped: (0.6, 1.0), ..nothing_required() }, "0.50 of compare-and-sets swapped"),
            (
                Required { faults: BTreeMap::from([("kill".into(), 2)]), ..nothing_required() },
                "fault kill installed 1 times, 2 required",
            ),
        ];
        for (required, expected) in cases {
            let Verdict::Unknown(why) = required.check(&coverage) else { panic!("{expected}: passed") };
            assert!(why.contains(expected) && !why.contains('\n'), "{why}");
        }
    }

    #[test]
    fn only_answers_that_changed_the_actor_count_as_changes() {
        let cases = [
            ("write", json!(1), true),
            ("write", json!("destroyed"), false),
            ("cas", json!([1, 2]), true),
            ("cas", json!([1, 2, 3]), false),
            ("append", json!(4), true),
            ("add", json!(4), true),
            ("transfer", json!([95, 105]), true),
            ("transfer", json!(null), false),
            ("remove", json!([4, true]), true),
            ("remove", json!([4, false]), false),
            ("read", json!(4), false),
        ];
        for (f, answer, changed) in cases {
            assert_eq!(has_changed(f, &answer), changed, "{f} {answer}");
        }
    }

    #[test]
    fn a_run_in_which_nothing_happened_is_unknown() {
        assert!(matches!(nothing_required().check(&measure(&[])), Verdict::Unknown(_)));
    }

    #[test]
    fn faults_that_interrupted_nothing_are_not_enough() {
        let calm: Vec<Op> = sample().into_iter().filter(|op| op.key.as_deref() != Some("b")).collect();
        let required = Required { faults: BTreeMap::from([("kill".into(), 1)]), ..nothing_required() };
        let Verdict::Unknown(why) = required.check(&measure(&calm)) else { panic!("passed") };
        assert_eq!(why, "the faults interrupted nothing: no operation is info");
        let orderly = Required { interrupts: false, ..required };
        assert_eq!(orderly.check(&measure(&calm)), Verdict::Valid);
    }
}
