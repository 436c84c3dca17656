//! Links that are cut: a leader in the minority, links that work one way only, a bridge.

use std::time::Duration;

use anyhow::Result;
use lethe_tests::{Network, Setup, can, try_network, wait_for};

use crate::bed::{Bed, setup};

/// What to cut between three nodes, given the one that leads most.
type Shape = fn(&Network, leader: usize, others: [usize; 2]) -> Result<()>;

const SHAPES: [(&str, Shape); 4] = [
    ("the leader is alone", |network, leader, others| network.part(&[leader], &others)),
    ("the leader is not heard", |network, leader, others| others.iter().try_for_each(|to| network.cut(leader, *to))),
    ("the leader hears nobody", |network, leader, others| {
        others.iter().try_for_each(|from| network.cut(*from, leader))
    }),
    ("one node is the bridge between the others", |network, leader, others| network.part(&[leader], &others[..1])),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_actor_answers_while_a_majority_can_talk_and_nothing_is_lost_when_all_can() -> Result<()> {
    if !can("make networks", try_network) {
        return Ok(());
    }
    let bed = Bed::make(Setup { network: true, ..setup("") }).await?;
    for (name, cut) in SHAPES {
        let leader = bed.leads_most().await?;
        let others = match leader {
            0 => [1, 2],
            1 => [0, 2],
            _ => [0, 1],
        };
        cut(bed.cluster.network(), leader, others)?;
        wait_for("a packet to be lost", async || {
            let dropped = bed.cluster.network().dropped().expect("the network counts");
            (dropped > 0).then_some(())
        })
        .await;
        let took = bed.all_answer().await?;
        bed.cluster.network().heal()?;
        let healed = bed.cluster.healthy(Duration::from_secs(90)).await?;
        println!("{name}: all answered after {} ms, healed in {} ms", took.as_millis(), healed.as_millis());
    }
    bed.finish().await?;
    Ok(())
}
