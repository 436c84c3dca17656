//! What live calls see of it when a node is replaced: one of three dies with its state and is removed, and another gets all of
//! it from the two that are left, by snapshot.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use lethe_tests::{HEALTHY_MAX, Node, Usage, damage, disk_bytes};
use serde_json::json;

use crate::{
    Args, Measured,
    bed::{Bed, NAMESPACE},
    bytes,
    crowd::{self, Work},
    paced::{Pace, Seen},
    secs,
};

/// The node that dies.
const VICTIM: usize = 2;
/// Values of an actor that holds state, and their size: what `fill` of one call writes. Larger ones may be refused.
const VALUES: u64 = 16;
const VALUE_BYTES: u64 = 64 << 10;
/// Calls that fill at once.
const FILLERS: usize = 16;
/// Actors that are called meanwhile.
const ACTORS: u64 = 512;
/// How long callers are watched before and after.
const WATCHED: Duration = Duration::from_secs(20);
/// So few entries between two snapshots of a group that every log is cut off while the state is written.
const OFTEN: &str = "snapshot_entries = 32";
/// Filling, and replacing, may take so long.
const FILLED_MAX: Duration = Duration::from_secs(1800);
const REPLACED_MAX: Duration = Duration::from_secs(1800);
const POLL: Duration = Duration::from_millis(200);

/// Fills a cluster with so many bytes of state and replaces a node.
pub async fn measure(args: &Args, state_bytes: u64) -> Result<Measured> {
    ensure!(args.nodes == 3, "a node of three is replaced");
    let mut bed = Bed::form(args, &format!("[raft]\n{}\n{OFTEN}\n", args.raft)).await?;
    let began = Instant::now();
    fill(args, &bed, state_bytes).await?;
    bed.cluster.configure(&format!("[raft]\n{}\n", args.raft))?;
    bed.restart_all().await?;
    let state = disk_bytes(&bed.cluster.nodes()[0].data().join("state"))?;
    ensure!(state >= state_bytes, "{state} bytes of state were made instead of {state_bytes}");
    println!("replace   {} of state on each node, made in {}", bytes(state as f64), secs(began.elapsed()));
    let three = callers(args, &bed).await?;
    tell("three nodes", &three.run(WATCHED).await?);
    drop(three);
    lose(&mut bed).await?;
    let two = callers(args, &bed).await?;
    let without = two.run(WATCHED).await?;
    tell("two nodes", &without);

    let (running, began, before) = (two.start(), Instant::now(), cpu(&bed)?);
    let number = bed.cluster.add()?;
    bed.cluster.node(number).start().await?;
    bed.cluster.healthy(REPLACED_MAX).await?;
    let (took, during) = (began.elapsed(), running.stop().await?);
    let cpu = cpu(&bed)? - before;
    tell("a third joins", &during);
    let taken = bed.cluster.nodes()[number].log().matches("took in a snapshot").count();
    println!(
        "replace   took {}, by {taken} snapshots; {} of CPU on all nodes, calls included; p50 and p99 of calls: {:.2} and {:.2} of before",
        secs(took),
        secs(cpu),
        during.ms(0.5) / without.ms(0.5),
        during.ms(0.99) / without.ms(0.99)
    );
    tell("three again", &two.run(WATCHED).await?);
    bed.cluster.digests_agree(HEALTHY_MAX).await?;
    Ok(if taken >= usize::from(args.groups) { Measured::All } else { Measured::Less })
}

/// Writes the state, and then on until no log reaches back to its beginning: who has nothing then needs snapshots.
async fn fill(args: &Args, bed: &Bed, state_bytes: u64) -> Result<()> {
    let holders = state_bytes / (VALUES * VALUE_BYTES);
    let fill = Work {
        method: "fill",
        arguments: json!([VALUES, VALUE_BYTES]),
        callers: FILLERS,
        until: Instant::now() + FILLED_MAX,
    };
    crowd::call(bed, 0..holders, &fill).await?;
    let put = Work { method: "put", arguments: json!(["more"]), ..fill };
    while !bed.cluster.nodes().iter().all(|node| is_cut_off(node, args.groups)) {
        ensure!(Instant::now() < put.until, "there are groups without two snapshots after {FILLED_MAX:?}");
        crowd::call(bed, 0..ACTORS, &put).await?;
    }
    Ok(())
}

/// Whether each group has two snapshots on this node: the log is purged up to the older one.
fn is_cut_off(node: &Node, groups: u16) -> bool {
    // One may go away while they are looked at.
    let Ok(snapshots) = damage::snapshots(&node.data()) else { return false };
    let mut kept: BTreeMap<u32, usize> = BTreeMap::new();
    for snapshot in snapshots {
        *kept.entry(snapshot.group).or_default() += 1;
    }
    (1..=u32::from(groups)).all(|group| kept.get(&group).is_some_and(|kept| *kept > 1))
}

/// Callers of actors that are awake.
async fn callers(args: &Args, bed: &Bed) -> Result<Pace> {
    let put = ("put", json!(["live"]));
    let pace = Pace::new(&bed.cluster, NAMESPACE, ACTORS, put, args.replace_rate).await?;
    pace.each("put", &json!(["live"]), FILLERS).await?;
    Ok(pace)
}

/// One node dies and is removed; the others lead what it led.
async fn lose(bed: &mut Bed) -> Result<()> {
    let name = bed.cluster.nodes()[VICTIM].name.clone();
    bed.cluster.node(VICTIM).kill().await?;
    let (client, began) = (bed.cluster.client(0).await?, Instant::now());
    // The system group may have lost its leader, too.
    while let Err(error) = client.remove_node(&name).await {
        ensure!(began.elapsed() < HEALTHY_MAX, "{name} is not removed: {}", error.describe());
        tokio::time::sleep(POLL).await;
    }
    loop {
        let status = bed.cluster.status(0).await?;
        let lost = status.nodes.iter().find(|node| node.name == name).map(|node| node.id.clone());
        if status.groups.iter().all(|group| group.leader.is_some() && group.leader != lost) {
            return Ok(());
        }
        ensure!(began.elapsed() < HEALTHY_MAX, "groups have no leader {HEALTHY_MAX:?} after one of three died");
        tokio::time::sleep(POLL).await;
    }
}

/// CPU time of the nodes that run.
fn cpu(bed: &Bed) -> Result<Duration> {
    bed.cluster.running().map(|node| Ok(Usage::of(node.pid().context("a node does not run")?)?.cpu)).sum()
}

fn tell(what: &str, seen: &Seen) {
    println!("replace   {what:<14} {seen}");
}
