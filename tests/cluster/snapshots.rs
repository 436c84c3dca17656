//! Snapshots: a rotten one is never loaded, and a node that was away for too long gets one from the leader.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use lethe_tests::{
    Setup,
    damage::{self, Snapshot},
    wait_up_to,
};

use crate::bed::{ANSWER_MAX, Bed, setup};

/// Entries between two snapshots of a group.
const ENTRIES: u64 = 100;
const GROUPS: u16 = 2;
/// A node that cannot start says so within this time.
const END_MAX: Duration = Duration::from_secs(60);

/// A group's snapshots, newest first, by its number. None as long as a group has not two, the number that is kept.
fn kept(data: &Path) -> Option<BTreeMap<u32, Vec<Snapshot>>> {
    let mut kept: BTreeMap<u32, Vec<Snapshot>> = BTreeMap::new();
    for snapshot in damage::snapshots(data).ok()?.into_iter().rev() {
        kept.entry(snapshot.group).or_default().push(snapshot);
    }
    let whole = (1..=u32::from(GROUPS)).all(|group| kept.get(&group).is_some_and(|kept| kept.len() > 1));
    whole.then_some(kept)
}

/// Inverts a byte in the middle of each of these. Doing it twice mends them.
fn rot(snapshots: &[Snapshot]) -> Result<()> {
    for snapshot in snapshots {
        let bytes = fs::metadata(&snapshot.path).context("a snapshot")?.len();
        damage::flip(&snapshot.path, bytes / 2)?;
    }
    Ok(())
}

/// Entries that were applied so far, by the group.
async fn applied(bed: &Bed, asked: usize) -> Result<BTreeMap<u32, u64>> {
    let groups = bed.cluster.status(asked).await?.groups;
    let last = |replicas: &[lethe_client::ReplicaStatus]| replicas.iter().filter_map(|replica| replica.applied).max();
    Ok(groups.iter().map(|group| (group.id, last(&group.replicas).unwrap_or(0))).collect())
}

/// Waits until no running node's log reaches back to what is applied by now.
async fn purged(bed: &Bed) -> Result<()> {
    let running: Vec<usize> = (0..3).filter(|number| bed.cluster.nodes()[*number].pid().is_some()).collect();
    // The log is purged up to the older snapshot, once there is a newer one. So there is one more than needed, and then
    // a look at it is never too early.
    for _ in 0..2 {
        let applied = applied(bed, running[0]).await?;
        for number in &running {
            let data = bed.cluster.nodes()[*number].data();
            wait_up_to(ANSWER_MAX, "old entries to be purged", async || {
                let kept = kept(&data)?;
                let behind = |(group, kept): (&u32, &Vec<Snapshot>)| kept[1].index >= applied[group] + ENTRIES;
                kept.iter().all(behind).then_some(())
            })
            .await;
        }
    }
    Ok(())
}

/// Waits until no running node will take a snapshot by itself, while nobody writes.
async fn none_due(bed: &Bed) {
    wait_up_to(ANSWER_MAX, "snapshots that are due", async || {
        let asked = bed.cluster.nodes().iter().position(|node| node.pid().is_some())?;
        let applied = applied(bed, asked).await.ok()?;
        bed.cluster
            .running()
            .all(|node| {
                let due = |(group, kept): (&u32, &Vec<Snapshot>)| kept[0].index + ENTRIES <= applied[group];
                kept(&node.data()).is_some_and(|kept| !kept.iter().any(due))
            })
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotten_snapshot_is_never_loaded_and_a_node_that_missed_too_much_returns_by_snapshot() -> Result<()> {
    let raft = format!("snapshot_entries = {ENTRIES}\n");
    let mut bed = Bed::make(Setup { groups: GROUPS, ..setup(&raft) }).await?;
    let hurt = bed.leads_most().await?;
    let data = bed.cluster.node(hurt).data();
    wait_up_to(ANSWER_MAX, "snapshots", async || kept(&data)).await;

    // Without its state the node needs a snapshot. The newest of each group is rotten: the one before must do.
    bed.cluster.node(hurt).kill().await?;
    fs::remove_dir_all(data.join("state")).context("its state")?;
    let newest: Vec<_> = kept(&data).context("snapshots stay")?.into_values().map(|mut kept| kept.remove(0)).collect();
    rot(&newest)?;
    let heard = bed.cluster.node(hurt).log().len();
    bed.come_back("a rotten snapshot", &[hurt]).await?;
    let said = bed.cluster.node(hurt).log().split_off(heard);
    for sign in ["a snapshot is refused", "state is rebuilt from a snapshot"] {
        ensure!(said.contains(sign), "it did not say {sign:?}, but:\n{said}");
    }
    bed.check("a rotten snapshot").await?;

    // No snapshot is left: it must not start.
    bed.cluster.node(hurt).kill().await?;
    fs::remove_dir_all(data.join("state")).context("its state")?;
    let all = damage::snapshots(&data)?;
    rot(&all)?;
    bed.cluster.node(hurt).launch()?;
    let status = bed.cluster.node(hurt).process()?.ended(END_MAX).await?;
    let said = bed.cluster.node(hurt).log();
    ensure!(!status.success() && said.contains("no whole snapshot"), "it ended with {status} and said:\n{said}");
    bed.cluster.node(hurt).end().await?;

    // Now they are whole again, but the others' logs no longer reach back to where its own ends.
    rot(&all)?;
    purged(&bed).await?;
    // What it is sent first is rotten, because nobody writes and so nobody takes a newer snapshot. It refuses that, and
    // gets a new one.
    let rest = bed.load.rest().await;
    none_due(&bed).await;
    for node in bed.cluster.running() {
        let newest: Vec<_> =
            kept(&node.data()).context("snapshots")?.into_values().map(|mut kept| kept.remove(0)).collect();
        rot(&newest)?;
    }
    let heard = bed.cluster.node(hurt).log().len();
    bed.come_back("a node's absence during purges", &[hurt]).await?;
    // The system group changes too seldom for snapshots.
    for group in 1..=GROUPS {
        for sign in ["a snapshot was not taken in", "took in a snapshot"] {
            wait_up_to(ANSWER_MAX, sign, async || {
                let said = bed.cluster.nodes()[hurt].log().split_off(heard);
                said.lines().any(|line| line.contains(sign) && line.contains(&format!("group={group} "))).then_some(())
            })
            .await;
        }
    }
    drop(rest);
    bed.finish().await?;
    Ok(())
}
