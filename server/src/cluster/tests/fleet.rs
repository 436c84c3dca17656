//! Clusters in one process: real shards over real files, joined by the network in memory.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use lethe_proto::NodeId;
use parking_lot::Mutex;
use tempfile::TempDir;

use crate::cluster::{Addresses, Announce, Begin, Cluster, Config, Deps, GroupStatus, SYSTEM, State, Status};
use crate::peer::{self, Answers, Handler, Head, Lane, Refusal, Topic, Transport};
use crate::shard::tests::net::{Net, Way};
use crate::shard::{self, ClusterId, Identity, Shards, TOPICS};
use crate::store::vfs::StdVfs;

/// As long as anything may take on a machine that is very busy.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A node of the fleet; it comes and goes, its directory stays.
pub struct Node {
    pub id: NodeId,
    dir: TempDir,
    up: Option<(Arc<Shards>, Cluster)>,
}

/// One fleet at a time: each is many nodes, whose elections want time to run.
static TURN: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(1);

/// Clusters of nodes that are up or down.
pub struct Fleet {
    _turn: tokio::sync::SemaphorePermit<'static>,
    pub net: Net,
    pub config: Config,
    groups: u32,
    pub nodes: Vec<Node>,
}

impl Fleet {
    /// A founder and so many others that join it.
    pub async fn new(nodes: usize, groups: u32) -> Self {
        Self::with(nodes, groups, Config::default()).await
    }

    /// The same with limits of its own.
    pub async fn with(nodes: usize, groups: u32, limits: Config) -> Self {
        let config = Config { pulse_ms: 100, control_ms: 40, confirm_ms: 150, recovered_ms: 100, ..limits };
        let _turn = TURN.acquire().await.unwrap();
        let mut fleet = Self { _turn, net: Net::default(), config, groups, nodes: Vec::new() };
        for _ in 0..nodes {
            fleet.add().await;
        }
        fleet
    }

    /// Another node; its number.
    pub async fn add(&mut self) -> usize {
        let number = self.nodes.len();
        let id = NodeId::from(1 + number as u64);
        self.nodes.push(Node { id, dir: self.directory(id), up: None });
        self.start(number).await;
        number
    }

    /// A directory as `lethe cluster join` makes it.
    fn directory(&self, id: NodeId) -> TempDir {
        // What is tested here is not the disk.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        Identity::new(ClusterId(uuid::Uuid::from_u128(77)), id, self.groups).found(&StdVfs, dir.path()).unwrap();
        dir
    }

    /// Gives a node that is down the directory that its join file makes, instead of its own. Gives that one.
    pub fn wipe(&mut self, number: usize) -> TempDir {
        let fresh = self.directory(self.nodes[number].id);
        self.put_back(number, fresh)
    }

    /// Gives a node that is down this directory; gives the one it had.
    pub fn put_back(&mut self, number: usize, dir: TempDir) -> TempDir {
        assert!(self.nodes[number].up.is_none(), "node {number} is up");
        std::mem::replace(&mut self.nodes[number].dir, dir)
    }

    pub async fn start(&mut self, number: usize) {
        let Node { id, dir, .. } = &self.nodes[number];
        let (id, transport) = (*id, self.net.transport(*id));
        let config = shard::Config {
            // Where many tests run at once a node may not get to run for a while, and must not be deposed for it.
            heartbeat_ms: 200,
            election_min_ms: 1500,
            election_max_ms: 2500,
            wal_segment_bytes: 1 << 20,
            wal_bytes_max: 64 << 20,
            command_bytes_max: 128 << 10,
            // A test that ends early takes its tasks away from under the shards.
            on_fatal: Arc::new(|reason| eprintln!("fatal: {reason}")),
            ..shard::Config::new(self.groups)
        };
        let deps = shard::Deps {
            vfs: Arc::new(StdVfs),
            data_dir: dir.path().to_owned(),
            state_dir: dir.path().join("state"),
            effects: Arc::new(()),
            transport: transport.clone(),
        };
        let shards = Arc::new(Shards::start(config, deps).await.unwrap());
        let banned = Arc::new(Mutex::new(BTreeSet::new()));
        let name = |id: NodeId| id.to_string();
        let deps = Deps {
            shards: shards.clone(),
            transport: transport.clone(),
            addresses: Arc::new(Book { transport, banned: banned.clone() }),
            keys: Arc::new(()),
            announce: Announce { name: format!("n{number}"), peer: name(id), ..Announce::default() },
            begin: match number {
                0 => Begin::Found { replication: 3 },
                _ => Begin::Join { addresses: self.nodes.iter().map(|node| name(node.id)).collect() },
            },
        };
        let cluster = Cluster::start(self.config.clone(), deps);
        let raft = shards.handler();
        let all = TOPICS.iter().map(|topic| (*topic, raft.clone())).chain(cluster.handlers());
        let guarded = all.map(|(topic, inner)| {
            let guard: Arc<dyn Handler> = Arc::new(Guard { inner, banned: banned.clone() });
            (topic, guard)
        });
        self.net.join(id, guarded);
        self.nodes[number].up = Some((shards, cluster));
    }

    /// Takes a node off the network and ends it.
    pub async fn stop(&mut self, number: usize) {
        self.net.leave(self.nodes[number].id);
        let (shards, cluster) = self.nodes[number].up.take().unwrap();
        cluster.stop().await;
        drop(cluster);
        let deadline = Instant::now() + PATIENCE;
        let mut shards = Some(shards);
        loop {
            match Arc::try_unwrap(shards.take().unwrap()) {
                Ok(last) => return last.shutdown().await.unwrap(),
                // A message that came last still holds it.
                Err(held) => shards = Some(held),
            }
            assert!(Instant::now() < deadline, "somebody keeps the shards");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub async fn stop_all(mut self) {
        for number in self.up() {
            self.stop(number).await;
        }
    }

    pub fn cluster(&self, number: usize) -> &Cluster {
        &self.nodes[number].up.as_ref().unwrap().1
    }

    pub fn shards(&self, number: usize) -> &Arc<Shards> {
        &self.nodes[number].up.as_ref().unwrap().0
    }

    /// Numbers of the nodes that are up.
    pub fn up(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|number| self.nodes[*number].up.is_some()).collect()
    }

    /// Both directions between a node and all others.
    pub fn isolate(&self, number: usize, way: Way) {
        for other in self.nodes.iter().filter(|other| other.id != self.nodes[number].id) {
            self.net.set_both(self.nodes[number].id, other.id, way);
        }
    }

    /// The node that leads a group, as all of these say.
    pub fn leader(&self, group: u32, of: &[usize]) -> Option<usize> {
        let said: BTreeSet<_> = of.iter().map(|number| self.cluster(*number).home_of(group).leader).collect();
        let node = said.first().copied().flatten().filter(|_| said.len() == 1)?;
        self.nodes.iter().position(|other| other.id == node)
    }

    /// Waits until these nodes, which are all that were not removed, hold everything as they should, evenly, and all of them
    /// say so at the same time.
    pub async fn settled(&self, numbers: &[usize]) {
        let trouble =
            |number: &usize| self.trouble(*number, numbers).map(|trouble| format!("node {number}: {trouble}"));
        self.until("settled", || numbers.iter().find_map(trouble)).await;
    }

    /// What keeps a node from saying that all is as it should be.
    fn trouble(&self, number: usize, numbers: &[usize]) -> Option<String> {
        let Some(status) = self.cluster(number).status() else { return Some("it knows nothing".to_owned()) };
        let replicas = 3.min(numbers.len());
        let ill = |group: &&GroupStatus| {
            let voters = group.replicas.iter().filter(|replica| replica.voter).count();
            !group.problem.is_empty() || group.leader != Some(group.preferred) || voters != replicas
        };
        if let Some(group) = status.groups.iter().find(ill) {
            return Some(format!("{group:?}"));
        }
        let listed = |number: &&usize| status.nodes.iter().any(|node| node.node == self.nodes[**number].id);
        if let Some(missing) = numbers.iter().find(|number| !listed(number)) {
            return Some(format!("it does not know node {missing}"));
        }
        let knows = |group: &&GroupStatus| self.cluster(number).home_of(group.group).leader == group.leader;
        if let Some(group) = status.groups.iter().find(|group| !knows(group)) {
            return Some(format!("it takes another node for the leader of {}", group.group));
        }
        if let Err(stale) = self.cluster(number).is_fresh() {
            return Some(stale.to_string());
        }
        let held = |number: &usize| node(&status, self.nodes[*number].id).replicas.saturating_sub(1);
        let held: Vec<u32> = numbers.iter().map(held).collect();
        let sum = self.groups * replicas as u32;
        let led = status.groups.iter().filter(|group| group.group != SYSTEM);
        let led: Vec<usize> = numbers
            .iter()
            .map(|number| led.clone().filter(|group| group.leader == Some(self.nodes[*number].id)).count())
            .collect();
        let drained = status.nodes.iter().any(|node| node.member.state == State::Draining);
        let even = |most: usize, least: usize| most - least <= 1 || drained;
        let spread = even(*led.iter().max()?, *led.iter().min()?)
            && even(*held.iter().max()? as usize, *held.iter().min()? as usize);
        (held.iter().sum::<u32>() != sum || !spread).then(|| format!("replicas {held:?}, leaders {led:?}"))
    }

    /// Waits until nothing is wrong.
    pub async fn until(&self, what: &str, mut wrong: impl FnMut() -> Option<String>) {
        let deadline = Instant::now() + PATIENCE;
        while let Some(trouble) = wrong() {
            assert!(Instant::now() < deadline, "not {what}: {trouble}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// How a node is.
pub fn node(status: &Status, id: NodeId) -> &crate::cluster::NodeStatus {
    status.nodes.iter().find(|node| node.node == id).unwrap()
}

/// Addresses are the nodes' ids.
struct Book {
    transport: Arc<dyn Transport>,
    banned: Arc<Mutex<BTreeSet<NodeId>>>,
}

impl Addresses for Book {
    fn learn(&self, _: NodeId, _: &str) {}

    fn ban(&self, node: NodeId) {
        self.banned.lock().insert(node);
    }

    fn ask(
        &self,
        address: &str,
        topic: Topic,
        message: Bytes,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<(NodeId, Bytes), peer::Error>> {
        let node = NodeId(address.parse().unwrap());
        let head = Head { lane: Lane::Control, topic, group: SYSTEM, incarnation: 0 };
        let asking = self.transport.call(node, head, message, deadline);
        Box::pin(async move { Ok((node, asking.await?)) })
    }
}

/// Refuses what removed nodes say, as the peer port does.
struct Guard {
    inner: Arc<dyn Handler>,
    banned: Arc<Mutex<BTreeSet<NodeId>>>,
}

impl Guard {
    fn check(&self, from: NodeId) -> Result<(), Refusal> {
        match self.banned.lock().contains(&from) {
            true => Err(Refusal::Sender(format!("node {from} was removed"))),
            false => Ok(()),
        }
    }
}

impl Handler for Guard {
    fn call(&self, from: NodeId, head: Head, message: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        match self.check(from) {
            Ok(()) => self.inner.call(from, head, message),
            Err(refusal) => Box::pin(async { Err(refusal) }),
        }
    }

    fn stream(
        &self,
        from: NodeId,
        head: Head,
        messages: BoxStream<'static, Result<Bytes, peer::Error>>,
    ) -> BoxFuture<'static, Result<Answers<Refusal>, Refusal>> {
        match self.check(from) {
            Ok(()) => self.inner.stream(from, head, messages),
            Err(refusal) => Box::pin(async { Err(refusal) }),
        }
    }
}
