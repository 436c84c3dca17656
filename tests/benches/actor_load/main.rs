//! Closed-loop actor load over gRPC: for each number of callers, how many calls a second, and how long each took.
//!
//! ```text
//! lethe dev examples/counter &
//! cargo bench -p lethe-tests --bench actor_load -- COUNTER value      # reads only
//! cargo bench -p lethe-tests --bench actor_load -- COUNTER increment  # each answer waits for a durable write
//! ```
//!
//! Of a cluster, name all nodes: `--endpoint http://10.0.0.1:7070,http://10.0.0.2:7070,http://10.0.0.3:7070`.
//! Callers spread over `--actors` actors by name; with one actor it is that actor's own pace that is measured, since calls
//! enter it one at a time. Each caller sends its next call when the last was answered, and nothing is retried.
//! Exit code 0 when something was measured, 1 when nothing was answered, 2 for wrong usage.

#[path = "../http_load/histogram.rs"]
mod histogram;
mod round;

use std::process::ExitCode;

use clap::Parser;
use lethe_client::Client;
use lethe_tests::run_bench;
use serde_json::{Value, json};

use round::{Conditions, Round};

/// Closed-loop load on actors over gRPC.
#[derive(Parser, Debug)]
#[command(name = "actor_load", about, max_term_width = 110)]
struct Args {
    /// Namespace: a binding or class name, or `script/Class`. Without one nothing is measured.
    namespace: Option<String>,
    /// Method to call.
    #[arg(default_value = "value")]
    method: String,
    /// Its arguments, a JSON array.
    #[arg(default_value = "[]", value_parser = arguments)]
    arguments: Value,
    /// gRPC address of the node, or addresses of several: neighbouring callers then use different ones.
    #[arg(long, value_delimiter = ',', default_value = "http://127.0.0.1:7070")]
    endpoint: Vec<String>,
    /// Numbers of concurrent callers, one round each.
    #[arg(short, long, value_delimiter = ',', default_value = "1,16,256")]
    callers: Vec<u16>,
    /// Actors that the callers share; by default each caller has its own.
    #[arg(short, long, value_parser = clap::value_parser!(u16).range(1..))]
    actors: Option<u16>,
    /// gRPC connections to each node that the callers share.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1000))]
    connections: u16,
    /// Seconds to measure in each round.
    #[arg(short, long, default_value_t = 5.0, value_parser = seconds)]
    seconds: f64,
    /// Seconds before that which do not count.
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    warmup_seconds: f64,
    /// One line of JSON for each round.
    #[arg(long)]
    json: bool,
    /// What `cargo bench` adds by itself.
    #[arg(long, hide = true)]
    bench: bool,
}

fn arguments(text: &str) -> Result<Value, String> {
    match serde_json::from_str(text) {
        Ok(value @ Value::Array(_)) => Ok(value),
        Ok(_) => Err("a JSON array of arguments is expected, like '[1, \"two\"]'".into()),
        Err(error) => Err(error.to_string()),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= 86_400.0 => Ok(value),
        _ => Err("a number of seconds above 0 and up to a day is expected".into()),
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let Some(namespace) = args.namespace.clone() else {
        // `cargo bench` without arguments runs every bench; this one needs a node to talk to.
        eprintln!("actor_load: nothing to measure; say a namespace, see --help");
        return ExitCode::SUCCESS;
    };
    run_bench("actor_load", measure(&namespace, &args))
}

async fn measure(namespace: &str, args: &Args) -> anyhow::Result<()> {
    let mut clients = Vec::new();
    for _ in 0..args.connections {
        for endpoint in &args.endpoint {
            clients.push(Client::connect(endpoint).await?);
        }
    }
    if !args.json {
        println!("{namespace}.{}({}) at {}", args.method, args.arguments, args.endpoint.join(", "));
        println!(
            "{:>8} {:>8} {:>10} {:>10} {:>10} {:>10} {:>10} {:>8}",
            "callers", "actors", "calls/s", "p50 ms", "p90 ms", "p99 ms", "max ms", "errors"
        );
    }
    for callers in &args.callers {
        let conditions = Conditions {
            clients: clients.clone(),
            namespace: namespace.to_owned(),
            method: args.method.clone(),
            arguments: args.arguments.clone(),
            callers: *callers,
            actors: args.actors.unwrap_or(*callers).max(1),
            warmup_seconds: args.warmup_seconds,
            seconds: args.seconds,
        };
        let actors = conditions.actors;
        let round = round::run(conditions).await?;
        if args.json {
            println!("{}", serde_json::to_string(&json_line(namespace, args, *callers, actors, &round))?);
        } else {
            println!("{}", text_line(*callers, actors, &round));
            for (error, count) in &round.errors {
                println!("         {count} x {error}");
            }
        }
        let first = round.errors.keys().next().cloned().unwrap_or_default();
        anyhow::ensure!(round.latencies.count() > 0, "no call was answered: {first}");
    }
    Ok(())
}

fn text_line(callers: u16, actors: u16, round: &Round) -> String {
    let ms = |us: u64| us as f64 / 1000.0;
    let latencies = &round.latencies;
    format!(
        "{callers:>8} {actors:>8} {:>10.0} {:>10.3} {:>10.3} {:>10.3} {:>10.3} {:>8}",
        round.calls_per_second(),
        ms(latencies.quantile_us(0.5)),
        ms(latencies.quantile_us(0.9)),
        ms(latencies.quantile_us(0.99)),
        ms(latencies.max_us()),
        round.errors.values().sum::<u64>(),
    )
}

fn json_line(namespace: &str, args: &Args, callers: u16, actors: u16, round: &Round) -> Value {
    let latencies = &round.latencies;
    json!({
        "namespace": namespace,
        "method": args.method,
        "arguments": args.arguments,
        "endpoint": args.endpoint,
        "connections": args.connections,
        "callers": callers,
        "actors": actors,
        "seconds": round.elapsed.as_secs_f64(),
        "calls": latencies.count(),
        "calls_per_second": round.calls_per_second(),
        "latency_us": {
            "p50": latencies.quantile_us(0.5),
            "p90": latencies.quantile_us(0.9),
            "p99": latencies.quantile_us(0.99),
            "max": latencies.max_us(),
        },
        "errors": round.errors.values().sum::<u64>(),
        "errors_by_kind": round.errors,
    })
}
