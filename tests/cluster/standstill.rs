//! SIGSTOP of nodes that mostly follow, and of a majority: their connections stay open, and nobody answers on them.

use std::time::Instant;

use anyhow::{Result, ensure};
use lethe_tests::{get, wait_for};

use crate::bed::{Bed, COUNTERS, setup};

/// HTTP's word for it.
const REFUSED: u16 = 503;

/// The nodes, those that lead least first.
async fn least_first(bed: &Bed) -> Result<Vec<usize>> {
    let leads = bed.leads().await?;
    let mut nodes: Vec<usize> = (0..leads.len()).collect();
    nodes.sort_by_key(|node| leads[*node]);
    Ok(nodes)
}

/// The node that is left notices that it is alone. From then on it serves no read, and no write is acknowledged.
async fn nobody_answers(bed: &Bed, left: usize) -> Result<()> {
    wait_for("the node that is left to notice it", async || {
        let status = bed.cluster.status(left).await.ok()?;
        let alone = status.nodes.iter().any(|node| node.id == status.answered_by && !node.fresh);
        alone.then_some(())
    })
    .await;
    let acked = bed.load.acked();
    for counter in 0..COUNTERS {
        let reply = get(&bed.cluster.nodes()[left].http(), &format!("/counter-{counter}")).await?;
        ensure!(reply.status() == REFUSED, "a node that is alone said {}: {}", reply.status(), reply.text());
    }
    ensure!(bed.load.acked() == acked, "a write was acknowledged without a majority");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_follower_is_not_missed_and_nobody_answers_while_a_majority_is_paused() -> Result<()> {
    let mut bed = Bed::make(setup("")).await?;

    let follower = least_first(&bed).await?[0];
    bed.cluster.node(follower).pause().await?;
    bed.all_answer().await?;
    bed.cluster.node(follower).resume()?;
    bed.heals("a pause of a follower", Instant::now()).await?;
    bed.check("a pause of a follower").await?;

    let nodes = least_first(&bed).await?;
    let (left, majority) = (nodes[0], &nodes[1..]);
    for number in majority {
        bed.cluster.node(*number).pause().await?;
    }
    nobody_answers(&bed, left).await?;
    for number in majority {
        bed.cluster.node(*number).resume()?;
    }
    bed.heals("a pause of a majority", Instant::now()).await?;
    bed.finish().await?;
    Ok(())
}
