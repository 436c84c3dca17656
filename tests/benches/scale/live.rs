//! Actors that are awake: what they take while they do nothing, and how they fall asleep.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;

use crate::{
    Args, Measured,
    bed::{Bed, Sum},
    bytes,
    crowd::{self, Work},
    secs,
};

/// How long nodes are watched while their actors do nothing.
const WATCHED: Duration = Duration::from_secs(10);
/// Least time before actors fall asleep, in milliseconds.
const IDLE_MS_MIN: u64 = 60_000;
/// And for each of them: at ten a second all are awake at once.
const IDLE_MS_EACH: u64 = 100;
/// They sleep within this after they may.
const ASLEEP_MAX: Duration = Duration::from_secs(120);

/// Measures one cluster with so many actors that are awake.
pub async fn measure(args: &Args, live: u64) -> Result<Measured> {
    let idle_ms = args.live_idle_ms.unwrap_or(IDLE_MS_MIN.max(live * IDLE_MS_EACH));
    let idle = Duration::from_millis(idle_ms);
    let mut bed = Bed::form(args, &format!("[actors]\nidle_ms = {idle_ms}\n{}\n", args.actors)).await?;
    bed.restart_all().await?;
    let (empty, empty_cpu) = watched(&bed).await?;
    let value = "v".repeat(args.value_bytes as usize);
    let mut work =
        Work { method: "put", arguments: json!([value]), callers: args.callers.into(), until: Instant::now() + idle };
    let woken = crowd::call(&bed, 0..live, &work).await?;
    println!("{live:<9} woken: {:.0}/s, {woken}", woken.per_second());
    work = Work { method: "get", arguments: json!([]), until: Instant::now() + idle, ..work };
    let seen = crowd::call(&bed, 0..live, &work).await?;
    println!("{live:<9} called again: {:.0}/s, {seen}", seen.per_second());
    let called = Instant::now();
    let awake = bed.awake().await?;
    if awake < live {
        println!("{live:<9} were called, but only {awake} are awake: of that many the following tells");
    }
    let (full, cpu) = watched(&bed).await?;
    let each = |full: f64, empty: f64| (full - empty) / awake.max(1) as f64;
    println!(
        "{live:<9} awake and idle: resident {} on all nodes, {} per actor; {:.2} mappings per actor; {} threads; {:.1} % of a CPU, {:.1} % without actors",
        bytes(full.resident_bytes),
        bytes(each(full.resident_bytes, empty.resident_bytes)),
        each(full.mappings as f64, empty.mappings as f64),
        full.threads,
        cpu * 100.0,
        empty_cpu * 100.0
    );
    // Looking at them does not keep them awake, but it is work for the nodes.
    tokio::time::sleep((called + idle).saturating_duration_since(Instant::now())).await;
    let (before, began) = (bed.usage()?, Instant::now());
    bed.all_sleep(live, ASLEEP_MAX).await?;
    let took = called.elapsed();
    let after = bed.settled().await?;
    let cpu = (after.cpu - before.cpu).as_secs_f64() - began.elapsed().as_secs_f64() * empty_cpu;
    println!(
        "{live:<9} asleep: {} after the last call (idle_ms = {idle_ms}), {:.2} ms of CPU per actor; resident {} on all nodes",
        secs(took),
        cpu * 1e3 / awake.max(1) as f64,
        bytes(after.resident_bytes)
    );
    Ok(if awake == live { Measured::All } else { Measured::Less })
}

/// What the nodes take, and the share of one CPU that they use, while nobody calls.
async fn watched(bed: &Bed) -> Result<(Sum, f64)> {
    let (before, began) = (bed.settled().await?, Instant::now());
    tokio::time::sleep(WATCHED).await;
    let after = bed.usage()?;
    Ok((after, (after.cpu - before.cpu).as_secs_f64() / began.elapsed().as_secs_f64()))
}
