//! Planned restarts.

use std::time::Duration;

use anyhow::{Result, ensure};
use lethe_tests::HEALTHY_MAX;

use crate::bed::{Bed, setup};

/// Longest silence of a counter. It is half a second here, or one; but on a machine with much other work a hand-over may
/// miss its moment, and then the group elects a leader as after a kill.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// A request that crosses the last frames of a connection that the stopping node closes: HTTP/2 could tell that it was not
/// taken, but its Rust library does not tell us. It is rare, and nothing in a Lethe node cut it off.
const CROSSED: &str = "h protocol error: http error";

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
    let cut_off = |error: &&String| error.contains("(unknown)") && !error.contains(CROSSED);
    let cut_off: Vec<_> = ledger.errors.keys().filter(cut_off).collect();
    ensure!(cut_off.is_empty(), "calls were cut off: {cut_off:?}");
    ensure!(ledger.gap_max() < SILENCE_MAX, "a counter was silent for {:?}", ledger.gap_max());
    Ok(())
}
