//! A cluster of real `lethe serve` processes: formed, grown, broken and healed from outside.
//!
//! ```text
//!   let mut cluster = Cluster::form(Setup { nodes: 3, ..Setup::default() }).await?;
//!   cluster.deploy(project.path()).await?;
//!   cluster.node(1).kill().await?;
//! ```
//!
//! Everything a cluster leaves behind is in one temporary folder; its processes, networks and mounts end with the
//! thread that formed it.

mod node;
mod status;

use node::Equipment;
pub use node::Node;
pub use status::{HEALTHY_MAX, leaders};

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use lethe_client::{Client, ClusterStatus};
use tempfile::TempDir;

use crate::{Clock, Disk, Loopback, Network, Place, lethe};

/// Fewest data groups that users are offered.
const GROUPS_MIN: u16 = 16;

/// How a cluster is made.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Nodes to begin with.
    pub nodes: usize,
    /// Data groups.
    pub groups: u16,
    /// Replicas of a group.
    pub replication: u8,
    /// Each node gets a network namespace of its own, so that links between them can be cut. Needs root.
    pub network: bool,
    /// Each node's data is on a disk image of its own, whose power can be cut. Needs root.
    pub disks: bool,
    /// Each node gets a wall clock of its own, that can be made to jump. Needs Debian's `faketime`.
    pub clocks: bool,
    /// Further sections of each node's `lethe.toml`.
    pub settings: String,
    /// Which lines the nodes log; by default what `LETHE_LOG` says.
    pub log: Option<String>,
    /// The `lethe` binary; by default the one that cargo built beside the tests.
    pub binary: Option<PathBuf>,
    /// Where the cluster's folder is made; by default where temporary files are.
    pub dir: Option<PathBuf>,
}

/// Settings of nodes that wait longer for each other than by default: they share their CPUs with other tests. What is
/// added behind them is of `[raft]`.
pub const PATIENCE: &str = "[raft]\nheartbeat_ms = 300\nelection_min_ms = 1500\nelection_max_ms = 2500\n";

impl Setup {
    /// The default, for machines that do many things at once. What is added to the settings is of `[raft]`.
    pub fn patient() -> Self {
        Self { settings: PATIENCE.to_owned(), ..Self::default() }
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            nodes: 3,
            groups: 8,
            replication: 3,
            network: false,
            disks: false,
            clocks: false,
            settings: String::new(),
            log: None,
            binary: None,
            dir: None,
        }
    }
}

/// The cluster. All processes are killed when it is dropped.
pub struct Cluster {
    nodes: Vec<Node>,
    setup: Setup,
    binary: PathBuf,
    network: Option<Network>,
    loopback: Option<Loopback>,
    dir: TempDir,
}

impl Cluster {
    /// Forms a cluster and waits until all groups are healthy.
    pub async fn form(setup: Setup) -> Result<Self> {
        let mut cluster = Self::prepare(setup)?;
        for node in &mut cluster.nodes {
            node.start().await?;
        }
        cluster.healthy(HEALTHY_MAX).await?;
        Ok(cluster)
    }

    /// Makes the data directories of a cluster, and starts nothing.
    pub fn prepare(setup: Setup) -> Result<Self> {
        ensure!(setup.nodes > 0, "a cluster has at least one node");
        let base = setup.dir.clone().unwrap_or_else(std::env::temp_dir);
        let dir = TempDir::new_in(base).context("a folder for the cluster")?;
        let network = if setup.network { Some(Network::create(0)?) } else { None };
        let loopback = if setup.network { None } else { Some(Loopback::claim()?) };
        let binary = setup.binary.clone().unwrap_or_else(lethe);
        let nodes = setup.nodes;
        let mut cluster = Self { nodes: Vec::new(), setup, binary, network, loopback, dir };
        for _ in 0..nodes {
            cluster.add()?;
        }
        Ok(cluster)
    }

    /// Makes one more node, a member by its files, and gives its number. It is not started.
    pub fn add(&mut self) -> Result<usize> {
        let number = self.nodes.len();
        let (name, address) = (format!("n{}", number + 1), self.claim_address(number)?);
        let dir = self.dir.path().join(&name);
        std::fs::create_dir_all(&dir).context("a node's folder")?;
        let disk = match self.setup.disks {
            true => Some(Disk::create(&dir.join("disk.img"), &dir.join(node::MOUNT))?),
            false => None,
        };
        let place = Place {
            network: self.network.as_ref().map(|network| network.space(number)),
            mounts: disk.as_ref().map(Disk::space),
        };
        let join = self.nodes.iter().map(Node::peer).collect::<Vec<_>>();
        let clock = if self.setup.clocks { Some(Clock::create(dir.join("clock"))?) } else { None };
        let log = self.setup.log.clone();
        let node = Node::new(&self.binary, &dir, name, address, Equipment { place, disk, clock, log });
        node.configure(&join, &self.setup.settings)?;
        if let Some(first) = self.nodes.first() {
            let file = text(&node.join_file());
            first.lethe(&["cluster", "add", "--config", &text(&first.config()), &node.name, "--out", &file])?;
            node.join()?;
        } else {
            let (groups, replication) = (self.setup.groups.to_string(), self.setup.replication.to_string());
            let few = if self.setup.groups < GROUPS_MIN { "--few-groups" } else { "--groups" };
            let numbers = [few, &groups, "--replication", &replication];
            node.lethe(&[&["cluster", "init", "--config", &text(&node.config())], &numbers[..]].concat())?;
        }
        self.nodes.push(node);
        Ok(number)
    }

    fn claim_address(&mut self, number: usize) -> Result<Ipv4Addr> {
        if let Some(network) = &mut self.network {
            network.add_host()?;
            return Ok(network.address(number));
        }
        self.loopback.as_ref().context("a cluster has a network or loopback addresses")?.address(number)
    }

    /// Writes every node's configuration anew, with other settings. A node that runs goes by them after its next start.
    pub fn configure(&mut self, settings: &str) -> Result<()> {
        self.setup.settings = settings.to_owned();
        for number in 0..self.nodes.len() {
            let join = self.nodes[..number].iter().map(Node::peer).collect::<Vec<_>>();
            self.nodes[number].configure(&join, settings)?;
        }
        Ok(())
    }

    /// A node by its number, from 0.
    pub fn node(&mut self, number: usize) -> &mut Node {
        &mut self.nodes[number]
    }

    /// All nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// All nodes, to be changed.
    pub fn nodes_mut(&mut self) -> &mut [Node] {
        &mut self.nodes
    }

    /// The network between the nodes.
    ///
    /// # Panics
    /// If the cluster was set up without one.
    pub fn network(&self) -> &Network {
        self.network.as_ref().expect("this cluster was set up with a network")
    }

    /// Deploys a project through a running node.
    pub async fn deploy(&self, project: &Path) -> Result<()> {
        self.running().next().context("no node runs")?.deploy(project).await
    }

    /// Nodes whose process runs.
    pub fn running(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.pid().is_some())
    }

    /// How the cluster is, as a node sees it.
    pub async fn status(&self, number: usize) -> Result<ClusterStatus> {
        status::of(&self.nodes[number]).await
    }

    /// Waits until every running node finds every group healthy and every running node reachable and fresh.
    pub async fn healthy(&self, time_max: Duration) -> Result<Duration> {
        status::healthy(self.running().collect(), time_max).await
    }

    /// Waits until all replicas of each group have applied the same, and fails if their digests then differ.
    pub async fn digests_agree(&self, time_max: Duration) -> Result<()> {
        let node = self.running().next().context("no node runs")?;
        status::digests_agree(node, time_max).await
    }

    /// Number of the node that leads this group, as a running node sees it.
    pub async fn leader(&self, group: u32) -> Result<usize> {
        let node = self.running().next().context("no node runs")?;
        let status = status::of(node).await?;
        let found =
            status.groups.iter().find(|found| found.id == group).with_context(|| format!("no group {group}"))?;
        let id = found.leader.as_ref().with_context(|| format!("group {group} has no leader"))?;
        let name = status.nodes.iter().find(|node| node.id == *id).map(|node| &node.name);
        let number = name.and_then(|name| self.nodes.iter().position(|node| node.name == *name));
        number.context("the leader is none of our nodes")
    }

    /// A client of a node.
    pub async fn client(&self, number: usize) -> Result<Client> {
        Ok(Client::connect(&self.nodes[number].grpc()).await?)
    }

    /// The folder with everything of this cluster, kept for people to look at.
    pub fn keep(mut self) -> PathBuf {
        self.dir.disable_cleanup(true);
        self.dir.path().to_owned()
    }
}

fn text(path: &Path) -> String {
    path.to_str().expect("temporary folders have plain names").to_owned()
}
