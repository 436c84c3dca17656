//! Disks that lose power, are full, or slow.

use std::{
    os::unix::process::ExitStatusExt,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use lethe_client::{Client, Error, Id, Outcome};
use lethe_tests::{NAMESPACE, Setup, can, counter_name, try_cut, try_slow, wait_for, write_much};
use serde_json::json;

use crate::bed::{ANSWER_MAX, Bed, COUNTERS, setup};

/// Writes a second on a slow disk: a sync takes a tenth of a second, and longer when the state is written out beside it.
const SLOW_PER_SECOND: u32 = 10;

/// A node whose disk fails ends within this time.
const END_MAX: Duration = Duration::from_secs(60);
const SIGABRT: i32 = 6;
/// What it then says.
const NO_LOG: &str = "the write-ahead log failed";

/// Actors that write in bulk.
const BULK_ACTORS: usize = 8;
/// So few that leaders hear in time of nodes that have no room any more.
const FEW_BULK_ACTORS: usize = 2;
/// A write that is refused is refused by then.
const REFUSED_MAX: Duration = Duration::from_secs(10);
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

/// What a node shall say in its log after it had said so much.
struct Sign {
    of: usize,
    heard: usize,
    words: &'static str,
}

impl Sign {
    fn of(bed: &Bed, node: usize, words: &'static str) -> Self {
        Self { of: node, heard: bed.cluster.nodes()[node].log().len(), words }
    }
}

/// Writes in bulk to so many actors through a node until a node has said something. What the writes were refused with is
/// given back.
async fn write_until(bed: &Bed, through: usize, actors: usize, sign: &Sign) -> Result<Vec<Error>> {
    let (nodes, started, mut refused) = (bed.cluster.nodes(), Instant::now(), Vec::new());
    let (node, words) = (&nodes[sign.of], sign.words);
    while !node.log()[sign.heard..].contains(words) {
        ensure!(started.elapsed() < ANSWER_MAX, "{} never said {words:?}; refused were {refused:?}", node.name);
        let bulk = (0..actors).map(|actor| write_much(&nodes[through], actor));
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
    let (other, no_segment) = ((full + 1) % 3, Sign::of(&bed, full, NO_SEGMENT));
    bed.cluster.node(full).disk().fill()?;
    let refused = write_until(&bed, other, BULK_ACTORS, &no_segment).await?;
    only_not_done(&refused)?;
    // A leader that cannot append would stand still.
    wait_for("the node to lead nothing", async || (bed.leads().await.ok()?[full] == 0).then_some(())).await;
    bed.all_answer().await?;
    has_no_room(&bed, other, &[full]).await?;
    // What it cannot append waits; the others are enough, and every node passes calls on to them.
    let refused = write_until(&bed, other, BULK_ACTORS, &Sign { words: NO_ROOM, ..no_segment }).await?;
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

/// Waits until a node knows that these have no room, and no others. Then `lethe cluster status` says so.
async fn has_no_room(bed: &Bed, asked: usize, full: &[usize]) -> Result<()> {
    let nodes = bed.cluster.nodes();
    let crowded = async || {
        let status = bed.cluster.status(asked).await.ok()?;
        let crowded = |name: &String| status.nodes.iter().any(|at| at.name == *name && !at.no_room.is_empty());
        let all = nodes.iter().enumerate().all(|(number, node)| crowded(&node.name) == full.contains(&number));
        all.then_some(())
    };
    wait_for("full disks in the status", crowded).await;
    let (api, status) = (nodes[asked].grpc(), ["cluster", "status", "--api"]);
    let text = nodes[asked].lethe(&[&status[..], &[&api]].concat())?;
    ensure!(text.contains("no room"), "{text}");
    let checked = nodes[asked].lethe(&[&status[..], &[&api, "--check"]].concat());
    ensure!(checked.is_err(), "a cluster without room is healthy:\n{text}");
    Ok(())
}

/// Tries to write through every node: it is refused in time, surely did nothing, and says why.
async fn writes_are_refused(bed: &Bed) -> Result<()> {
    for node in bed.cluster.nodes() {
        let client = Client::connect(&node.grpc()).await?.with_deadline(REFUSED_MAX);
        for counter in 0..COUNTERS {
            let (actor, began) = (client.actor(NAMESPACE, Id::name(counter_name(counter))), Instant::now());
            let answer = actor.call_json("fill", &json!([1, 1])).await;
            let refused = answer.err().with_context(|| format!("{}: a write was done", node.name))?;
            let (said, took) = (refused.describe(), began.elapsed());
            ensure!(refused.outcome == Outcome::NotDone && said.contains("full"), "{}: {said}", node.name);
            ensure!(took < REFUSED_MAX, "{}: refused after {took:?}", node.name);
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_disks_of_a_majority_are_full_writes_are_refused_and_reads_go_on_until_there_is_room() -> Result<()> {
    if !can("make a disk", try_cut) {
        return Ok(());
    }
    let mut bed = Bed::make(Setup { disks: true, ..setup("") }).await?;
    let first = bed.leads_most().await?;
    let (full, other) = ([first, (first + 1) % 3], (first + 2) % 3);
    let signs = full.map(|number| Sign::of(&bed, number, NO_SEGMENT));
    for number in full {
        bed.cluster.node(number).disk().fill()?;
    }
    for sign in &signs {
        only_not_done(&write_until(&bed, other, FEW_BULK_ACTORS, sign).await?)?;
    }
    // A call that is refused starts its actor anew for the next one, and what is left of the logs is for that.
    let rest = bed.load.rest().await;
    has_no_room(&bed, other, &full).await?;
    let leads_all = async || {
        let leads = bed.leads().await.ok()?;
        full.iter().all(|number| leads[*number] == 0).then_some(())
    };
    wait_for("the node with room to lead all", leads_all).await;
    writes_are_refused(&bed).await?;
    drop(rest);
    bed.load.check(&bed.cluster).await.context("reads while disks are full")?;

    for number in full {
        bed.cluster.node(number).disk().relieve()?;
    }
    let over = Instant::now();
    bed.heals("full disks of a majority", over).await?;
    bed.all_answer().await?;
    let took = over.elapsed();
    println!("full disks of a majority: all answered {} ms after there was room", took.as_millis());
    bed.check("full disks of a majority").await?;
    for number in full {
        let died = bed.cluster.node(number).died()?;
        ensure!(died.is_none(), "{died:?}");
    }
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
