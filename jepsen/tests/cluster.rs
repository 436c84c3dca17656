//! A short run on a cluster of three real nodes: kills, pauses, leaders cut off, transfers, kills while links are cut.
//!
//! It needs the `lethe` binary beside the tests, which `cargo test --workspace` or `cargo build` makes, and the right to
//! make networks. Nothing in it is timed: faults come as fast as the cluster answers, and the run goes on until each of
//! them was seen.

mod judged;

use std::time::Duration;

use lethe_jepsen::{check::Required, nemesis::Nemesis, run::Config, workload::Name};
use lethe_tests::{PATIENCE, can, lethe, try_network};

use judged::assert_valid;

#[tokio::test(flavor = "multi_thread")]
async fn registers_of_a_cluster_stay_linearizable_whatever_happens_to_its_nodes_and_links() {
    if !can("make networks", try_network) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (workload, nemesis, nodes, time, seed) =
        (Name::Register, Nemesis::All, 3, Duration::from_secs(15), rand::random());
    println!("seed {seed}");
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
        required: Required { ok_per_second: 0.0, ok_share: 0.0, ..Config::required(workload, nemesis, time, nodes) },
    };
    assert_valid(&config, dir).await;
}
