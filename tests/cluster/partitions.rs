//! Links that are cut: a leader in the minority, links that work one way only, a bridge.

use std::time::Instant;

use anyhow::Result;
use lethe_tests::{HEALTHY_MAX, Network, Setup, can, try_network, wait_for, wait_up_to};

use crate::bed::{Bed, setup};

/// What to cut between three nodes, given one of them. Gives the node that then has no way to the leader of the system
/// group, if there is one.
type Cut = fn(&Network, leader: usize, others: [usize; 2]) -> Result<Option<usize>>;

/// The node that a cut is about.
#[derive(Clone, Copy)]
enum Leader {
    /// It leads the system group. Of the others the first leads more groups.
    System,
    /// It leads most groups.
    Most,
}

const SHAPES: [(&str, Leader, Cut); 5] = [
    ("the system group's leader is the bridge between the others", Leader::System, |network, _, [one, other]| {
        network.part(&[one], &[other])?;
        Ok(None)
    }),
    ("the system group's leader reaches another node by a bridge only", Leader::System, |network, leader, [one, _]| {
        network.part(&[leader], &[one])?;
        Ok(Some(one))
    }),
    ("the leader is alone", Leader::Most, |network, leader, others| {
        network.part(&[leader], &others)?;
        Ok(Some(leader))
    }),
    ("the leader is not heard", Leader::Most, |network, leader, others| {
        others.iter().try_for_each(|to| network.cut(leader, *to))?;
        Ok(Some(leader))
    }),
    ("the leader hears nobody", Leader::Most, |network, leader, others| {
        others.iter().try_for_each(|from| network.cut(*from, leader))?;
        Ok(Some(leader))
    }),
];

/// The node a cut is about, and the others.
async fn nodes(bed: &Bed, about: Leader) -> Result<(usize, [usize; 2])> {
    let (leader, led) = match about {
        Leader::System => {
            // What the node at the other end leads is what a bridge is about.
            let all_lead = async || bed.leads().await.ok().filter(|led| !led.contains(&0));
            let led = wait_up_to(HEALTHY_MAX, "every node to lead a data group", all_lead).await;
            (bed.cluster.leader(0).await?, led)
        }
        Leader::Most => {
            let led = bed.leads().await?;
            ((0..3).max_by_key(|node| led[*node]).expect("there are three"), led)
        }
    };
    let mut others: Vec<usize> = (0..3).filter(|node| *node != leader).collect();
    others.sort_by_key(|node| std::cmp::Reverse(led[*node]));
    Ok((leader, [others[0], others[1]]))
}

/// Waits until a node notices that it is shut out: until then it serves on what it knew. On a very busy machine the node
/// between it and the leader of the system group may have become that leader; then nobody is.
async fn notices(bed: &Bed, node: usize, leader: usize) {
    let name = &bed.cluster.nodes()[leader].name;
    wait_for("a node to notice that it is shut out", async || {
        let status = bed.cluster.status(node).await.ok()?;
        let led_before = &status.nodes.iter().find(|at| at.name == *name)?.id;
        let leads = status.groups.iter().find(|group| group.id == 0)?.leader.as_ref();
        let stale = status.nodes.iter().any(|at| at.id == status.answered_by && !at.fresh);
        let other = node != leader && leads.is_some_and(|leads| leads != led_before);
        (stale || other).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_actor_answers_while_a_majority_can_talk_and_nothing_is_lost_when_all_can() -> Result<()> {
    if !can("make networks", try_network) {
        return Ok(());
    }
    let bed = Bed::make(Setup { network: true, ..setup("") }).await?;
    for (name, about, cut) in SHAPES {
        let (leader, others) = nodes(&bed, about).await?;
        let shut_out = cut(bed.cluster.network(), leader, others)?;
        wait_for("a packet to be lost on each way that is cut", async || {
            let swallowed = bed.cluster.network().swallowed().expect("the network counts");
            (!swallowed.is_empty() && swallowed.iter().all(|packets| *packets > 0)).then_some(())
        })
        .await;
        let took = bed.all_answer().await?;
        if let Some(node) = shut_out {
            notices(&bed, node, leader).await;
        }
        let again = bed.all_answer().await?;
        bed.cluster.network().heal()?;
        let healed = bed.heals(name, Instant::now()).await?;
        bed.check(name).await?;
        let [took, again, healed] = [took, again, healed].map(|time| time.as_millis());
        println!("{name}: all answered after {took} ms and again {again} ms, healed in {healed} ms");
    }
    bed.finish().await?;
    Ok(())
}
