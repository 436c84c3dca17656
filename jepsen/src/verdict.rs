//! All checks of one recorded run, put together.

use std::{fmt, fs, path::Path};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::{
    check::{Coverage, Effort, Report, Required, Verdict, linearizable, lists, measure},
    history::{self, Op, Process, validate},
    model::{Bank, Counter, Register, Set},
    nemesis::INCIDENTS,
    workload::Name,
};

/// Name of the file that holds what a run was asked to do and must have done.
pub const RUN_FILE: &str = "run.json";
/// Name of the history.
pub const HISTORY_FILE: &str = "history.jsonl";
/// Name of the file that holds a [`Judgement`].
pub const VERDICT_FILE: &str = "verdict.json";

/// Everything found about a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Judgement {
    /// Over all checks.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Linearizability of each actor.
    pub linearizable: Report,
    /// Whether the run did enough.
    pub coverage: Coverage,
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (all, report) = (self.coverage.all, &self.linearizable);
        writeln!(
            f,
            "{} calls: {} ok, {} fail, {} info, in {:.1} s; longest silence {:.1} s",
            all.total(),
            all.ok,
            all.fail,
            all.info,
            self.coverage.seconds,
            self.coverage.silence_max,
        )?;
        for (name, outcomes) in self.coverage.by_f.iter().chain(&self.coverage.by_node) {
            writeln!(f, "  {name}: {} ok, {} fail, {} info", outcomes.ok, outcomes.fail, outcomes.info)?;
        }
        writeln!(
            f,
            "faults: {:?}; calls answered between them: {:?}",
            self.coverage.faults, self.coverage.ok_between_faults
        )?;
        writeln!(
            f,
            "{} actors, at most {} calls each; median overlap {}, {:.0} % of reads beside changes, {:.0} % of cas swapped",
            report.keys,
            report.calls_per_key_max,
            self.coverage.overlap_median,
            100.0 * self.coverage.reads_beside_changes,
            100.0 * self.coverage.cas_swapped,
        )?;
        match &self.verdict {
            Verdict::Valid => writeln!(f, "valid"),
            Verdict::Violation(why) => writeln!(f, "VIOLATION\n{why}"),
            Verdict::Unknown(why) => writeln!(f, "unknown\n{why}"),
        }
    }
}

fn of_workload(history: &[Op], workload: Name) -> anyhow::Result<Report> {
    Ok(match workload {
        Name::Register => linearizable::<Register>(history, Effort::default())?,
        Name::Bank => linearizable::<Bank>(history, Effort::default())?,
        Name::Counter => linearizable::<Counter>(history, Effort::default())?,
        Name::Set => linearizable::<Set>(history, Effort::default())?,
        Name::List => lists(history)?,
    })
}

/// Whether the history of a run that still goes on is a violation already, however it will end.
pub fn is_violation(history: &[Op], workload: Name) -> anyhow::Result<bool> {
    let verdict = incidents(history).and(unexpected(history)).and(of_workload(history, workload)?.verdict);
    Ok(matches!(verdict, Verdict::Violation(_)))
}

/// Judges the history of a workload. Fails if it is malformed: then nothing can be said about it.
pub fn judge(history: &[Op], workload: Name, required: &Required) -> anyhow::Result<Judgement> {
    validate(history)?;
    let linearizable = of_workload(history, workload)?;
    let coverage = measure(history);
    let verdict = incidents(history)
        .and(unexpected(history))
        .and(linearizable.verdict.clone())
        .and(final_reads(history))
        .and(required.check(&coverage));
    Ok(Judgement { verdict, linearizable, coverage })
}

/// Judges a run that was recorded in a directory, and writes the judgement beside it.
pub fn judge_dir(dir: &Path) -> anyhow::Result<Judgement> {
    #[derive(Deserialize)]
    struct Run {
        workload: Name,
        required: Required,
    }
    let text = fs::read_to_string(dir.join(RUN_FILE)).with_context(|| format!("{} is no run", dir.display()))?;
    let run: Run = serde_json::from_str(&text).with_context(|| format!("{}/{RUN_FILE}", dir.display()))?;
    let judgement = judge(&history::read(&dir.join(HISTORY_FILE))?, run.workload, &run.required)?;
    let json = serde_json::to_string_pretty(&judgement)?;
    fs::write(dir.join(VERDICT_FILE), json).with_context(|| format!("cannot write {VERDICT_FILE}"))?;
    Ok(judgement)
}

fn incidents(history: &[Op]) -> Verdict {
    let incident = |op: &&Op| op.process == Process::Nemesis && INCIDENTS.contains(&op.f.as_str());
    match history.iter().find(incident) {
        Some(op) => {
            Verdict::Violation(format!("op {}: {}: {}", op.index, op.f, op.value["why"].as_str().unwrap_or("")))
        }
        None => Verdict::Valid,
    }
}

/// Answers that the actor's contract does not allow are recorded as `info` with such an error.
fn unexpected(history: &[Op]) -> Verdict {
    let found = |op: &&Op| op.error.as_deref().is_some_and(|error| error.starts_with("unexpected: "));
    match history.iter().find(found) {
        Some(op) => Verdict::Violation(format!("op {}: {}", op.index, op.error.as_deref().unwrap_or(""))),
        None => Verdict::Valid,
    }
}

fn final_reads(history: &[Op]) -> Verdict {
    let complete = |op: &Op| op.f == "final-reads" && op.value["status"] == "complete";
    match history.iter().any(complete) {
        true => Verdict::Valid,
        false => Verdict::Unknown("not every actor could be read at the end".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Kind, Writer};
    use serde_json::json;
    use std::collections::{BTreeMap, BTreeSet};

    fn required() -> Required {
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

    /// A short run that reads back what it wrote, with one more line of the nemesis.
    fn run(f: &str, error: Option<&str>) -> Verdict {
        let writer = Writer::create(None).unwrap();
        let process = writer.new_process();
        let pending = writer.invoke(process, "write", "a", json!(1), "n");
        writer.complete(pending, Kind::Ok, json!(1), None);
        writer.nemesis(f, json!({"status": "complete", "why": "because"}));
        let pending = writer.invoke(process, "read", "a", json!(null), "n");
        writer.complete(pending, Kind::Info, json!(null), error.map(str::to_string));
        judge(&writer.finish().unwrap(), Name::Register, &required()).unwrap().verdict
    }

    #[test]
    fn a_run_is_valid_only_with_its_final_reads() {
        assert_eq!(run("final-reads", None), Verdict::Valid);
        assert!(matches!(run("heal", None), Verdict::Unknown(_)));
    }

    #[test]
    fn an_incident_or_an_unexpected_answer_is_a_violation() {
        assert_eq!(run("server-died", None), Verdict::Violation("op 2: server-died: because".into()));
        assert_eq!(run("no-restart", None), Verdict::Violation("op 2: no-restart: because".into()));
        let overtaken = run("final-reads", Some("unexpected: 500"));
        assert_eq!(overtaken, Verdict::Violation("op 4: unexpected: 500".into()));
    }
}
