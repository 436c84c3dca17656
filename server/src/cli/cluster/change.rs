//! `lethe cluster drain | undrain | remove | transfer`: each changes one thing and, where that takes time, waits for it.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use anyhow::bail;
use clap::Args;
use lethe_client::{Client, ClusterStatus, NodeState, NodeStatus};
use serde_json::json;

use super::{super::api::ApiArgs, DEADLINE};

/// Between two looks at what is waited for.
const POLL: Duration = Duration::from_millis(200);

/// Longest `--timeout`, seconds.
const TIMEOUT_SECS_MAX: u64 = 86_400;

pub(super) const DRAIN_EXAMPLES: &str = "\
The node keeps its replicas and goes on serving requests; it only leads nothing where another node
can. `lethe serve` does the same by itself when it is stopped; drain keeps a node so while it comes
and goes.

Examples:
  lethe cluster drain n2
  lethe cluster drain 0191e1c2-... --no-wait";

pub(super) const UNDRAIN_EXAMPLES: &str = "\
Examples:
  lethe cluster undrain n2";

pub(super) const REMOVE_EXAMPLES: &str = "\
Its replicas move to other nodes first; then nobody listens to it any more, its process ends by
itself, and its id is never used again. To come back, the machine needs a new join file and an
empty data directory.

Examples:
  lethe cluster remove n2
  lethe cluster remove n2 --no-wait";

pub(super) const TRANSFER_EXAMPLES: &str = "\
The cluster may move it back later: leaders are kept spread evenly.

Examples:
  lethe cluster transfer 7 n2";

/// Which node, and how to reach the cluster.
#[derive(Debug, Args)]
pub(in crate::cli) struct NodeArgs {
    /// Id of the node, or its name if only one node has it.
    node: String,
    #[command(flatten)]
    pub(super) api: ApiArgs,
}

/// Which node, how to reach the cluster, and how long to wait for what was begun.
#[derive(Debug, Args)]
pub(in crate::cli) struct WaitArgs {
    #[command(flatten)]
    pub(super) of: NodeArgs,
    /// Return when it is decided; don't wait until it is done.
    #[arg(long)]
    no_wait: bool,
    /// Stop waiting after this many seconds; what was begun goes on.
    #[arg(long, default_value_t = 300, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=TIMEOUT_SECS_MAX))]
    timeout: u64,
}

/// Which group, to which node, and how to reach the cluster.
#[derive(Debug, Args)]
pub(in crate::cli) struct TransferArgs {
    /// Number of the group.
    group: u32,
    #[command(flatten)]
    pub(super) to: NodeArgs,
}

impl NodeArgs {
    pub(super) async fn undrain(self, out: &mut impl Write) -> anyhow::Result<()> {
        let id = self.api.connect(DEADLINE).await?.undrain_node(&self.node).await?;
        say(out, self.api.json, &id, "active")
    }
}

impl TransferArgs {
    pub(super) async fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        let id = self.to.api.connect(DEADLINE).await?.transfer_group(self.group, &self.to.node).await?;
        if self.to.api.json {
            writeln!(out, "{}", json!({ "group": self.group, "leader": id }))?;
        } else {
            writeln!(out, "{id} leads group {}", self.group)?;
        }
        Ok(())
    }
}

impl WaitArgs {
    pub(super) async fn drain(self, out: &mut impl Write) -> anyhow::Result<()> {
        let client = self.of.api.connect(DEADLINE).await?;
        let id = client.drain_node(&self.of.node).await?;
        self.until(&client, "the node still leads groups", |status| leads_nothing(status, &id)).await?;
        say(out, self.of.api.json, &id, "draining")
    }

    pub(super) async fn remove(self, out: &mut impl Write) -> anyhow::Result<()> {
        let client = self.of.api.connect(DEADLINE).await?;
        let id = client.remove_node(&self.of.node).await?;
        let what = "the node's replicas are still moving to others";
        self.until(&client, what, |status| is_removed(status, &id)).await?;
        say(out, self.of.api.json, &id, if self.no_wait { "leaving" } else { "removed" })
    }

    /// Waits until the status is as it should be. A node that does not answer for a moment is asked again.
    async fn until(
        &self,
        client: &Client,
        otherwise: &str,
        done: impl Fn(&ClusterStatus) -> bool,
    ) -> anyhow::Result<()> {
        if self.no_wait {
            return Ok(());
        }
        let deadline = Instant::now() + Duration::from_secs(self.timeout);
        loop {
            let status = client.cluster_status().await;
            if status.as_ref().is_ok_and(&done) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                match status {
                    Ok(_) => bail!("{otherwise}; it goes on without waiting"),
                    Err(error) => return Err(error.into()),
                }
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

fn node<'a>(status: &'a ClusterStatus, id: &str) -> Option<&'a NodeStatus> {
    status.nodes.iter().find(|node| node.id == id)
}

/// A node that is down leads nothing either.
fn leads_nothing(status: &ClusterStatus, id: &str) -> bool {
    let led = status.groups.iter().any(|group| group.leader.as_deref() == Some(id));
    !led && node(status, id).is_some_and(|node| !node.reachable || node.leaders == 0)
}

fn is_removed(status: &ClusterStatus, id: &str) -> bool {
    node(status, id).is_some_and(|node| node.state() == NodeState::Removed)
}

fn say(out: &mut impl Write, as_json: bool, id: &str, state: &str) -> anyhow::Result<()> {
    if as_json {
        writeln!(out, "{}", json!({ "node": id, "state": state }))?;
    } else {
        writeln!(out, "{id} is {state}")?;
    }
    Ok(())
}
