//! Planned restarts.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lethe_client::{Actor, Client, Id};
use lethe_tests::{NAMESPACE, Posts, counter_name};
use serde_json::json;
use tokio::task::JoinSet;

use crate::bed::{Bed, COUNTERS, setup};

/// Longest silence of a counter. It is half a second here, or one; but on a machine with much other work a hand-over may
/// miss its moment, and then the group elects a leader as after a kill.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// As the last resort: calls that are not in their actors after so long never will be.
const BEGUN_MAX: Duration = Duration::from_secs(60);
/// How long the calls take that are not to be cut off.
const LONG_CALL_MS: u64 = 8_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_loses_nothing_cuts_off_no_call_and_silences_nobody_for_long() -> Result<()> {
    let mut bed = Bed::make(setup("")).await?;
    let posts = Posts::start(&bed.cluster);
    for number in 0..3 {
        bed.cluster.node(number).stop().await?;
        bed.all_answer().await?;
        bed.come_back("a planned stop", &[number]).await?;
        bed.all_answer().await?;
    }
    let posts = posts.stop().await?;
    println!("{posts} requests over HTTP/1.1 were answered");
    let ledger = bed.finish().await?;
    println!("longest silence of a counter: {:?} in the middle, {:?} at most", ledger.gap_median(), ledger.gap_max());
    // Who was told that nothing was done may ask again: that is all a planned restart may ask of anybody.
    let cut_off: Vec<_> = ledger.errors.keys().filter(|error| error.contains("(unknown)")).collect();
    ensure!(cut_off.is_empty(), "calls were cut off: {cut_off:?}");
    ensure!(ledger.gap_max() < SILENCE_MAX, "a counter was silent for {:?}", ledger.gap_max());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_take_long_end_before_their_group_is_handed_over() -> Result<()> {
    let mut bed = Bed::make(setup("")).await?;
    ensure!(bed.leads().await?[0] > 0, "the node that is restarted leads nothing");
    // Through a node that stays.
    let client = Client::connect(&bed.cluster.nodes()[1].grpc()).await?.with_deadline(10 * BEGUN_MAX);
    let actors: Vec<Actor> =
        (0..COUNTERS).map(|counter| client.actor(NAMESPACE, Id::name(counter_name(counter)))).collect();
    let mut calls = JoinSet::new();
    for actor in actors.clone() {
        calls.spawn(async move { actor.call_json("wait", &json!([LONG_CALL_MS])).await });
    }
    let began = Instant::now();
    for actor in &actors {
        while actor.call_json("waiting", &json!([])).await? != json!(1) {
            ensure!(began.elapsed() < BEGUN_MAX, "the calls do not begin");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    bed.cluster.node(0).stop().await?;
    while let Some(ended) = calls.join_next().await {
        ended?.context("a call was cut off")?;
    }
    bed.cluster.node(0).start().await?;
    let ledger = bed.finish().await?;
    ensure!(ledger.unknown == 0, "calls were cut off: {:?}", ledger.errors);
    Ok(())
}
