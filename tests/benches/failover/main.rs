//! Fail-over: kill -9 of the node that leads most, again and again, under load: how long until all actors answer again.
//!
//! ```text
//! cargo build --release && cargo bench -p lethe-tests --bench failover -- --kills 100
//! ```
//!
//! Callers count up counters through all nodes; a kill is over when every counter was counted up by a call that began
//! after it. At the end every node must hold every count that was acknowledged, and replicas must be equal.
//! Exit code 0 when that is so, 1 otherwise.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::Parser;
use lethe_tests::{Cluster, HEALTHY_MAX, Load, Setup, deploy_counters, leaders};

/// How long until all actors answer after the node that leads is killed.
#[derive(Parser, Debug)]
#[command(name = "failover", about, max_term_width = 110)]
struct Args {
    /// Kills. Without any nothing is measured.
    #[arg(long, default_value_t = 0)]
    kills: u32,
    /// Nodes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(3..=7))]
    nodes: u8,
    /// Data groups.
    #[arg(long, default_value_t = 64)]
    groups: u16,
    /// Counters; two callers each.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    counters: u16,
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

fn main() -> ExitCode {
    let args = Args::parse();
    if args.kills == 0 {
        eprintln!("failover: nothing to measure; say --kills, see --help");
        return ExitCode::SUCCESS;
    }
    match tokio::runtime::Runtime::new().map_err(Into::into).and_then(|runtime| runtime.block_on(measure(&args))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failover: {error:#}");
            ExitCode::from(1)
        }
    }
}

async fn measure(args: &Args) -> Result<()> {
    let setup = Setup {
        nodes: args.nodes.into(),
        groups: args.groups,
        binary: args.lethe.clone(),
        dir: args.dir.clone(),
        ..Setup::default()
    };
    let mut cluster = Cluster::form(setup).await?;
    deploy_counters(&cluster).await?;
    let load = Load::start(&cluster, args.counters.into());
    load.all_answer(HEALTHY_MAX).await?;
    let (mut answered, mut healed) = (Vec::new(), Vec::new());
    for kill in 1..=args.kills {
        let leading = leaders(&cluster.status(0).await?);
        let (most, groups) = leading.iter().max_by_key(|(_, groups)| **groups).context("nobody leads")?;
        let victim = cluster.nodes().iter().position(|node| node.name == *most).context("the leader is not ours")?;
        let (most, groups) = (most.clone(), *groups);
        cluster.node(victim).kill().await?;
        let took = load.all_answer(HEALTHY_MAX).await?;
        answered.push(took);
        cluster.node(victim).start().await?;
        let back = cluster.healthy(HEALTHY_MAX).await?;
        healed.push(back);
        println!(
            "kill {kill}: {most} led {groups} groups; all answered after {} ms, all healthy {} ms after its restart",
            took.as_millis(),
            back.as_millis()
        );
    }
    let ledger = load.stop().await?;
    cluster.healthy(HEALTHY_MAX).await?;
    ledger.check(&cluster).await?;
    cluster.digests_agree(HEALTHY_MAX).await?;
    for (what, mut times) in [("all actors answer", answered), ("all groups healthy after the restart", healed)] {
        times.sort_unstable();
        let ms = |share: f64| times[((times.len() as f64 * share).ceil() as usize).max(1) - 1].as_millis();
        let (p50, p90, p99, max) = (ms(0.5), ms(0.9), ms(0.99), ms(1.0));
        println!("{what}: p50 {p50} ms, p90 {p90} ms, p99 {p99} ms, max {max} ms over {} kills", times.len());
    }
    println!(
        "{} counters on {} nodes and {} groups: {} calls acknowledged, none missing; {} unknown; longest silence of a counter {} ms",
        args.counters,
        args.nodes,
        args.groups,
        ledger.acked,
        ledger.unknown,
        ledger.gap_max().as_millis()
    );
    for (error, count) in &ledger.errors {
        println!("  {count} x {error}");
    }
    Ok(())
}
