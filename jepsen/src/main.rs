//! `jepsen`: runs a workload against a real server while it is being broken, or judges a recorded run again.
//!
//! Exit codes: 0 valid, 1 violation, 2 unknown, 3 the harness failed or was used wrongly.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context;
use clap::{Args, Parser, Subcommand, builder::PossibleValuesParser};
use lethe_jepsen::{
    check::Verdict,
    mutants::{MUTANTS, Mutant},
    nemesis::Nemesis,
    run::{Config, run},
    verdict::{Judgement, judge_dir},
    workload::Name,
};

const HARNESS_FAILED: u8 = 3;
const FINAL_READS_MAX: Duration = Duration::from_secs(180);

const EXIT_CODES: &str = "\
Exit codes: 0 valid, 1 violation, 2 unknown, 3 the harness failed or was used wrongly.";

const MUTANTS_EXIT_CODES: &str = "\
Exit codes: 0 in nine of ten runs each liar was caught, and the honest server passed; 1 not so, 3 the harness failed
or was used wrongly.";

/// Consistency harness of Lethe.
#[derive(Parser)]
#[command(name = "jepsen", version, after_help = EXIT_CODES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a workload against a server of its own and judge what happened.
    ///
    /// Example: jepsen run -w register -n all --nodes 3 --time 60
    #[command(after_help = EXIT_CODES)]
    Run(RunArgs),
    /// Run servers that break a promise on purpose, until they are caught.
    ///
    /// Each is tried with the workload and the faults that fit it. `lethe-liar` is made by: cargo build -p lethe-server
    /// --features liar --bin lethe-liar
    #[command(after_help = MUTANTS_EXIT_CODES)]
    Mutants(MutantsArgs),
    /// Judge a recorded run again, with the checkers of today.
    #[command(after_help = EXIT_CODES)]
    Check {
        /// Folder that a run left behind.
        dir: PathBuf,
        /// Print the whole judgement as JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args)]
struct RunArgs {
    /// What clients do.
    #[arg(short, long, default_value = "register")]
    workload: Name,
    /// What is done to the server.
    #[arg(short, long, default_value = "kill")]
    nemesis: Nemesis,
    /// Servers: one by itself, or a cluster of 3 to 7.
    #[arg(long, default_value_t = 1, value_parser = nodes)]
    nodes: u8,
    /// Data groups of a cluster.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=512))]
    groups: u16,
    /// Seconds to run.
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(5..=86_400))]
    time: u64,
    /// Clients at the same time, in teams of four that share an actor.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    workers: u16,
    /// Calls in a second by all clients together, at most.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// Same seed, same calls and faults; without it, a random one.
    #[arg(long)]
    seed: Option<u64>,
    /// The `lethe` binary; by default the one beside this program.
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// New folder for what the run leaves behind; by default below target/jepsen.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the whole judgement as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct MutantsArgs {
    /// Only mutants of these names.
    #[arg(value_parser = PossibleValuesParser::new(MUTANTS.map(|mutant| mutant.name)))]
    names: Vec<String>,
    /// Runs of each.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    runs: u64,
    /// Seconds in which a liar must be caught.
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(5..=86_400))]
    time: u64,
    /// Seed of the first run, the next one for each further run; without it, a random one.
    #[arg(long)]
    seed: Option<u32>,
    /// The `lethe-liar` binary; by default the one beside this program.
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// Folder for what the runs leave behind: of those that went as they should, only the history.
    #[arg(long, value_name = "DIR", default_value = "target/jepsen")]
    out: PathBuf,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let failed = error.use_stderr();
            // Nothing is left to be said if even this cannot be printed.
            let _ = error.print();
            return if failed { ExitCode::from(HARNESS_FAILED) } else { ExitCode::SUCCESS };
        }
    };
    let judged = match cli.command {
        Command::Run(args) => start(&args).map(|judgement| (judgement, args.json)),
        Command::Check { dir, json } => judge_dir(&dir).map(|judgement| (judgement, json)),
        Command::Mutants(args) => return exit(mutants(&args)),
    };
    exit(judged.and_then(|(judgement, json)| print(&judgement, json)))
}

fn exit(result: anyhow::Result<ExitCode>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("the harness failed: {error:#}");
            ExitCode::from(HARNESS_FAILED)
        }
    }
}

fn nodes(text: &str) -> Result<u8, String> {
    match text.parse() {
        Ok(nodes @ (1 | 3..=7)) => Ok(nodes),
        _ => Err("1 or 3 to 7 is expected".into()),
    }
}

fn start(args: &RunArgs) -> anyhow::Result<Judgement> {
    let seed = args.seed.unwrap_or_else(rand::random);
    let server = match &args.server {
        Some(server) => server.clone(),
        None => std::env::current_exe()?.with_file_name("lethe"),
    };
    let nodes = usize::from(args.nodes);
    let name = format!("target/jepsen/{}-{}-{nodes}-{seed}", args.workload.as_str(), args.nemesis.name());
    let time = Duration::from_secs(args.time);
    let config = Config {
        server: server.canonicalize().with_context(|| format!("no server at {}", server.display()))?,
        out: args.out.clone().unwrap_or_else(|| name.into()),
        workload: args.workload,
        nemesis: args.nemesis,
        nodes,
        groups: args.groups,
        settings: Config::RESTLESS.into(),
        time,
        final_reads_max: FINAL_READS_MAX,
        workers: args.workers.into(),
        rate: args.rate.into(),
        seed,
        until_caught: false,
        required: Config::required(args.workload, args.nemesis, time, nodes),
    };
    eprintln!("seed {seed}, {} s, everything goes to {}", args.time, config.out.display());
    tokio::runtime::Runtime::new()?.block_on(run(&config))
}

/// Runs all mutants that are asked for; fails those that are not caught in nine of ten runs.
fn mutants(args: &MutantsArgs) -> anyhow::Result<ExitCode> {
    let liar = match &args.server {
        Some(server) => server.clone(),
        None => std::env::current_exe()?.with_file_name("lethe-liar"),
    };
    let wanted = |mutant: &Mutant| args.names.is_empty() || args.names.iter().any(|name| name == mutant.name);
    let runtime = tokio::runtime::Runtime::new()?;
    let mut all_right = true;
    for mutant in MUTANTS.into_iter().filter(wanted) {
        let mut right = 0;
        for run in 0..args.runs {
            let seed = u64::from(args.seed.unwrap_or_else(rand::random)) + run;
            let what = format!("{}-{}-{}-{seed}", mutant.name, mutant.workload.as_str(), mutant.nemesis.name());
            let time = Duration::from_secs(args.time);
            let attempt = runtime.block_on(mutant.attempt(&liar, args.out.join(what), time, seed))?;
            println!("{attempt}");
            right += u64::from(attempt.is_right());
        }
        let expected = if mutant.lies() { "caught" } else { "valid" };
        println!("{}: {right} of {} {expected}", mutant.name, args.runs);
        all_right &= right * 10 >= args.runs * 9;
    }
    Ok(if all_right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(judgement: &Judgement, json: bool) -> anyhow::Result<ExitCode> {
    if json {
        println!("{}", serde_json::to_string_pretty(judgement)?);
    } else {
        print!("{judgement}");
    }
    Ok(ExitCode::from(match judgement.verdict {
        Verdict::Valid => 0,
        Verdict::Violation(_) => 1,
        Verdict::Unknown(_) => 2,
    }))
}
