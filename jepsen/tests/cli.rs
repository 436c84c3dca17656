//! The command line: `jepsen check` on recorded runs of every kind, and what the exit codes say.

use std::{
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use lethe_jepsen::{
    history::{Kind, Op, Writer, write},
    nemesis::Nemesis,
    run::Config,
    workload::Name,
};
use serde_json::{Value, json};

fn jepsen(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_jepsen")).args(args).output().expect("the binary runs")
}

/// A run of two calls whose read answered `seen`.
fn recorded(seen: i64) -> Vec<Op> {
    let writer = Writer::create(None).unwrap();
    let process = writer.new_process();
    for (f, asked, answered) in [("write", json!(1), json!(1)), ("read", json!(null), json!(seen))] {
        let pending = writer.invoke(process, f, "a", asked, "grpc");
        writer.complete(pending, Kind::Ok, answered, None);
    }
    writer.nemesis("final-reads", json!({"status": "complete"}));
    writer.finish().unwrap()
}

/// Judges a history of which `required` is required; returns the exit code and what was printed.
fn check(history: &[Op], required: &Value) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("history.jsonl"), history).unwrap();
    let run = json!({"workload": "register", "required": required});
    std::fs::write(dir.path().join("run.json"), run.to_string()).unwrap();
    let output = jepsen(&["check", path(dir.path())]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), said)
}

fn path(dir: &Path) -> &str {
    dir.to_str().expect("temporary folders have plain names")
}

fn little() -> Value {
    let mut required = Config::required(Name::Register, Nemesis::None, Duration::from_secs(1), 1);
    (required.ok_per_second, required.overlap_median, required.reads_beside_changes) = (0.0, 0, 0.0);
    required.cas_swapped = (0.0, 1.0);
    required.functions.retain(|f| f == "read" || f == "write");
    required.nodes.retain(|node| node == "grpc");
    serde_json::to_value(required).unwrap()
}

#[test]
fn the_exit_code_says_valid_violation_unknown_or_harness_failure() {
    let much =
        serde_json::to_value(Config::required(Name::Register, Nemesis::Kill, Duration::from_secs(60), 1)).unwrap();
    let mut malformed = recorded(1);
    malformed.pop();
    malformed.pop();
    let cases = [
        (recorded(1), little(), 0, "\nvalid"),
        (recorded(2), little(), 1, "key a is not linearizable"),
        (recorded(1), much, 2, "fault kill installed 0 times, 15 required"),
        (malformed, little(), 3, "op 2 is never completed"),
    ];
    for (history, required, code, words) in cases {
        let (found, said) = check(&history, &required);
        assert_eq!(found, Some(code), "{said}");
        assert!(said.contains(words), "{words:?} is not in {said}");
    }
}

#[test]
fn wrong_usage_is_a_failure_of_the_harness_and_never_a_verdict() {
    let no_liar = ["mutants", "skip-sync", "--server", "no/such/lethe-liar"];
    for args in [&["run", "-n", "sunshine"][..], &["check"], &["check", "no/such/run"], &no_liar, &[]] {
        assert_eq!(jepsen(args).status.code(), Some(3), "{args:?}");
    }
    assert_eq!(jepsen(&["--help"]).status.code(), Some(0));
}

#[test]
fn a_judgement_is_printed_as_json_and_kept_beside_the_run() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("history.jsonl"), &recorded(2)).unwrap();
    let run = json!({"workload": "register", "required": little()});
    std::fs::write(dir.path().join("run.json"), run.to_string()).unwrap();
    let output = jepsen(&["check", "--json", path(dir.path())]);
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&printed["verdict"], &printed["coverage"]["all"]["ok"]), (&json!("violation"), &json!(2)));
    let kept: Value = serde_json::from_slice(&std::fs::read(dir.path().join("verdict.json")).unwrap()).unwrap();
    assert_eq!(kept, printed);
}
