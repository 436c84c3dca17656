//! Nodes that form groups over the network in memory, each over real files.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tempfile::TempDir;

use super::net::{Net, Way};
use super::world::{Erased, actor, write};
use crate::shard::{
    Applied, Begin, ChangeError, ClusterId, Command, Config, Deps, Identity, NodeId, RecordOp, Rejection, Shard,
    Shards, TOPICS,
};
use crate::store::vfs::StdVfs;

/// A node of the fleet; it comes and goes, its directory stays.
pub struct Node {
    pub id: NodeId,
    pub dir: TempDir,
    pub shards: Option<Shards>,
}

/// The nodes, by number.
pub struct Fleet {
    pub net: Net,
    pub config: Config,
    pub nodes: Vec<Node>,
    cluster: ClusterId,
    /// Why groups could not go on.
    deaths: Arc<Mutex<Vec<String>>>,
}

/// As long as anything may take on a machine that is very busy.
const PATIENCE: Duration = Duration::from_secs(60);

impl Fleet {
    /// Settings of a small node with so many data groups, with quick elections.
    pub fn config(groups: u32) -> Config {
        Config {
            heartbeat_ms: 60,
            election_min_ms: 250,
            election_max_ms: 500,
            append_stall_ms: 1000,
            propose_ms: 2000,
            read_ms: 2000,
            wal_segment_bytes: 1 << 20,
            wal_bytes_max: 64 << 20,
            command_bytes_max: 128 << 10,
            upkeep_ms: 20,
            ..Config::new(groups)
        }
    }

    /// So many nodes, started, without any group.
    pub async fn bare(nodes: usize, mut config: Config) -> Self {
        let deaths: Arc<Mutex<Vec<String>>> = Arc::default();
        let told = deaths.clone();
        config.on_fatal = Arc::new(move |reason| told.lock().push(reason.to_owned()));
        let cluster = ClusterId(uuid::Uuid::from_u128(77));
        let mut fleet = Self { net: Net::default(), config, nodes: Vec::new(), cluster, deaths };
        for _ in 0..nodes {
            fleet.add().await;
        }
        fleet
    }

    /// So many nodes; all of them vote in all data groups.
    pub async fn new(nodes: usize, config: Config) -> Self {
        let fleet = Self::bare(nodes, config).await;
        for group in 1..=fleet.config.groups {
            fleet.found(group, 0, &(0..nodes).collect::<Vec<_>>()).await;
        }
        fleet
    }

    /// Another node; its number.
    pub async fn add(&mut self) -> usize {
        // What is tested here is not the disk.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let number = self.nodes.len();
        let id = NodeId::from(1 + number as u64);
        let identity = Identity::new(self.cluster, id, self.config.groups);
        identity.found(&StdVfs, dir.path()).unwrap();
        self.nodes.push(Node { id, dir, shards: None });
        self.start(number).await;
        number
    }

    pub async fn start(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        let deps = Deps {
            vfs: Arc::new(StdVfs),
            data_dir: node.dir.path().to_owned(),
            state_dir: node.dir.path().join("state"),
            effects: Arc::new(Erased::default()),
            transport: self.net.transport(node.id),
        };
        let shards = Shards::start(self.config.clone(), deps).await.unwrap();
        let handler = shards.handler();
        self.net.join(node.id, TOPICS.map(|topic| (topic, handler.clone())));
        node.shards = Some(shards);
    }

    /// Takes a node off the network and ends it.
    pub async fn stop(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        self.net.leave(node.id);
        node.shards.take().unwrap().shutdown().await.unwrap();
    }

    pub async fn stop_all(mut self) {
        for number in 0..self.nodes.len() {
            if self.nodes[number].shards.is_some() {
                self.stop(number).await;
            }
        }
        assert_eq!(*self.deaths.lock(), Vec::<String>::new());
    }

    /// Makes a group whose voters are these nodes; `first` begins it.
    pub async fn found(&self, group: u32, first: usize, members: &[usize]) {
        self.shards(first).create(group, incarnation(first), Begin::Lead).await.unwrap();
        for member in members.iter().filter(|member| **member != first) {
            self.shards(*member).create(group, incarnation(*member), Begin::Join).await.unwrap();
            self.changed(members, group, |shard| add(self, shard, *member, incarnation(*member))).await;
        }
        self.changed(members, group, |shard| vote(self, shard, members)).await;
    }

    /// Changes members through whoever leads among these nodes, until it is so: a busy machine may elect somebody else,
    /// or let the leader doubt itself.
    pub async fn changed<F: Future<Output = Result<(), ChangeError>>>(
        &self,
        numbers: &[usize],
        group: u32,
        change: impl Fn(Shard) -> F,
    ) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let leader = self.leader_among(numbers, group).await;
            match change(self.shard(leader, group)).await {
                Ok(()) => return,
                Err(ChangeError::Refused(why)) => panic!("{why}"),
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
        }
    }

    pub fn shards(&self, number: usize) -> &Shards {
        self.nodes[number].shards.as_ref().unwrap()
    }

    pub fn shard(&self, number: usize, group: u32) -> Shard {
        self.shards(number).group(group).unwrap()
    }

    pub fn id(&self, number: usize) -> NodeId {
        self.nodes[number].id
    }

    pub fn ids(&self, numbers: &[usize]) -> BTreeSet<NodeId> {
        numbers.iter().map(|number| self.id(*number)).collect()
    }

    /// Numbers of the nodes that are up.
    pub fn up(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|number| self.nodes[*number].shards.is_some()).collect()
    }

    /// Both directions between a node and all others.
    pub fn isolate(&self, number: usize, way: Way) {
        for other in 0..self.nodes.len() {
            if other != number {
                self.net.set_both(self.id(number), self.id(other), way);
            }
        }
    }

    /// Waits until one of these nodes has proved that it leads the group; its number.
    pub async fn leader_among(&self, numbers: &[usize], group: u32) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for number in numbers {
                let Some(shard) = self.shards(*number).group(group) else { continue };
                let leads = shard.leadership().borrow().is_some();
                if leads && shard.read_index().await.is_ok() {
                    return *number;
                }
            }
            assert!(Instant::now() < deadline, "nobody of {numbers:?} leads group {group}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn leader(&self, group: u32) -> usize {
        self.leader_among(&self.up(), group).await
    }

    /// Proposes, to whoever leads among these nodes, until it surely happened. Only for commands that may be repeated.
    pub async fn surely(&self, numbers: &[usize], group: u32, command: Command) -> Applied {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let leader = self.leader_among(numbers, group).await;
            let shard = self.shard(leader, group);
            let epoch = *shard.leadership().borrow();
            let outcome = match epoch {
                Some(epoch) => shard.propose(epoch, command.clone()).await,
                None => continue,
            };
            match outcome {
                Ok(applied) => return applied,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
        }
    }

    /// Writes to an actor, by `surely`: the attempt that went through may be an earlier one, whose result nobody told.
    pub async fn written(&self, numbers: &[usize], group: u32, n: u8, seq: u64, ops: Vec<RecordOp>) {
        let outcome = self.surely(numbers, group, write(n, 1, seq, ops)).await;
        let again = Applied::Rejected(Rejection::StaleSequence(seq));
        assert!(outcome == Applied::Written || outcome == again, "write {seq}: {outcome:?}");
    }

    /// Waits until the replicas of a group on these nodes have applied the same entries, and compares what they hold.
    pub async fn agree(&self, numbers: &[usize], group: u32) {
        let shards: Vec<Shard> = numbers.iter().map(|number| self.shard(*number, group)).collect();
        let same = || {
            let applied: BTreeSet<_> = shards.iter().map(|shard| shard.metrics().applied).collect();
            let last: BTreeSet<_> = shards.iter().map(|shard| shard.metrics().last).collect();
            applied.len() == 1 && applied == last
        };
        within("the same entries everywhere", || std::future::ready(same())).await;
        let digests: BTreeSet<_> = shards.iter().map(|shard| shard.metrics().digest).collect();
        assert_eq!(digests.len(), 1, "group {group}");
        let actors: Vec<_> = futures::future::join_all(shards.iter().map(|shard| shard.actors(None, 1000))).await;
        assert!(actors.iter().all(|found| found.as_ref().unwrap() == actors[0].as_ref().unwrap()));
    }
}

/// For `changed`: adds a node as a learner.
pub async fn add(fleet: &Fleet, shard: Shard, number: usize, incarnation: u64) -> Result<(), ChangeError> {
    shard.add_learner(fleet.id(number), incarnation).await
}

/// For `changed`: makes these nodes the voters.
pub async fn vote(fleet: &Fleet, shard: Shard, numbers: &[usize]) -> Result<(), ChangeError> {
    shard.change_voters(fleet.ids(numbers)).await
}

/// The incarnation every replica of a node has, unless a test says otherwise.
pub fn incarnation(number: usize) -> u64 {
    number as u64 + 1
}

/// Waits until something is so.
pub async fn within<F: Future<Output = bool>>(what: &str, mut so: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !so().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The last sequence of an actor on a node.
pub async fn seq(shard: &Shard, n: u8) -> Option<u64> {
    match shard.header(actor(n)).await.unwrap() {
        Some(crate::store::HeaderOrTombstone::Header(header)) => Some(header.seq),
        Some(crate::store::HeaderOrTombstone::Tombstone(_)) | None => None,
    }
}
