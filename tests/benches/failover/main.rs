//! Fail-over: kill -9 of the node that leads most, again and again, under load: how long until all actors answer again.
//! And planned restarts of one node after the other: how long each actor is silent.
//!
//! ```text
//! cargo build --release && cargo bench -p lethe-tests --bench failover -- --restarts 30 --kills 100
//! ```
//!
//! Callers count up counters through all nodes; a kill is over when every counter was counted up by a call that began
//! after it. At the end every node must hold every count that was acknowledged, and replicas must be equal.
//! Exit code 0 when that is so, 1 otherwise.
//!
//! Of a restart in which a counter was silent for long (`--explain-ms`), what its callers saw is told, and what the nodes
//! logged meanwhile: how long the parts of hand-overs took, and what else was slow.

mod explain;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use clap::Parser;
use lethe_client::{Client, Id};
use lethe_tests::{Cluster, HEALTHY_MAX, Load, NAMESPACE, Setup, counter_name, deploy_counters, leaders, run_bench};

/// How long until all actors answer after the node that leads is killed.
#[derive(Parser, Debug)]
#[command(name = "failover", about, max_term_width = 110)]
struct Args {
    /// Kills.
    #[arg(long, default_value_t = 0)]
    kills: u32,
    /// Planned restarts, before the kills.
    #[arg(long, default_value_t = 0)]
    restarts: u32,
    /// A counter that is silent for longer in a planned restart is explained, milliseconds. The nodes log more for it.
    #[arg(long)]
    explain_ms: Option<u64>,
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
    if args.kills == 0 && args.restarts == 0 {
        eprintln!("failover: nothing to measure; say --kills or --restarts, see --help");
        return ExitCode::SUCCESS;
    }
    run_bench("failover", measure(&args))
}

async fn measure(args: &Args) -> Result<()> {
    let setup = Setup {
        nodes: args.nodes.into(),
        groups: args.groups,
        binary: args.lethe.clone(),
        dir: args.dir.clone(),
        log: args.explain_ms.map(|_| explain::FILTER.to_owned()),
        ..Setup::default()
    };
    let mut cluster = Cluster::form(setup).await?;
    deploy_counters(&cluster).await?;
    let load = Load::start(&cluster, args.counters.into());
    load.all_answer(HEALTHY_MAX).await?;
    let silent = restart(args, &mut cluster, &load).await?;
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
    percentiles("a counter is silent at most, in a planned restart", silent);
    percentiles("all actors answer after a kill", answered);
    percentiles("all groups healthy after the restart of the killed node", healed);
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

/// Restarts one node after the other; gives the longest silence of each counter in each restart.
async fn restart(args: &Args, cluster: &mut Cluster, load: &Load) -> Result<Vec<Duration>> {
    let (mut silent, limit) = (Vec::new(), args.explain_ms.map_or(u128::MAX, u128::from));
    load.silences();
    for restart in 0..args.restarts {
        let number = restart as usize % cluster.nodes().len();
        cluster.node(number).stop().await?;
        cluster.node(number).start().await?;
        cluster.healthy(HEALTHY_MAX).await?;
        load.all_answer(HEALTHY_MAX).await?;
        let silences = load.silences();
        let longest = silences.iter().enumerate().max_by_key(|(_, silence)| silence.lasted);
        if let Some((counter, silence)) = longest.filter(|(_, silence)| silence.lasted.as_millis() >= limit) {
            println!(
                "restart {} of n{}: counter {counter} was silent for {:?}",
                restart + 1,
                number + 1,
                silence.lasted
            );
            explain::explain(silence, group_of(cluster, counter).await?, cluster.nodes());
        }
        if let Some(call) = load.longest_call().filter(|call| call.lasted().as_millis() >= limit) {
            let (node, lasted, result) = (call.node + 1, call.lasted(), &call.result);
            println!("restart {} of n{}: a call at n{node} took {lasted:?}: {result}", restart + 1, number + 1);
        }
        silent.extend(silences.into_iter().map(|silence| silence.lasted));
    }
    Ok(silent)
}

/// The group that a counter belongs to.
async fn group_of(cluster: &Cluster, counter: usize) -> Result<u32> {
    let node = cluster.running().next().context("no node runs")?;
    let actor = Client::connect(&node.grpc()).await?.actor(NAMESPACE, Id::name(counter_name(counter)));
    Ok(actor.show().await?.group)
}

fn percentiles(what: &str, mut times: Vec<Duration>) {
    if times.is_empty() {
        return;
    }
    times.sort_unstable();
    let ms = |share: f64| times[((times.len() as f64 * share).ceil() as usize).max(1) - 1].as_millis();
    let (p50, p90, p99, max) = (ms(0.5), ms(0.9), ms(0.99), ms(1.0));
    println!("{what}: p50 {p50} ms, p90 {p90} ms, p99 {p99} ms, max {max} ms, of {}", times.len());
}
