//! Files of a node that rot or vanish while it is down: rebuilt, cut, or refused with a clear error, and never served.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use lethe_client::NodeState;
use lethe_tests::{damage, wait_up_to};

use crate::bed::{Bed, setup};

const END_MAX: Duration = Duration::from_secs(60);
/// Replicas move one after the other, and wait for each other.
const REPLACED_MAX: Duration = Duration::from_secs(120);

/// A byte of this log is wrong: the node, which is down, does not start, says why, and is not missed.
async fn refuses_rot(bed: &mut Bed, hurt: usize, log: &Path, at: u64) -> Result<()> {
    damage::flip(log, at)?;
    let node = bed.cluster.node(hurt);
    let heard = node.log().len();
    node.launch()?;
    let status = node.process()?.ended(END_MAX).await;
    let said = node.log().split_off(heard);
    let status = status.with_context(|| format!("with rot at {at} it said:\n{said}"))?;
    ensure!(!status.success(), "it started on a log that is rotten at {at}");
    ensure!(said.contains(".wal"), "it does not say which file is damaged:\n{said}");
    node.end().await?;
    bed.all_answer().await?;
    damage::flip(log, at)
}

/// Inverts a byte in the middle of each file of a node's state.
fn rot_state(data: &Path) -> Result<()> {
    let files = damage::state_files(data)?;
    ensure!(!files.is_empty(), "there is no state on disk");
    for file in files {
        let bytes = fs::metadata(&file).context("a file of the state")?.len();
        if bytes > 0 {
            damage::flip(&file, bytes / 2)?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_or_rotten_state_is_rebuilt_a_torn_end_of_a_log_is_cut_and_rot_in_it_is_refused() -> Result<()> {
    let mut bed = Bed::make(setup("")).await?;
    let hurt = bed.leads_most().await?;

    bed.cluster.node(hurt).kill().await?;
    fs::remove_dir_all(bed.cluster.node(hurt).data().join("state")).context("its state")?;
    bed.all_answer().await?;
    bed.come_back("lost state", &[hurt]).await?;
    bed.check("lost state").await?;

    // All of it was written out when the node stopped.
    bed.cluster.node(hurt).stop().await?;
    rot_state(&bed.cluster.node(hurt).data())?;
    let heard = bed.cluster.node(hurt).log().len();
    bed.come_back("rotten state", &[hurt]).await?;
    let said = bed.cluster.node(hurt).log().split_off(heard);
    ensure!(said.contains("wiped and rebuilt"), "it did not notice that its state is rotten:\n{said}");
    bed.check("rotten state").await?;

    // It stands still before it is killed: no write is cut short, and the last one was whole.
    bed.cluster.node(hurt).pause().await?;
    bed.cluster.node(hurt).kill().await?;
    let logs = damage::log_files(&bed.cluster.node(hurt).data())?;
    let log = logs.last().context("a log")?;
    let end = damage::content_bytes(log)?;
    // What is last may have been acknowledged, too.
    for place in [end / 2, end] {
        let at = damage::content_before(log, place)?.context("content")?;
        refuses_rot(&mut bed, hurt, log, at).await?;
    }

    // What a write leaves behind whose first sector never reached the disk.
    damage::leave_behind(log, end)?;
    let heard = bed.cluster.node(hurt).log().len();
    bed.come_back("a torn end of the log", &[hurt]).await?;
    let said = bed.cluster.node(hurt).log().split_off(heard);
    ensure!(said.contains("a torn end was cut"), "it did not say that it cut the end:\n{said}");
    bed.finish().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_log_is_rotten_is_replaced_by_a_new_one() -> Result<()> {
    let mut bed = Bed::make(setup("")).await?;
    // The first one's machine has the key that makes join files; who operates the cluster keeps that elsewhere.
    let leads = bed.leads().await?;
    let hurt = if leads[1] > leads[2] { 1 } else { 2 };
    let name = bed.cluster.node(hurt).name.clone();
    bed.cluster.node(hurt).kill().await?;
    let logs = damage::log_files(&bed.cluster.node(hurt).data())?;
    let log = logs.first().context("a log")?;
    let middle = damage::content_before(log, damage::content_bytes(log)? / 2)?.context("content")?;
    refuses_rot(&mut bed, hurt, log, middle).await?;
    // As it is on a disk that nobody mends.
    damage::flip(log, middle)?;

    let new = bed.cluster.add()?;
    bed.cluster.node(new).start().await?;
    let replaced = Instant::now();
    bed.cluster.client(0).await?.remove_node(&name).await?;
    wait_up_to(REPLACED_MAX, "the new node to have all replicas of the old one", async || {
        let status = bed.cluster.status(0).await.ok()?;
        let is = |name: &str, state| status.nodes.iter().any(|node| node.name == name && node.state() == state);
        let new = &bed.cluster.nodes()[new].name;
        let well = status.groups.iter().all(|group| group.leader.is_some() && group.problem.is_empty());
        let whole = status.nodes.iter().any(|node| node.name == *new && node.replicas == status.data_groups + 1);
        (is(&name, NodeState::Removed) && whole && well).then_some(())
    })
    .await;
    println!("replaced after {} ms", replaced.elapsed().as_millis());
    bed.finish().await?;
    Ok(())
}
