//! SIGSTOP of the node that leads: it wakes up and believes that it still does.

use std::time::Instant;

use anyhow::Result;

use crate::bed::{Bed, setup};

/// That two instances of an actor both have effects is what the load would find: a count twice, or one too small.
#[tokio::test(flavor = "multi_thread")]
async fn a_paused_leader_has_no_effect_after_others_took_over() -> Result<()> {
    let mut bed = Bed::make(setup("")).await?;
    for _ in 0..2 {
        let leader = bed.leads_most().await?;
        bed.cluster.node(leader).pause().await?;
        bed.all_answer().await?;
        bed.cluster.node(leader).resume()?;
        bed.heals("a pause", Instant::now()).await?;
        bed.all_answer().await?;
    }
    bed.finish().await?;
    Ok(())
}
