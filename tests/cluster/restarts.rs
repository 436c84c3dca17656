//! Planned restarts.

use std::time::Duration;

use anyhow::{Result, ensure};
use lethe_tests::HEALTHY_MAX;

use crate::bed::{Bed, setup};

/// Longest silence of a counter. It is half a second here, or one; but on a machine with much other work a hand-over may
/// miss its moment, and then the group elects a leader as after a kill.
const SILENCE_MAX: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_loses_nothing_cuts_off_no_call_and_silences_nobody_for_long() -> Result<()> {
    let mut bed = Bed::make(setup("")).await?;
    for number in 0..3 {
        bed.cluster.node(number).stop().await?;
        bed.all_answer().await?;
        bed.cluster.node(number).start().await?;
        bed.cluster.healthy(HEALTHY_MAX).await?;
        bed.all_answer().await?;
    }
    let ledger = bed.finish().await?;
    println!("longest silence of a counter: {:?} in the middle, {:?} at most", ledger.gap_median(), ledger.gap_max());
    // Who was told that nothing was done may ask again: that is all a planned restart may ask of anybody.
    ensure!(ledger.unknown == 0, "{} calls may or may not have been done: {:?}", ledger.unknown, ledger.errors);
    ensure!(ledger.gap_max() < SILENCE_MAX, "a counter was silent for {:?}", ledger.gap_max());
    Ok(())
}
