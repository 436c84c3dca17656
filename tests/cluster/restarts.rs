//! Planned restarts.

use anyhow::Result;
use lethe_tests::HEALTHY_MAX;

use crate::bed::{Bed, setup};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_by_a_rolling_restart() -> Result<()> {
    let mut bed = Bed::make(setup("")).await?;
    for number in 0..3 {
        bed.cluster.node(number).stop().await?;
        bed.all_answer().await?;
        bed.cluster.node(number).start().await?;
        bed.cluster.healthy(HEALTHY_MAX).await?;
        bed.all_answer().await?;
    }
    bed.finish().await?;
    Ok(())
}
