//! Lethe beside etcd and Restate: three processes each, the same values, callers and disk, in one run.
//!
//! ```text
//! cargo build --release && cargo bench -p lethe-tests --bench compare -- --systems lethe,etcd,restate
//! ```
//!
//! Each caller sends its next call when the last was answered; nothing is retried. Callers spread over all three
//! nodes, each has a key or an actor of its own. etcd's binary is Debian's `etcd-server`; Restate's comes from npm
//! (`--restate DIR` names a folder where `@restatedev/restate-server` and `@restatedev/restate-sdk` are installed).
//! Exit code 0 when something was measured, 1 when not.

mod caller;
mod etcd;
#[path = "../http_load/histogram.rs"]
mod histogram;
mod lethe;
mod restate;
mod round;
mod table;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use lethe_tests::{Process, run_bench};

use caller::Caller;
use table::Table;

/// Nodes of each system.
const NODES: usize = 3;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum System {
    Lethe,
    Etcd,
    Restate,
}

/// Lethe beside etcd and Restate.
#[derive(Parser, Debug)]
#[command(name = "compare", about, max_term_width = 110)]
struct Args {
    /// Systems, in the order in which they are measured. Without one nothing is measured.
    #[arg(long, value_delimiter = ',')]
    systems: Vec<System>,
    /// Numbers of concurrent callers, one round each.
    #[arg(long, value_delimiter = ',', default_value = "1,64,512", value_parser = clap::value_parser!(u16).range(1..))]
    callers: Vec<u16>,
    /// What to call, like `put,get`; everything by default.
    #[arg(long, value_delimiter = ',')]
    calls: Vec<String>,
    /// Bytes of a value.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    value_bytes: u32,
    /// Connections to each node that the callers share; a program usually has one.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    connections: u16,
    /// Seconds to measure in each round.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Seconds before that which do not count.
    #[arg(long, default_value_t = 2.0)]
    warmup_seconds: f64,
    /// How often everything is measured; systems take turns.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100))]
    repeat: u16,
    /// Data groups of Lethe.
    #[arg(long, default_value_t = 64)]
    groups: u16,
    /// Where all systems keep their data; by default the folder for temporary files.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The `lethe` binary; by default the one beside this program.
    #[arg(long)]
    lethe: Option<PathBuf>,
    /// Folder with Restate's npm packages.
    #[arg(long, default_value = ".")]
    restate: PathBuf,
    /// What `cargo bench` adds by itself.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A system that runs, and the operations it can be asked for.
struct Running {
    /// Its name and version.
    name: String,
    /// What it consists of.
    processes: Vec<u32>,
    /// Name of each operation, and its callers.
    operations: Vec<(&'static str, Vec<Caller>)>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.systems.is_empty() {
        // `cargo bench` without arguments runs every bench; this one needs three clusters and minutes.
        eprintln!("compare: nothing to measure; say --systems, see --help");
        return ExitCode::SUCCESS;
    }
    run_bench("compare", measure(&args))
}

async fn measure(args: &Args) -> Result<()> {
    let base = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let callers_max = args.callers.iter().copied().max().context("no number of callers")?;
    let mut table = Table::default();
    println!(
        "{} processes each on {}, values of {} B, connections to each node: {}, {} s after {} s",
        NODES,
        base.display(),
        args.value_bytes,
        args.connections,
        args.seconds,
        args.warmup_seconds
    );
    Table::head();
    for _ in 0..args.repeat {
        for system in &args.systems {
            let dir = tempfile::TempDir::new_in(&base).context("a folder for the data")?;
            // Whatever runs ends when this is dropped.
            match system {
                System::Lethe => {
                    let (running, cluster) = lethe::start(args, dir.path(), callers_max).await?;
                    rounds(args, running, &mut table).await?;
                    drop(cluster);
                }
                System::Etcd => {
                    let (running, processes) = etcd::start(args, dir.path(), callers_max).await?;
                    rounds(args, running, &mut table).await?;
                    drop(processes);
                }
                System::Restate => {
                    let (running, processes) = restate::start(args, dir.path(), callers_max).await?;
                    rounds(args, running, &mut table).await?;
                    drop(processes);
                }
            }
        }
    }
    table.ratios();
    Ok(())
}

fn pids(processes: &[Process]) -> Vec<u32> {
    processes.iter().filter_map(Process::pid).collect()
}

async fn rounds(args: &Args, running: Running, table: &mut Table) -> Result<()> {
    for (operation, mut callers) in running.operations {
        if !args.calls.is_empty() && !args.calls.iter().any(|call| call == operation) {
            continue;
        }
        for count in &args.callers {
            let rest = callers.split_off(usize::from(*count).min(callers.len()));
            let (seen, back) = round::run(callers, &running.processes, args.warmup_seconds, args.seconds).await?;
            callers = back;
            callers.extend(rest);
            table.row(&running.name, operation, *count, &seen);
            let first = seen.errors.keys().next().cloned().unwrap_or_default();
            anyhow::ensure!(seen.latencies.count() > 0, "{} {operation}: no call was answered: {first}", running.name);
        }
    }
    Ok(())
}
