//! The workloads against the real server: about twenty seconds each while the server is killed and restarted.
//!
//! They need the `lethe` binary beside the tests, which `cargo test --workspace` or `cargo build` makes.

mod judged;

use std::{collections::BTreeMap, time::Duration};

use lethe_jepsen::{check::Required, nemesis::Nemesis, run::Config, workload::Name};
use lethe_tests::lethe;

use judged::assert_valid;

async fn assert_valid_under_kills(workload: Name) {
    let dir = tempfile::tempdir().unwrap();
    let (nemesis, time, seed) = (Nemesis::Kill, Duration::from_secs(20), rand::random());
    println!("seed {seed}");
    // A debug build may share its machine with other tests: less is asked of it than of a run by hand.
    let required = Required {
        ok_per_second: 20.0,
        ok_share: 0.4,
        faults: BTreeMap::from([("kill".to_string(), 3)]),
        ..Config::required(workload, nemesis, time, 1)
    };
    let config = Config {
        server: lethe(),
        out: dir.path().join("run"),
        workload,
        nemesis,
        nodes: 1,
        groups: 1,
        settings: String::new(),
        time,
        final_reads_max: Duration::from_secs(60),
        // Faster than any machine answers: every worker always has a call under way, so calls overlap.
        workers: 12,
        rate: 12_000.0,
        seed,
        until_caught: false,
        required,
    };
    assert_valid(&config, dir).await;
}

#[tokio::test]
async fn registers_stay_linearizable_while_the_server_is_killed() {
    assert_valid_under_kills(Name::Register).await;
}

#[tokio::test]
async fn banks_neither_lose_nor_make_money_while_the_server_is_killed() {
    assert_valid_under_kills(Name::Bank).await;
}

#[tokio::test]
async fn sets_list_all_that_was_inserted_while_the_server_is_killed() {
    assert_valid_under_kills(Name::Set).await;
}
