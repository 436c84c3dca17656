//! Disks that lose power, are full, or slow.

use std::time::Instant;

use anyhow::{Context, Result};
use lethe_tests::{Setup, can, try_cut, try_slow};

use crate::bed::{Bed, setup};

/// Writes a second on a slow disk: a sync takes a tenth of a second, and longer when the state is written out beside it.
const SLOW_PER_SECOND: u32 = 10;

async fn cut(bed: &mut Bed, fault: &str, nodes: &[usize]) -> Result<()> {
    let cluster = &mut bed.cluster;
    for number in nodes {
        cluster.node(*number).disk().cut()?;
    }
    for number in nodes {
        cluster.node(*number).end().await?;
        cluster.node(*number).disk().restore()?;
    }
    bed.come_back(fault, nodes).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_power_of_one_node_or_of_all_is_cut() -> Result<()> {
    if !can("cut the power of a disk", try_cut) {
        return Ok(());
    }
    let mut bed = Bed::make(Setup { disks: true, ..setup("") }).await?;
    let leader = bed.leads_most().await?;
    cut(&mut bed, "a power cut of a leader", &[leader]).await?;
    bed.check("a power cut of a leader").await?;
    cut(&mut bed, "a power cut of all", &[0, 1, 2]).await?;
    bed.finish().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_disk_is_full_takes_nothing_down_with_it() -> Result<()> {
    if !can("make a disk", try_cut) {
        return Ok(());
    }
    let mut bed = Bed::make(Setup { disks: true, ..setup("") }).await?;
    let full = bed.leads_most().await?;
    bed.cluster.node(full).disk().fill()?;
    bed.all_answer().await?;
    bed.cluster.node(full).disk().relieve()?;
    // It may have ended, which is what a node does whose log cannot be written, or be on its way there.
    bed.cluster.node(full).end().await?;
    bed.come_back("a full disk", &[full]).await?;
    bed.finish().await?;
    Ok(())
}

fn slow(bed: &mut Bed, number: usize) -> Result<()> {
    let node = bed.cluster.node(number);
    let pid = node.pid().context("it runs")?;
    node.disk().slow(pid, SLOW_PER_SECOND)
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_disks_of_the_leader_and_of_a_majority_make_answers_late_and_lose_none() -> Result<()> {
    if !can("slow down a disk", try_slow) {
        return Ok(());
    }
    let mut bed = Bed::make(Setup { disks: true, ..setup("") }).await?;
    let leader = bed.leads_most().await?;
    let other = (leader + 1) % 3;
    for number in [leader, other] {
        slow(&mut bed, number)?;
        let took = bed.all_answer().await?;
        println!("the disk of n{} is slow: all answered after {} ms", number + 1, took.as_millis());
    }
    for number in [leader, other] {
        bed.cluster.node(number).disk().fast()?;
    }
    bed.heals("slow disks", Instant::now()).await?;
    bed.finish().await?;
    Ok(())
}
