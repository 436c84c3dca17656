//! Closed-loop HTTP load: N connections, each sends its next request when the last was answered.
//!
//! ```text
//! cargo bench -p lethe-tests --bench http_load -- http://127.0.0.1:8787/ --connections 64 --seconds 10
//! ```
//!
//! Without a URL it measures itself against an empty server in the same process: the most it can see on this machine.
//! A closed loop slows down with its server, so latencies say what these N callers saw, not what an open crowd would.
//! Exit code 0 when something was measured, 1 when nothing was answered, 2 for wrong usage.

mod args;
mod caller;
mod ceiling;
mod histogram;
mod report;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;

use args::Args;
use caller::{Caller, Phase, Tally, Target};
use report::Report;

fn main() -> ExitCode {
    let args = Args::parse();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = args.threads {
        runtime.worker_threads(threads);
    }
    let runtime = match runtime.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(NOT_DONE, &format!("cannot start threads: {error}")),
    };
    let url = match &args.url {
        Some(url) => url.clone(),
        None => match runtime.block_on(ceiling::start()) {
            Ok(addr) => format!("http://{addr}/"),
            Err(error) => return fail(NOT_DONE, &format!("{error:#}")),
        },
    };
    let target = match Target::new(&url, &args) {
        Ok(target) => Arc::new(target),
        Err(error) => return fail(WRONG_USAGE, &format!("{error:#}")),
    };
    match runtime.block_on(measure(&url, target, args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(NOT_DONE, &format!("{error:#}")),
    }
}

const NOT_DONE: u8 = 1;
const WRONG_USAGE: u8 = 2;

fn fail(code: u8, text: &str) -> ExitCode {
    eprintln!("http_load: {text}");
    ExitCode::from(code)
}

async fn measure(url: &str, target: Arc<Target>, args: Args) -> anyhow::Result<()> {
    let phase = Arc::new(Phase::default());
    let mut callers = tokio::task::JoinSet::new();
    for connection in 0..args.connections {
        let caller = Caller::new(connection, target.clone(), phase.clone());
        callers.spawn(caller.run(args.streams));
    }
    tokio::time::sleep(Duration::from_secs_f64(args.warmup_seconds)).await;
    phase.measure();
    let began = Instant::now();
    tokio::time::sleep(Duration::from_secs_f64(args.seconds)).await;
    phase.stop();
    let elapsed = began.elapsed();

    let mut total = Tally::default();
    while let Some(tally) = callers.join_next().await {
        total.add(&tally?);
    }
    let report = Report::new(url, &args, elapsed, &total);
    if args.json {
        println!("{}", serde_json::to_string(&report.json())?);
    } else {
        print!("{}", report.text());
    }
    anyhow::ensure!(total.latencies.count() > 0, "no request was answered{}", total.first_error_text());
    Ok(())
}
