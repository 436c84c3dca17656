//! Short runs on a cluster of three real nodes: kills, pauses, leaders cut off, transfers, kills while links are cut, and
//! leaders that are paused.
//!
//! They need the `lethe` binary beside the tests, which `cargo test --workspace` or `cargo build` makes, and the right to
//! make networks. Nothing in them is timed: faults come as fast as the cluster answers, and a run goes on until each of
//! them was seen.

mod judged;

use std::time::Duration;

use lethe_jepsen::{check::Required, nemesis::Nemesis, run::Config, workload::Name};
use lethe_tests::{PATIENCE, can, lethe, try_network};

use judged::assert_valid;
use tokio::sync::Mutex;

/// One cluster at a time: it is several processes, and machines that test are small.
static CLUSTERS: Mutex<()> = Mutex::const_new(());

/// Under each of the faults at least so many times.
async fn assert_registers_stay_linearizable(nemesis: Nemesis, time: Duration, times: u64) {
    let _turn = CLUSTERS.lock().await;
    let dir = tempfile::tempdir().unwrap();
    let (workload, nodes, seed) = (Name::Register, 3, rand::random());
    println!("seed {seed}");
    let faults = nemesis.faults().iter().map(|fault| (fault.name().to_string(), times)).collect();
    let required = Config::required(workload, nemesis, time, nodes);
    let config = Config {
        server: lethe(),
        out: dir.path().join("run"),
        workload,
        nemesis,
        nodes,
        groups: 8,
        settings: Config::RESTLESS.replace("[raft]\n", PATIENCE),
        time,
        final_reads_max: Duration::from_secs(120),
        workers: 16,
        rate: 400.0,
        seed,
        until_caught: false,
        // How fast the machine is does not matter, only that enough was answered between faults.
        required: Required { ok_per_second: 0.0, ok_share: 0.0, faults, ..required },
    };
    assert_valid(&config, dir).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn registers_of_a_cluster_stay_linearizable_whatever_happens_to_its_nodes_and_links() {
    if !can("make networks", try_network) {
        return;
    }
    assert_registers_stay_linearizable(Nemesis::All, Duration::from_secs(15), 1).await;
}

/// A leader that goes on after a pause, with what it believes: the one place where a stale read is to be expected first.
#[tokio::test(flavor = "multi_thread")]
async fn registers_stay_linearizable_when_the_leader_of_an_actor_in_use_is_paused() {
    assert_registers_stay_linearizable(Nemesis::LeaderPause, Duration::from_secs(10), 2).await;
}
