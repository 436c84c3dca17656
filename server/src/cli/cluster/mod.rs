//! `lethe cluster`: making a cluster and its nodes (offline, on their machines), and looking at and changing one that
//! runs (over gRPC, from anywhere).

mod change;
mod status;

use std::{future::Future, io::Write, path::PathBuf, time::Duration};

use clap::{Args, Subcommand};

use super::{Task, file::FileArgs};
use crate::cluster::GROUPS_MAX;
use change::{NodeArgs, TransferArgs, WaitArgs};
use status::StatusArgs;

/// Fewest data groups of a cluster. With fewer, members and leaders could not share them evenly.
const GROUPS_MIN: u32 = 16;
/// A copy of an actor more than an odd number costs more and survives no more.
const REPLICATIONS: [u32; 4] = [1, 3, 5, 7];

/// Examples of `lethe cluster`.
pub(super) const EXAMPLES: &str = "\
Examples:
  lethe cluster init --config n1.toml                   on the first machine; then: lethe serve
  lethe cluster add --config n1.toml n2 --out n2.join   there again: a file that lets n2 in
  lethe cluster join --config n2.toml n2.join           on the second machine; then: lethe serve
  lethe cluster status
  lethe cluster drain n2                                before n2 is stopped for long
  lethe cluster remove n2                               for good";

const INIT_EXAMPLES: &str = "\
Makes the data directory of the first node and the cluster's certificate authority. The
authority's private key stays in the tls directory; `lethe cluster add` needs it. The number of
groups is fixed for good.

Examples:
  lethe cluster init
  lethe cluster init --config n1.toml --groups 64 --replication 3 --json";

const ADD_EXAMPLES: &str = "\
Works where the certificate authority is, whether the node runs or not. The join file holds the
new node's private key: carry it over a safe channel, and delete it after `lethe cluster join`.

Examples:
  lethe cluster add n2 --out n2.join";

const JOIN_EXAMPLES: &str = "\
Makes the data directory of a new node. Nothing is sent: the node joins when it first runs
`lethe serve`.

Examples:
  lethe cluster join n2.join
  lethe cluster join --config n2.toml n2.join --json";

/// Arguments of `lethe cluster`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ClusterArgs {
    #[command(subcommand)]
    verb: ClusterVerb,
}

#[derive(Debug, Subcommand)]
enum ClusterVerb {
    /// Make a cluster, and this machine its first node.
    #[command(after_help = INIT_EXAMPLES)]
    Init(InitArgs),
    /// Make a join file for one more node.
    #[command(after_help = ADD_EXAMPLES)]
    Add(AddArgs),
    /// Make this machine a node, with a join file.
    #[command(after_help = JOIN_EXAMPLES)]
    Join(JoinArgs),
    /// Show nodes and groups, and what is wrong with them.
    Status(StatusArgs),
    /// Move all leadership away from a node, and keep it away.
    #[command(after_help = change::DRAIN_EXAMPLES)]
    Drain(WaitArgs),
    /// Undo a drain, or a removal that has not ended.
    #[command(after_help = change::UNDRAIN_EXAMPLES)]
    Undrain(NodeArgs),
    /// Take a node, live or dead, out of the cluster for good.
    #[command(after_help = change::REMOVE_EXAMPLES)]
    Remove(WaitArgs),
    /// Hand the leadership of a group to a node.
    #[command(after_help = change::TRANSFER_EXAMPLES)]
    Transfer(TransferArgs),
}

/// Arguments of `lethe cluster init`.
#[derive(Clone, Debug, Args)]
pub struct InitArgs {
    /// Which configuration.
    #[command(flatten)]
    pub file: FileArgs,
    /// Raft groups that actors are spread over.
    #[arg(long, default_value_t = 64,
          value_parser = clap::value_parser!(u32).range(i64::from(GROUPS_MIN)..=i64::from(GROUPS_MAX)))]
    groups: u32,
    /// Fewer groups than is sensible, for tests on small machines.
    #[arg(long, hide = true, conflicts_with = "groups",
          value_parser = clap::value_parser!(u32).range(1..i64::from(GROUPS_MIN)))]
    few_groups: Option<u32>,
    /// Nodes that hold a copy of each actor, once there are so many: 1, 3, 5 or 7.
    #[arg(long, default_value_t = 3, value_parser = replication)]
    pub replication: u32,
    /// Print {"cluster", "node"} instead of text.
    #[arg(long)]
    pub json: bool,
}

impl InitArgs {
    /// Data groups of the cluster.
    pub fn groups(&self) -> u32 {
        self.few_groups.unwrap_or(self.groups)
    }
}

fn replication(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| REPLICATIONS.contains(number));
    number.ok_or_else(|| "a group has 1, 3, 5 or 7 replicas".to_owned())
}

/// Arguments of `lethe cluster add`.
#[derive(Clone, Debug, Args)]
pub struct AddArgs {
    /// Which configuration.
    #[command(flatten)]
    pub file: FileArgs,
    /// What people will call the new node.
    pub name: String,
    /// Where to write the join file; it must not exist.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Print {"cluster", "node", "file"} instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `lethe cluster join`.
#[derive(Clone, Debug, Args)]
pub struct JoinArgs {
    /// Which configuration.
    #[command(flatten)]
    pub file: FileArgs,
    /// The join file.
    pub join_file: PathBuf,
    /// Print {"cluster", "node"} instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Deadline of one request to the node.
const DEADLINE: Duration = Duration::from_secs(30);

impl ClusterArgs {
    /// Runs the command: `act` does what is a node's, the rest is asked over gRPC and answered to `out`.
    pub(super) async fn run<A, F>(self, act: A, out: &mut impl Write) -> anyhow::Result<()>
    where
        A: FnOnce(Task) -> F,
        F: Future<Output = anyhow::Result<()>>,
    {
        match self.verb {
            ClusterVerb::Init(args) => act(Task::Init(args)).await,
            ClusterVerb::Add(args) => act(Task::Add(args)).await,
            ClusterVerb::Join(args) => act(Task::Join(args)).await,
            ClusterVerb::Status(args) => args.run(out).await,
            ClusterVerb::Drain(args) => args.drain(out).await,
            ClusterVerb::Undrain(args) => args.undrain(out).await,
            ClusterVerb::Remove(args) => args.remove(out).await,
            ClusterVerb::Transfer(args) => args.run(out).await,
        }
    }

    /// Whether errors are to be printed as JSON.
    pub(super) fn json(&self) -> bool {
        match &self.verb {
            ClusterVerb::Init(args) => args.json,
            ClusterVerb::Add(args) => args.json,
            ClusterVerb::Join(args) => args.json,
            ClusterVerb::Status(args) => args.api.json,
            ClusterVerb::Drain(args) | ClusterVerb::Remove(args) => args.of.api.json,
            ClusterVerb::Undrain(args) => args.api.json,
            ClusterVerb::Transfer(args) => args.to.api.json,
        }
    }
}
