//! Wall clocks that jump: nothing that counts may depend on them.

use std::time::Instant;

use anyhow::{Result, ensure};
use lethe_tests::{Setup, can, get, now_ms, try_clock, wait_up_to};

use crate::bed::{ANSWER_MAX, Bed, setup};

const HOUR_SECONDS: i64 = 3_600;
/// How far a clock may be from where it was set to: a slow answer makes it look late.
const NEAR_SECONDS: i64 = 600;

/// Makes a node's clock jump, and waits until its Workers see it.
async fn jump(bed: &Bed, number: usize, ahead_seconds: i64) -> Result<()> {
    let node = &bed.cluster.nodes()[number];
    node.clock().jump(ahead_seconds)?;
    // A node that was just formed may refuse a request while it finds out who leads.
    let told: i64 =
        wait_up_to(ANSWER_MAX, "Date.now()", async || get(&node.http(), "/clock").await.ok()?.text().parse().ok())
            .await;
    let off_seconds = (told - now_ms()) / 1000;
    ensure!((off_seconds - ahead_seconds).abs() < NEAR_SECONDS, "the clock of {} is off by {off_seconds} s", node.name);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_jump_by_hours_end_no_call_and_lose_no_write() -> Result<()> {
    if !can("change the clock of a program", try_clock) {
        return Ok(());
    }
    let mut bed = Bed::make(Setup { clocks: true, ..setup("") }).await?;
    for (number, ahead_seconds) in [(0, HOUR_SECONDS), (1, -HOUR_SECONDS), (2, 100 * HOUR_SECONDS), (0, 0)] {
        let jumped = Instant::now();
        jump(&bed, number, ahead_seconds).await?;
        bed.heals("a jump of a clock", jumped).await?;
        bed.all_answer().await?;
    }
    // A node whose clock is wrong comes back, too: what it wrote is not from the future, nor are others' certificates.
    for number in [1, 2] {
        bed.cluster.node(number).kill().await?;
        bed.come_back("kill -9 of a node with a wrong clock", &[number]).await?;
        bed.check("kill -9 of a node with a wrong clock").await?;
    }
    let ledger = bed.finish().await?;
    // Limits count the CPU's time.
    let limits: Vec<_> = ledger.errors.keys().filter(|error| error.contains("LIMIT")).collect();
    ensure!(limits.is_empty(), "jumps of a clock ended calls: {limits:?}");
    Ok(())
}
