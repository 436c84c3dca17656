//! Disks that lose power, are full, or slow.

use std::{
    os::unix::process::ExitStatusExt,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use lethe_client::{Error, Outcome};
use lethe_tests::{Setup, can, try_cut, try_slow, wait_for, write_much};

use crate::bed::{ANSWER_MAX, Bed, setup};

/// Writes a second on a slow disk: a sync takes a tenth of a second, and longer when the state is written out beside it.
const SLOW_PER_SECOND: u32 = 10;

/// A node whose disk fails ends within this time.
const END_MAX: Duration = Duration::from_secs(60);
const SIGABRT: i32 = 6;
/// What it then says.
const NO_LOG: &str = "the write-ahead log failed";

/// Actors that write in bulk.
const BULK_ACTORS: usize = 8;
/// What a node says when the disk has no room for the log to grow, and when what there is of it is full.
const NO_SEGMENT: &str = "no space for another log segment";
const NO_ROOM: &str = "the log is full; appending waits for room";

/// The power of a node's disk is cut while it runs: it cannot know what is durable, so it ends at once, and says why.
async fn ends(bed: &mut Bed, number: usize) -> Result<()> {
    let node = bed.cluster.node(number);
    node.disk().cut()?;
    let status = node.process()?.ended(END_MAX).await?;
    let said = node.log();
    ensure!(status.signal() == Some(SIGABRT), "{} ended with {status} and said:\n{said}", node.name);
    ensure!(said.contains(NO_LOG), "{} did not say why it ended:\n{said}", node.name);
    Ok(())
}

/// Brings disks back as they were at the last sync, and the nodes with them.
async fn restore(bed: &mut Bed, fault: &str, nodes: &[usize]) -> Result<()> {
    for number in nodes {
        let node = bed.cluster.node(*number);
        node.end().await?;
        node.disk().restore()?;
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
    ends(&mut bed, leader).await?;
    bed.all_answer().await?;
    restore(&mut bed, "a power cut of a leader", &[leader]).await?;
    bed.check("a power cut of a leader").await?;
    for node in bed.cluster.nodes_mut() {
        node.disk().cut()?;
    }
    restore(&mut bed, "a power cut of all", &[0, 1, 2]).await?;
    bed.finish().await?;
    Ok(())
}

/// Writes in bulk through a node until a node has said something in its log since it had said so much. What the writes were
/// refused with is given back.
async fn write_until(bed: &Bed, through: usize, of: usize, heard: usize, sign: &str) -> Result<Vec<Error>> {
    let (nodes, started, mut refused) = (bed.cluster.nodes(), Instant::now(), Vec::new());
    while !nodes[of].log()[heard..].contains(sign) {
        ensure!(started.elapsed() < ANSWER_MAX, "{} never said {sign:?}; refused were {refused:?}", nodes[of].name);
        let bulk = (0..BULK_ACTORS).map(|actor| write_much(&nodes[through], actor));
        refused.extend(join_all(bulk).await.into_iter().filter_map(Result::err));
    }
    Ok(refused)
}

/// Whoever was refused may ask again: nothing was cut off.
fn only_not_done(refused: &[Error]) -> Result<()> {
    println!("{} bulk writes were refused: {:?}", refused.len(), refused.first().map(Error::describe));
    ensure!(refused.iter().all(|error| error.outcome == Outcome::NotDone), "{refused:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_disk_is_full_takes_nothing_down_with_it_and_goes_on_when_there_is_room() -> Result<()> {
    if !can("make a disk", try_cut) {
        return Ok(());
    }
    let mut bed = Bed::make(Setup { disks: true, ..setup("") }).await?;
    let full = bed.leads_most().await?;
    let (other, heard) = ((full + 1) % 3, bed.cluster.node(full).log().len());
    bed.cluster.node(full).disk().fill()?;
    let refused = write_until(&bed, other, full, heard, NO_SEGMENT).await?;
    only_not_done(&refused)?;
    // A leader that cannot append would stand still.
    wait_for("the node to lead nothing", async || (bed.leads().await.ok()?[full] == 0).then_some(())).await;
    bed.all_answer().await?;
    // What it cannot append waits; the others are enough, and every node passes calls on to them.
    let refused = write_until(&bed, other, full, heard, NO_ROOM).await?;
    only_not_done(&refused)?;
    for actor in 0..BULK_ACTORS {
        write_much(&bed.cluster.nodes()[full], actor).await.context("a call through the node whose disk is full")?;
    }
    let took = bed.all_answer().await?;
    println!("a disk is full: all answered after {} ms", took.as_millis());

    bed.cluster.node(full).disk().relieve()?;
    bed.heals("a full disk", Instant::now()).await?;
    bed.check("a full disk").await?;
    let died = bed.cluster.node(full).died()?;
    ensure!(died.is_none(), "{died:?}");
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
