//! The command line: arguments in, an exit code out. What a command does is in the rooms below.
//!
//! Results go to stdout, messages and logs to stderr. Exit codes: 0 success, 1 refused or failed, 2 usage error.

mod actor;
mod api;
mod cluster;
pub mod config;
mod deploy;
mod dev;
mod file;
mod logs;
mod output;
mod serve;

use std::{future::Future, process::ExitCode};

use anyhow::Context;
use clap::{Parser, Subcommand};

pub use self::{
    actor::ActorArgs,
    cluster::{AddArgs, ClusterArgs, InitArgs, JoinArgs},
    deploy::{DeployArgs, VersionsArgs},
    dev::DevArgs,
    logs::{LogArgs, LogFormat},
    serve::ServeArgs,
};

/// Exit code of a command that was refused or failed.
const REFUSED: u8 = 1;

const EXAMPLES: &str = "\
Examples:
  lethe dev                                   serve the project in this directory on port 8787
  lethe dev examples/counter --port 8080      serve another one on another port
  lethe actor call Room lobby say '[\"hi\"]'    call a method of an actor
  lethe serve --config lethe.toml             run a node of a cluster
  lethe deploy examples/counter               deploy a project to a cluster
  lethe cluster status                        look at the cluster

Results go to stdout, messages and logs to stderr. Exit codes: 0 success, 1 refused or failed, 2
usage error. A node that can no longer trust its disk, or whose state fails, aborts (SIGABRT).";

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
    /// Run a node of a cluster.
    ///
    /// Its data directory is made once, by `lethe cluster init` or `lethe cluster join`.
    Serve(ServeArgs),
    /// Make a cluster, add nodes to it, look at it and change it.
    Cluster(ClusterArgs),
    /// Deploy a Workers project to a cluster.
    Deploy(DeployArgs),
    /// Look at the versions a cluster keeps, and go back to one.
    Versions(VersionsArgs),
    /// Call, destroy, list and show actors of a running node.
    #[command(after_help = actor::EXAMPLES)]
    Actor(ActorArgs),
}

/// What is done by a node, or to a node's files on this machine; everything else a command asks over gRPC.
#[derive(Debug)]
pub enum Task {
    /// `lethe dev`
    Dev(DevArgs),
    /// `lethe serve`
    Serve(ServeArgs),
    /// `lethe cluster init`
    Init(InitArgs),
    /// `lethe cluster add`
    Add(AddArgs),
    /// `lethe cluster join`
    Join(JoinArgs),
}

/// Parses the command line and runs it; `act` does a node's tasks.
pub fn run<A, F>(act: A) -> ExitCode
where
    A: FnOnce(Task) -> F,
    F: Future<Output = anyhow::Result<()>>,
{
    let cli = Cli::parse();
    let as_json = match &cli.command {
        Command::Actor(args) => args.json(),
        Command::Cluster(args) => args.json(),
        Command::Dev(_) | Command::Serve(_) => false,
        Command::Deploy(args) => args.json(),
        Command::Versions(args) => args.json(),
    };
    let done = cli.logs.init().and_then(|()| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.context("cannot start worker threads")?;
        runtime.block_on(async {
            match cli.command {
                Command::Dev(args) => act(Task::Dev(args)).await,
                Command::Serve(args) => act(Task::Serve(args)).await,
                Command::Cluster(args) => args.run(act, &mut std::io::stdout()).await,
                Command::Deploy(args) => args.run(&mut std::io::stdout()).await,
                Command::Versions(args) => args.run(&mut std::io::stdout()).await,
                Command::Actor(args) => args.run(&mut std::io::stdout()).await,
            }
        })
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if output::nobody_reads(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::print_error(&error, as_json);
            ExitCode::from(REFUSED)
        }
    }
}
