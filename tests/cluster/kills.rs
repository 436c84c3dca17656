//! kill -9 of one node, of a majority, of all.

use anyhow::Result;

use crate::bed::{Bed, setup};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_leader_a_majority_or_all_are_killed() -> Result<()> {
    let mut bed = Bed::make(setup("")).await?;

    let leader = bed.leads_most().await?;
    bed.cluster.node(leader).kill().await?;
    bed.all_answer().await?;
    bed.come_back("kill -9 of a leader", &[leader]).await?;
    bed.check("kill -9 of a leader").await?;

    for number in [0, 1] {
        bed.cluster.node(number).kill().await?;
    }
    bed.come_back("kill -9 of a majority", &[0, 1]).await?;
    bed.check("kill -9 of a majority").await?;

    for node in bed.cluster.nodes_mut() {
        node.kill().await?;
    }
    bed.come_back("kill -9 of all", &[0, 1, 2]).await?;
    bed.finish().await?;
    Ok(())
}
