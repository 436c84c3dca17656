//! How cost grows: with actors that exist, with actors that are awake, and with the log a node must read when it starts; what
//! more nodes are good for, and what callers see when one is replaced.
//!
//! ```text
//! cargo build --release
//! cargo bench -p lethe-tests --bench scale -- --registered 1000,100000,1000000 --live 1000,10000 --recover-mib 1024
//! ```
//!
//! ```text
//! --registered   create so many actors, let them sleep; then memory, disk, calls, listing, snapshots, restarts
//! --live         wake so many actors and keep them awake; then memory and CPU, and how they fall asleep
//! --recover-mib  write a log of that size; then a start without state, as after the state was lost
//! --capacity     what each node does under a fixed load, before and after as many nodes again joined
//! --replace-mib  write state of that size, then replace a node; what live calls see of it
//! ```
//!
//! Each line is one stage. `per actor` is what came on top of the same nodes without actors. Calls that fail are made
//! again until they are answered or the time is over, and the kinds of failure are printed.
//! Exit code 0 when everything that was asked for was measured, 1 otherwise.

mod bed;
mod capacity;
mod crowd;
#[path = "../http_load/histogram.rs"]
mod histogram;
mod live;
mod paced;
mod recovery;
mod registered;
mod replace;
mod snapshots;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Result;
use clap::Parser;
use lethe_tests::run_bench;

/// How cost grows with actors and with the log.
#[derive(Parser, Debug)]
#[command(name = "scale", about, max_term_width = 110)]
struct Args {
    /// Numbers of actors that exist and sleep, in ascending order; the same cluster grows from one to the next.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    registered: Vec<u64>,
    /// Numbers of actors that are awake, each in a cluster of its own.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    live: Vec<u64>,
    /// MiB of the log that a node replays.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=16_384))]
    recover_mib: Option<u64>,
    /// Compare the work of each node before and after as many nodes again joined.
    #[arg(long)]
    capacity: bool,
    /// Calls a second meanwhile.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    capacity_rate: u32,
    /// MiB of state of a node that is replaced.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    replace_mib: Option<u64>,
    /// Calls a second meanwhile.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    replace_rate: u32,
    /// Further lines of `[raft]` in every node's configuration while one is replaced, like `heartbeat_ms = 300`.
    #[arg(long, default_value = "")]
    raft: String,
    /// Nodes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=7))]
    nodes: u8,
    /// Data groups.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=512))]
    groups: u16,
    /// Calls under way while actors are created or woken.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    callers: u16,
    /// Calls that a latency is taken from; one after the other.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    sample: u64,
    /// Bytes of the one value that an actor holds.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    value_bytes: u32,
    /// Bytes of the values that fill the log.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    recover_value_bytes: u32,
    /// Longest time for creating actors; what exists then is measured, and the exit code says that it was not all.
    #[arg(long, default_value_t = 25.0, value_parser = minutes)]
    create_minutes_max: f64,
    /// How long live actors do nothing before they sleep; by default long enough to wake them all, ten a second.
    #[arg(long)]
    live_idle_ms: Option<u64>,
    /// Further lines of `[actors]` in every node's configuration, like `live_max = 100`.
    #[arg(long, default_value = "")]
    actors: String,
    /// Where the nodes keep their data; by default the folder for temporary files.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The `lethe` binary; by default the one beside this program.
    #[arg(long)]
    lethe: Option<PathBuf>,
    /// What `cargo bench` adds by itself.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Whether a stage measured what it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measured {
    All,
    Less,
}

fn minutes(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= 1440.0 => Ok(value),
        _ => Err("a number of minutes above 0 and up to a day is expected".into()),
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let some = !args.registered.is_empty() || !args.live.is_empty() || args.recover_mib.is_some();
    if !some && !args.capacity && args.replace_mib.is_none() {
        // `cargo bench` without arguments runs every bench; this one needs minutes, memory and disk.
        eprintln!(
            "scale: nothing to measure; say --registered, --live, --recover-mib, --capacity or --replace-mib, see --help"
        );
        return ExitCode::SUCCESS;
    }
    if !args.registered.is_sorted() {
        eprintln!("scale: the numbers of --registered must ascend: the same cluster grows from one to the next");
        return ExitCode::from(2);
    }
    run_bench("scale", measure(&args))
}

async fn measure(args: &Args) -> Result<()> {
    println!(
        "{} nodes, {} groups, values of {} B, {} callers",
        args.nodes, args.groups, args.value_bytes, args.callers
    );
    let mut measured = Measured::All;
    if !args.registered.is_empty() && registered::measure(args).await? == Measured::Less {
        measured = Measured::Less;
    }
    for live in &args.live {
        if live::measure(args, *live).await? == Measured::Less {
            measured = Measured::Less;
        }
    }
    if let Some(mib) = args.recover_mib {
        recovery::measure(args, mib << 20).await?;
    }
    if args.capacity {
        capacity::measure(args).await?;
    }
    if let Some(mib) = args.replace_mib
        && replace::measure(args, mib << 20).await? == Measured::Less
    {
        measured = Measured::Less;
    }
    let less = "not everything that was asked for was measured; the lines above say what was";
    anyhow::ensure!(measured == Measured::All, less);
    Ok(())
}

/// Milliseconds, for people.
fn ms(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1e3)
}

/// Seconds, for people.
fn secs(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// Bytes, for people.
fn bytes(bytes: f64) -> String {
    match bytes.abs() {
        size if size < 10e3 => format!("{bytes:.0} B"),
        size if size < 10e6 => format!("{:.1} kB", bytes / 1e3),
        _ => format!("{:.1} MB", bytes / 1e6),
    }
}
