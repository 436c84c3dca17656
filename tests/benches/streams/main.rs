//! Bodies that actors write bit by bit, as a front end of a language model does: CPU for each chunk, and how late it comes.
//!
//! ```text
//! cargo build --release
//! cargo bench -p lethe-tests --bench streams -- --nodes 1,3 --sessions 1,32 --pace-ms 10,0
//! ```
//!
//! Each session reads a body of one actor, from the node where that lives, over gRPC. The actor writes a chunk, waits for
//! `--pace-ms`, and writes the next one; with 0 it writes whenever it is asked for more. A chunk says when it was written.
//! Each line is one round. CPU is user and system time of all nodes, without what they use at rest in the same time.
//! Exit code 0 when every chunk of every round came, in its order; 1 otherwise.

#[path = "../http_load/histogram.rs"]
mod histogram;
mod session;

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::Parser;
use lethe_client::{Actor, Client, Id};
use lethe_tests::{Cluster, Project, Setup, Usage, run_bench};
use serde_json::json;

use session::Seen;

/// Nodes at rest are watched for so long.
const RESTED: Duration = Duration::from_secs(5);
const NAMESPACE: &str = "Talker";

const INDEX_JS: &str = "
import { DurableObject } from 'cloudflare:workers';
export class Talker extends DurableObject {
  here() { return true; }
  fetch(request) {
    const [chunks, pace] = new URL(request.url).pathname.slice(1).split('/').map(Number);
    const encoder = new TextEncoder();
    const chunk = (number) => encoder.encode(`${String(number).padStart(10)} ${Date.now()}\\n`);
    let written = 0;
    const write = (stream) => {
      if (written === chunks) stream.close(); else stream.enqueue(chunk(written++));
      return written < chunks;
    };
    const steadily = async (stream) => {
      do { await new Promise((done) => setTimeout(done, pace)); } while (write(stream));
      stream.close();
    };
    return new Response(new ReadableStream(pace > 0 ? { start(s) { steadily(s); } } : { pull(s) { write(s); } }));
  }
}
export default { fetch() { return new Response('streams'); } };";

/// What it costs to stream from actors.
#[derive(Parser, Debug)]
#[command(name = "streams", about, max_term_width = 110)]
struct Args {
    /// Numbers of nodes; each has a cluster of its own. Without them nothing is measured.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u8).range(1..=7))]
    nodes: Vec<u8>,
    /// Numbers of bodies that are read at the same time, one round each.
    #[arg(long, value_delimiter = ',', default_value = "1,32", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    sessions: Vec<u64>,
    /// Milliseconds between two chunks of a body, one round each.
    #[arg(long, value_delimiter = ',', default_value = "10,0", value_parser = clap::value_parser!(u64).range(0..=60_000))]
    pace_ms: Vec<u64>,
    /// Chunks of a body.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    chunks: u64,
    /// Data groups.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=512))]
    groups: u16,
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
    if args.nodes.is_empty() {
        eprintln!("streams: nothing to measure; say --nodes, see --help");
        return ExitCode::SUCCESS;
    }
    run_bench("streams", measure(&args))
}

async fn measure(args: &Args) -> Result<()> {
    for nodes in &args.nodes {
        let setup = Setup {
            nodes: (*nodes).into(),
            groups: args.groups,
            binary: args.lethe.clone(),
            dir: args.dir.clone(),
            ..Setup::default()
        };
        let cluster = Cluster::form(setup).await?;
        let project = Project::new(INDEX_JS, &[("TALKER", NAMESPACE)]);
        cluster.deploy(project.path()).await?;
        let (before, began) = (cpu(&cluster)?, Instant::now());
        tokio::time::sleep(RESTED).await;
        let at_rest = (cpu(&cluster)? - before).as_secs_f64() / began.elapsed().as_secs_f64();
        for sessions in &args.sessions {
            for pace_ms in &args.pace_ms {
                round(args, &cluster, at_rest, *sessions, *pace_ms).await?;
            }
        }
    }
    Ok(())
}

/// Reads so many bodies at the same time.
async fn round(args: &Args, cluster: &Cluster, at_rest: f64, sessions: u64, pace_ms: u64) -> Result<()> {
    let actors = actors(cluster, sessions).await?;
    // The first body of each actor is for the compilers.
    session::read_all(&actors, args.chunks.min(100), pace_ms).await?;
    let (before, began) = (cpu(cluster)?, Instant::now());
    let Seen { delays, gaps } = session::read_all(&actors, args.chunks, pace_ms).await?;
    let elapsed = began.elapsed().as_secs_f64();
    let cpu = (cpu(cluster)? - before).as_secs_f64() - at_rest * elapsed;
    let (chunks, ms) = (gaps.count(), |us: u64| us as f64 / 1e3);
    println!(
        "{} nodes, {sessions:>4} bodies, pace {pace_ms:>3} ms: {:>7.0} chunks/s, {:>6.1} us of CPU each; late p50 {:.0} ms, p99 {:.0} ms; \
         from one to the next p50 {:.2} ms, p99 {:.2} ms, max {:.0} ms",
        cluster.nodes().len(),
        chunks as f64 / elapsed,
        cpu * 1e6 / chunks as f64,
        ms(delays.quantile_us(0.5)),
        ms(delays.quantile_us(0.99)),
        ms(gaps.quantile_us(0.5)),
        ms(gaps.quantile_us(0.99)),
        ms(gaps.max_us()),
    );
    Ok(())
}

/// Actors that are awake, and found.
async fn actors(cluster: &Cluster, sessions: u64) -> Result<Vec<Actor>> {
    let doors: Vec<String> = cluster.nodes().iter().map(|node| node.grpc()).collect();
    let doors: Vec<&str> = doors.iter().map(String::as_str).collect();
    let client = Client::connect_any(&doors).await?;
    let mut actors = Vec::new();
    for number in 0..sessions {
        let actor = client.actor(NAMESPACE, Id::name(format!("talker-{number}")));
        actor.call_json("here", &json!([])).await?;
        actors.push(actor);
    }
    Ok(actors)
}

/// CPU time of all nodes so far.
fn cpu(cluster: &Cluster) -> Result<Duration> {
    let used = cluster.nodes().iter().map(|node| Ok(Usage::of(node.pid().context("a node does not run")?)?.cpu));
    used.sum()
}
