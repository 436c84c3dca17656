//! The command line: arguments in, an exit code out. What a command does is in the rooms below.
//!
//! stdout carries data, stderr carries talk. Exit codes: 0 done, 1 refused or failed, 2 wrong usage.

mod dev;
mod logs;

use std::{future::Future, process::ExitCode};

use clap::{Parser, Subcommand};

pub use self::{
    dev::DevArgs,
    logs::{LogArgs, LogFormat},
};

/// Exit code of a command that was refused or failed.
const REFUSED: u8 = 1;

const EXAMPLES: &str = "\
Examples:
  lethe dev                                   serve the project in this directory on port 8787
  lethe actor call Room lobby say '[\"hi\"]'    call a method of an actor

Exit codes: 0 done, 1 refused or failed, 2 wrong usage. stdout is data, stderr is talk.";

/// Runs Cloudflare-Workers code on your own machines: Workers in fresh isolates, and replicated actors
/// (Durable Objects) that can be destroyed for good.
#[derive(Debug, Parser)]
#[command(name = "lethe", version, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    /// How to log.
    #[command(flatten)]
    pub logs: LogArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve a Workers project on this machine, reloading it when it changes.
    ///
    /// Reads wrangler.jsonc, wrangler.json or wrangler.toml in DIR, serves the worker over HTTP and its actors over
    /// gRPC. A changed file deploys a new version; requests in flight finish on the version they began with.
    Dev(DevArgs),
}

/// Parses the command line and runs it; `dev` is what `lethe dev` does.
pub fn run<D, F>(dev: D) -> ExitCode
where
    D: FnOnce(DevArgs) -> F,
    F: Future<Output = anyhow::Result<()>>,
{
    let cli = Cli::parse();
    if let Err(error) = cli.logs.init() {
        return refuse(&error);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&anyhow::Error::new(error).context("cannot start worker threads")),
    };
    let done = runtime.block_on(async {
        match cli.command {
            Command::Dev(args) => dev(args).await,
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(&error),
    }
}

fn refuse(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::from(REFUSED)
}
