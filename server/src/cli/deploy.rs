//! `lethe deploy` and `lethe versions`: what a cluster's worker is, and was.

use std::{io::Write, path::PathBuf, time::Duration};

use anyhow::Context;
use clap::{Args, Subcommand};
use lethe_client::{Client, Deployed, WorkerVersion};
use serde_json::{Value, json};

use super::{api::ApiArgs, output::iso_time};
use crate::deploy::{Package, Project};

/// Longest `--timeout`, seconds.
const TIMEOUT_SECS_MAX: u64 = 900;

pub(super) const DEPLOY_EXAMPLES: &str = "\
Sends the project's configuration and modules to a node, which compiles and checks them; a project
that cannot be used changes nothing. When the command succeeds, no node starts a request or an
actor on older code any more. Requests that are under way finish on theirs. .dev.vars stays on
this machine.

Examples:
  lethe deploy
  lethe deploy examples/counter --api http://10.0.0.1:7070
  lethe deploy --json | jq -r .version.id";

pub(super) const VERSIONS_EXAMPLES: &str = "\
Examples:
  lethe versions list
  lethe versions rollback 0191e1c2-...";

/// How to reach the cluster, and how long to wait for it.
#[derive(Debug, Args)]
struct NodeArgs {
    #[command(flatten)]
    api: ApiArgs,
    /// Stop waiting after this many seconds; what was begun goes on.
    #[arg(long, default_value_t = 60, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=TIMEOUT_SECS_MAX))]
    timeout: u64,
}

/// Arguments of `lethe deploy`.
#[derive(Debug, Args)]
#[command(after_help = DEPLOY_EXAMPLES)]
pub struct DeployArgs {
    /// Directory of the project.
    #[arg(default_value = ".", value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    node: NodeArgs,
}

/// Arguments of `lethe versions`.
#[derive(Debug, Args)]
#[command(after_help = VERSIONS_EXAMPLES)]
pub struct VersionsArgs {
    #[command(subcommand)]
    verb: VersionsVerb,
}

#[derive(Debug, Subcommand)]
enum VersionsVerb {
    /// List the versions that are kept, the newest first.
    List {
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Deploy a version that is kept again, as a new one.
    Rollback {
        /// Id of the version.
        version: String,
        #[command(flatten)]
        node: NodeArgs,
    },
}

impl NodeArgs {
    async fn connect(&self) -> Result<Client, lethe_client::Error> {
        self.api.connect(Duration::from_secs(self.timeout)).await
    }

    fn print(&self, out: &mut impl Write, deployed: &Deployed) -> anyhow::Result<()> {
        let version = deployed.version.as_ref().context("the node did not say which version it deployed")?;
        if self.api.json {
            let warnings = &deployed.warnings;
            let value = json!({ "version": as_json(version), "revision": deployed.revision, "warnings": warnings });
            writeln!(out, "{value}")?;
        } else {
            deployed.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
            writeln!(out, "{} serves version {} on all nodes", version.name, version.id)?;
        }
        Ok(out.flush()?)
    }
}

impl DeployArgs {
    pub(super) async fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        let dir = self.dir.clone();
        let packing = tokio::task::spawn_blocking(move || {
            let (project, _) = Project::load(&dir)?;
            Package::read(&project)?.encode()
        });
        let package = packing.await??;
        let deployed = self.node.connect().await?.deploy(package).await?;
        self.node.print(out, &deployed)
    }

    pub(super) fn json(&self) -> bool {
        self.node.api.json
    }
}

impl VersionsArgs {
    pub(super) async fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        let node = match self.verb {
            VersionsVerb::Rollback { version, node } => {
                let deployed = node.connect().await?.roll_back(&version).await?;
                return node.print(out, &deployed);
            }
            VersionsVerb::List { node } => node,
        };
        let versions = node.connect().await?.versions().await?;
        if node.api.json {
            let all: Vec<_> = versions.versions.iter().map(as_json).collect();
            let current = Some(&versions.current).filter(|current| !current.is_empty());
            writeln!(out, "{}", json!({ "current": current, "versions": all }))?;
        } else if versions.versions.is_empty() {
            writeln!(out, "nothing is deployed")?;
        }
        for version in versions.versions.iter().filter(|_| !node.api.json) {
            let mark = if version.id == versions.current { "*" } else { " " };
            writeln!(out, "{mark} {}  {}  {}", version.id, iso_time(version.created_at_ms), version.name)?;
        }
        Ok(out.flush()?)
    }

    pub(super) fn json(&self) -> bool {
        match &self.verb {
            VersionsVerb::List { node } | VersionsVerb::Rollback { node, .. } => node.api.json,
        }
    }
}

fn as_json(version: &WorkerVersion) -> Value {
    json!({
        "id": version.id,
        "name": version.name,
        "digest": version.digest,
        "bytes": version.bytes,
        "created_at": iso_time(version.created_at_ms),
        "namespaces": version.namespaces,
    })
}
