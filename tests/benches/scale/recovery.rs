//! A node that starts with a long log: killed with its state, and killed without, as if the state had been lost.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lethe_tests::{Usage, disk_bytes};
use serde_json::json;

use crate::{
    Args,
    bed::Bed,
    bytes,
    crowd::{self, Work},
    secs,
};

/// The node that is started.
const NODE: usize = 0;
/// Writes of one call, each an entry of the log.
const WRITES: u64 = 200;
/// Actors that write, so that all groups do.
const WRITERS: u64 = 512;
/// No group takes a snapshot and nothing of the log is purged.
const SETTINGS: &str = "[raft]\nsnapshot_entries = 100000000\n[log]\nbytes_max = 1099511627776\n";
/// Filling the log may take so long.
const FILLED_MAX: Duration = Duration::from_secs(1800);

/// Writes so many bytes of log, then starts a node that has to read them.
pub async fn measure(args: &Args, log_bytes: u64) -> Result<()> {
    let mut bed = Bed::form(args, &format!("{SETTINGS}\n[actors]\n{}\n", args.actors)).await?;
    let node = &bed.cluster.nodes()[NODE];
    let (log, state) = (node.data().join("wal"), node.data().join("state"));
    let empty = entries(&bed).await?;
    let (began, until) = (Instant::now(), Instant::now() + FILLED_MAX);
    let work = Work {
        method: "fill",
        arguments: json!([WRITES, args.recover_value_bytes]),
        callers: WRITERS.min(args.callers.into()) as usize,
        until,
    };
    let mut calls = 0;
    loop {
        // A segment is made at its full size, so what is in it is told by the entries.
        let written = (entries(&bed).await? - empty) * u64::from(args.recover_value_bytes);
        if written >= log_bytes {
            break;
        }
        anyhow::ensure!(Instant::now() < until, "the log has {written} bytes of values after {FILLED_MAX:?}");
        let left = (log_bytes - written).div_ceil(WRITES * u64::from(args.recover_value_bytes));
        calls += crowd::call(&bed, (0..left.clamp(1, WRITERS)).map(|nth| nth % WRITERS), &work).await?.answered();
    }
    let count = entries(&bed).await?;
    println!(
        "log       {count} entries, {} of log, {} of state, made by {calls} calls in {}",
        bytes(disk_bytes(&log)? as f64),
        bytes(disk_bytes(&state)? as f64),
        secs(began.elapsed())
    );
    for what in ["kill -9", "kill -9, state deleted"] {
        bed.cluster.node(NODE).kill().await?;
        if what != "kill -9" {
            std::fs::remove_dir_all(&state).context("deleting the state")?;
        }
        let (ready, healthy) = bed.start(NODE).await?;
        let here = Usage::of(bed.cluster.nodes()[NODE].pid().context("the node does not run")?)?;
        println!(
            "log       start after {what}: ready {}, healthy {}; {:.0} MB/s of values, {:.0} entries/s; {} of CPU; resident {}",
            secs(ready),
            secs(healthy),
            log_bytes as f64 / 1e6 / healthy.as_secs_f64(),
            count as f64 / healthy.as_secs_f64(),
            secs(here.cpu),
            bytes(here.resident_bytes as f64)
        );
        bed.cluster.digests_agree(FILLED_MAX).await?;
    }
    Ok(())
}

/// Entries that the node has applied, in all groups.
async fn entries(bed: &Bed) -> Result<u64> {
    let status = bed.cluster.status(NODE).await?;
    let me = status.answered_by.clone();
    let here = status.groups.iter().flat_map(|group| &group.replicas).filter(|replica| replica.node == me);
    Ok(here.filter_map(|replica| replica.applied).map(|index| index + 1).sum())
}
