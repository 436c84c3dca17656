//! Actors that exist and sleep: what creating them costs, what they take, and what slows down because they are there.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::Result;
use lethe_tests::{disk_bytes, run};
use serde_json::json;

use crate::{
    Args, Measured,
    bed::{Bed, NAMESPACE, Sum},
    bytes,
    crowd::{self, Work},
    ms, secs, snapshots,
};

/// Actors fall asleep soon, so that creating many does not need memory for all.
const IDLE_MS: u64 = 500;
/// Calls for latencies, all together.
const CALLS_MAX: Duration = Duration::from_secs(300);
/// The last ones that were called sleep within this.
const ASLEEP_MAX: Duration = Duration::from_secs(120);
/// Actors that are called again and again, so that they stay awake.
const AWAKE: u64 = 16;
/// Where a node keeps what: entries of its data directory.
const PLACES: [&str; 4] = ["wal", "state", "keys", "snapshots"];

/// Measures one cluster at every number that was asked for.
pub async fn measure(args: &Args) -> Result<Measured> {
    let settings = settings(args);
    let mut bed = Bed::form(args, &settings).await?;
    // Compared are nodes that were just started, with and without actors.
    bed.restart_all().await?;
    let empty = bed.settled().await?;
    println!("none      resident {} per node", bytes(empty.resident_bytes / f64::from(args.nodes)));
    let until = Instant::now() + Duration::from_secs_f64(args.create_minutes_max * 60.0);
    let mut have = 0;
    for wanted in &args.registered {
        let before = disk(&bed)?;
        let (have_before, complete) = (have, create(args, &bed, &mut have, *wanted, until).await?);
        println!("{have:<9} of {wanted} actors exist");
        asleep(args, &bed, have, empty).await?;
        grown(args, &bed, have - have_before, &before)?;
        calls(args, &bed, have).await?;
        listing(args, &bed, have).await?;
        restarts(args, &mut bed, have, empty).await?;
        snapshots::measure(&mut bed, args, have, &settings).await?;
        if !complete {
            println!("{have:<9} creating was stopped after {} minutes", args.create_minutes_max);
            return Ok(Measured::Less);
        }
    }
    Ok(Measured::All)
}

fn settings(args: &Args) -> String {
    format!("[actors]\nidle_ms = {IDLE_MS}\n{}\n", args.actors)
}

/// Creates actors up to a number; says whether there was time for all.
async fn create(args: &Args, bed: &Bed, have: &mut u64, wanted: u64, until: Instant) -> Result<bool> {
    let value = "v".repeat(args.value_bytes as usize);
    let work = Work { method: "put", arguments: json!([value]), callers: args.callers.into(), until };
    let before = bed.usage()?;
    let seen = crowd::call(bed, *have..wanted, &work).await?;
    let cpu = bed.usage()?.cpu - before.cpu;
    // Callers take actors in turn; when the time is over some of the last ones are missing.
    *have += seen.answered();
    println!(
        "{have:<9} create: {:.0}/s, {seen}; {:.2} ms of CPU each, all nodes",
        seen.per_second(),
        cpu.as_secs_f64() * 1e3 / seen.answered() as f64
    );
    Ok(*have == wanted)
}

async fn asleep(args: &Args, bed: &Bed, have: u64, empty: Sum) -> Result<()> {
    let took = bed.all_sleep(have, ASLEEP_MAX).await?;
    let now = bed.settled().await?;
    println!(
        "{have:<9} asleep: {} after the last call (idle_ms = {IDLE_MS}); resident {} per node, {} per actor and node",
        secs(took),
        bytes(now.resident_bytes / f64::from(args.nodes)),
        bytes((now.resident_bytes - empty.resident_bytes) / (have as f64 * f64::from(args.nodes)))
    );
    Ok(())
}

fn disk(bed: &Bed) -> Result<[u64; PLACES.len()]> {
    let mut sum = [0; PLACES.len()];
    for node in bed.cluster.nodes() {
        for (sum, place) in sum.iter_mut().zip(PLACES) {
            *sum += disk_bytes(&node.data().join(place))?;
        }
    }
    Ok(sum)
}

fn grown(args: &Args, bed: &Bed, created: u64, before: &[u64; PLACES.len()]) -> Result<()> {
    let now = disk(bed)?;
    let per_actor = |bytes: u64| bytes as f64 / (created as f64 * f64::from(args.nodes));
    let part = |place: usize| format!("{} {}", PLACES[place], bytes(per_actor(now[place]) - per_actor(before[place])));
    let parts: Vec<_> = (0..PLACES.len()).map(part).collect();
    println!("          disk per created actor and node: {}", parts.join(", "));
    Ok(())
}

/// Latencies of actors that sleep, spread over all that exist, and of a few that are awake.
async fn calls(args: &Args, bed: &Bed, have: u64) -> Result<()> {
    let sample = args.sample.min(have);
    let sleeping: Vec<u64> = (0..sample).map(|nth| nth * have / sample).collect();
    let awake: Vec<u64> = (0..sample).map(|nth| nth % AWAKE).collect();
    let work = Work { method: "get", arguments: json!([]), callers: 1, until: Instant::now() + CALLS_MAX };
    for (what, numbers) in [("asleep", sleeping), ("awake", awake)] {
        let before = bed.usage()?;
        let seen = crowd::call(bed, numbers.into_iter(), &work).await?;
        let cpu = bed.usage()?.cpu - before.cpu;
        let each = cpu.as_secs_f64() * 1e3 / seen.answered() as f64;
        println!(
            "{have:<9} call of one that is {what}: {seen}; {each:.2} ms of CPU each, all nodes and what they do anyway"
        );
    }
    Ok(())
}

async fn listing(args: &Args, bed: &Bed, have: u64) -> Result<()> {
    let mut parts = Vec::new();
    for limit in [100, 1000] {
        let (before, began) = (bed.usage()?.cpu, Instant::now());
        let page = bed.client().list(NAMESPACE, None, limit).await?;
        let took = began.elapsed();
        anyhow::ensure!(
            page.actors.len() as u64 == have.min(limit.into()),
            "a page of {limit} has {}",
            page.actors.len()
        );
        parts.push(format!("{limit} actors in {} ({} of CPU)", ms(took), ms(bed.usage()?.cpu - before)));
    }
    let mut command = Command::new(args.lethe.clone().unwrap_or_else(lethe_tests::lethe));
    command.args(["actor", "list", NAMESPACE, "--limit", "100", "--api", &bed.cluster.nodes()[0].grpc()]);
    let began = Instant::now();
    tokio::task::spawn_blocking(move || run(&mut command, "")).await??;
    parts.push(format!("`lethe actor list --limit 100` {}", ms(began.elapsed())));
    println!("{have:<9} first page: {}", parts.join(", "));
    Ok(())
}

/// All nodes at once: stopped cleanly, then killed.
async fn restarts(args: &Args, bed: &mut Bed, have: u64, empty: Sum) -> Result<()> {
    let nodes = f64::from(args.nodes);
    for what in ["a clean stop", "kill -9"] {
        let (ready, healthy) = if what == "kill -9" { bed.kill_all().await? } else { bed.restart_all().await? };
        let now = bed.settled().await?;
        println!(
            "{have:<9} start after {what}: ready {}, healthy {}; {} of CPU per node; resident {} per node, {} per actor",
            secs(ready),
            secs(healthy),
            secs(now.cpu.div_f64(nodes)),
            bytes(now.resident_bytes / nodes),
            bytes((now.resident_bytes - empty.resident_bytes) / (have as f64 * nodes)),
        );
    }
    Ok(())
}
