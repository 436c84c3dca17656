//! The whole harness against servers whose honesty is known: the honest one must be valid, every liar caught.
//!
//! The servers are `examples/liar.rs` under different names, killed and restarted like a real one. All run at once.

use std::{
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use lethe_jepsen::{
    check::Verdict,
    nemesis::Nemesis,
    run::{Config, run},
    verdict::{Judgement, judge_dir},
    workload::Name,
};
use lethe_tests::{can, try_cut};

/// Built by cargo beside the tests.
fn liar() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    let built = test.parent().and_then(Path::parent).expect("target/debug/deps/").join("examples/liar");
    assert!(built.exists(), "cargo builds examples before it runs tests, but there is no {}", built.display());
    built
}

/// Runs the workload against a server of this name for a few seconds.
async fn judgement_of(name: &str, nemesis: Nemesis) -> (tempfile::TempDir, Judgement) {
    let dir = tempfile::tempdir().unwrap();
    let server = dir.path().join(name);
    symlink(liar(), &server).unwrap();
    let time = Duration::from_secs(8);
    let config = Config {
        server,
        out: dir.path().join("run"),
        workload: Name::Register,
        nemesis,
        nodes: 1,
        groups: 1,
        settings: String::new(),
        time,
        final_reads_max: Duration::from_secs(5),
        workers: 12,
        rate: 1_000.0,
        seed: 7,
        until_caught: false,
        required: Config::required(Name::Register, nemesis, time, 1),
    };
    let judgement = run(&config).await.unwrap_or_else(|error| panic!("{name}: {error:#}"));
    (dir, judgement)
}

async fn assert_caught(name: &str, words: &str) {
    assert_caught_by(Nemesis::Kill, name, words).await;
}

async fn assert_caught_by(nemesis: Nemesis, name: &str, words: &str) {
    let (_dir, judgement) = judgement_of(name, nemesis).await;
    let Verdict::Violation(why) = &judgement.verdict else { panic!("{name} passed\n{judgement}") };
    assert!(why.contains(words), "{name}: {why}");
}

#[tokio::test]
async fn an_honest_server_is_valid_under_kills_and_stays_valid_when_judged_again() {
    let (dir, judgement) = judgement_of("honest", Nemesis::Kill).await;
    assert_eq!(judgement.verdict, Verdict::Valid, "{judgement}");
    assert!(judgement.linearizable.calls > 500 && judgement.coverage.faults["kill"] >= 2, "{judgement}");
    let again = judge_dir(&dir.path().join("run")).unwrap();
    assert_eq!(again.linearizable, judgement.linearizable);
}

#[tokio::test]
async fn a_server_that_answers_before_it_writes_is_caught() {
    assert_caught("forgetful", "not linearizable").await;
}

/// Cutting power takes root and a few programs; without them this says so, and shows nothing.
#[tokio::test]
async fn a_server_that_syncs_survives_power_cuts_and_one_that_does_not_is_caught() {
    if !can("cut the power of a disk", try_cut) {
        return;
    }
    let (_dir, judgement) = judgement_of("durable", Nemesis::PowerCut).await;
    assert_eq!(judgement.verdict, Verdict::Valid, "{judgement}");
    assert_caught_by(Nemesis::PowerCut, "honest", "not linearizable").await;
}

#[tokio::test]
async fn a_server_with_stale_reads_is_caught() {
    assert_caught("stale", "not linearizable").await;
}

#[tokio::test]
async fn a_server_that_forgets_destructions_is_caught() {
    assert_caught("resurrecting", "not linearizable").await;
}

#[tokio::test]
async fn a_server_whose_compare_and_set_is_torn_is_caught() {
    assert_caught("torn", "not linearizable").await;
}

#[tokio::test]
async fn a_server_that_denies_what_it_did_is_caught() {
    assert_caught("denying", "not linearizable").await;
}

#[tokio::test]
async fn a_server_that_ends_by_itself_is_caught() {
    assert_caught("mortal", "ended by itself: exit status: 7").await;
}

#[tokio::test]
async fn a_server_that_answers_nonsense_is_caught() {
    assert_caught("babbling", r#"unexpected: "banana""#).await;
}

#[tokio::test]
async fn a_server_that_refuses_everything_is_unknown_and_never_valid() {
    let (_dir, judgement) = judgement_of("deaf", Nemesis::None).await;
    let Verdict::Unknown(why) = &judgement.verdict else { panic!("{judgement}") };
    assert!(why.contains("nothing was answered"), "{why}");
}
