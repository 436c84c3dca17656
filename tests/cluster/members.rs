//! Members come and go under load.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use lethe_client::NodeState;
use lethe_tests::{HEALTHY_MAX, Setup, damage, wait_up_to};

use crate::bed::{Bed, setup};

/// Replicas move one after the other, and wait for each other.
const CHANGED_MAX: Duration = Duration::from_secs(120);
/// A node that is told that it is out ends within this time.
const END_MAX: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_node_stays_out_even_with_its_old_disk() -> Result<()> {
    let mut bed = Bed::make(Setup { nodes: 4, ..setup("") }).await?;
    let (out, name) = (3, "n4");
    // Its disk as it was while it was a member.
    bed.cluster.node(out).stop().await?;
    let (data, backup) = (bed.cluster.node(out).data(), bed.cluster.node(out).data().with_extension("backup"));
    damage::copy(&data, &backup)?;
    bed.cluster.node(out).start().await?;
    bed.cluster.healthy(HEALTHY_MAX).await?;

    bed.cluster.client(0).await?.remove_node(name).await?;
    wait_up_to(CHANGED_MAX, "the node to be out", async || {
        let status = bed.cluster.status(0).await.ok()?;
        let node = status.nodes.iter().find(|node| node.name == name)?;
        (node.state() == NodeState::Removed && node.replicas == 0).then_some(())
    })
    .await;
    bed.cluster.node(out).end().await?;
    bed.cluster.healthy(HEALTHY_MAX).await?;
    bed.all_answer().await?;

    fs::remove_dir_all(&data).context("its disk of today")?;
    fs::rename(&backup, &data).context("its disk of yesterday")?;
    bed.cluster.node(out).launch()?;
    let status = bed.cluster.node(out).process()?.ended(END_MAX).await?;
    let log = bed.cluster.node(out).log();
    ensure!(!status.success() && log.contains("removed"), "it ended with {status} and said:\n{log}");
    bed.cluster.node(out).end().await?;
    bed.finish().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lost_its_disk_is_refused_under_its_old_id_and_replaced_by_a_new_one() -> Result<()> {
    let mut bed = Bed::make(setup("")).await?;
    let (lost, name) = (2, "n3");
    bed.cluster.node(lost).kill().await?;
    fs::remove_dir_all(bed.cluster.node(lost).data()).context("its disk")?;
    bed.cluster.node(lost).join()?;
    bed.cluster.node(lost).launch()?;
    let status = bed.cluster.node(lost).process()?.ended(END_MAX).await?;
    let log = bed.cluster.node(lost).log();
    ensure!(
        !status.success() && log.contains("is in use by another data directory; remove it and add a new one"),
        "it ended with {status} and said:\n{log}"
    );
    bed.cluster.node(lost).end().await?;
    bed.all_answer().await?;

    let new = bed.cluster.add()?;
    bed.cluster.node(new).start().await?;
    bed.cluster.client(0).await?.remove_node(name).await?;
    wait_up_to(CHANGED_MAX, "the new node to have the replicas of the lost one", async || {
        let status = bed.cluster.status(0).await.ok()?;
        let node = |name: &str| status.nodes.iter().find(|node| node.name == name);
        // Eight groups and the system group.
        (node(name)?.state() == NodeState::Removed && node("n4")?.replicas == 9).then_some(())
    })
    .await;
    bed.cluster.healthy(HEALTHY_MAX).await?;
    bed.finish().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_grows_to_six_nodes_that_share_its_replicas() -> Result<()> {
    let mut bed = Bed::make(setup("")).await?;
    for _ in 3..6 {
        let number = bed.cluster.add()?;
        bed.cluster.node(number).start().await?;
    }
    wait_up_to(CHANGED_MAX, "replicas to be spread evenly", async || {
        let status = bed.cluster.status(0).await.ok()?;
        // Eight groups of three replicas, and the system group on each node.
        let even = status.nodes.len() == 6 && status.nodes.iter().all(|node| (4..=6).contains(&node.replicas));
        even.then_some(())
    })
    .await;
    // Replicas are where they should be; what is left of their moves is no healing.
    bed.cluster.healthy(HEALTHY_MAX).await?;
    bed.finish().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn with_five_replicas_any_two_nodes_may_fail_at_once() -> Result<()> {
    let mut bed = Bed::make(Setup { nodes: 5, replication: 5, ..setup("") }).await?;
    let first = bed.leads_most().await?;
    let dead = [first, (first + 1) % 5];
    for number in dead {
        bed.cluster.node(number).kill().await?;
    }
    bed.all_answer().await?;
    bed.come_back("kill -9 of two of five", &dead).await?;
    bed.finish().await?;
    Ok(())
}
