//! Commits through whole shards: propose, replicate, group commit with a real `fdatasync`, apply, answer.
//!
//! ```text
//! cargo bench -p lethe-server --bench shard            in the system's temporary directory
//! LETHE_BENCH_DIR=/data cargo bench ... --bench shard  on the disk of your choice
//! cargo bench ... --bench shard -- 3 64 512            only three nodes, 64 groups, 512 proposers
//! cargo bench ... --bench shard -- peers 3 64 512      the same over real connections
//! ```
//!
//! All nodes are in this process. They hand each other messages without a socket or, with `peers`, over loopback with
//! mutual TLS; each has its own log, state and directory. Every proposer owns an actor and has one write in flight: one
//! record of 256 bytes, overwritten in turn over 64 names. One line per setting; latencies are of single proposals, CPU
//! is that of the process for one commit, or for one read, and `switches` are the times a thread gave up its processor for
//! one. `commits/entry` are what went into one entry of a log. `messages/commit` are those on streams. Reads are ReadIndex confirmations.

mod cpu;

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cpu::cpu_time;
use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::BoxStream;
use lethe_proto::ActorId;
use lethe_server::peer::ca::{self, Authority};
use lethe_server::peer::{self, Answers, Error, Handler, Head, Me, Peers, TlsFiles, Topic, Transport};
use lethe_server::shard::{
    Applied, Begin, ClusterId, Command, Config, Create, Deps, Epoch, Identity, NodeId, RecordOp, Shard, Shards, TOPICS,
};
use lethe_server::store::RecordId;
use lethe_server::store::vfs::StdVfs;
use parking_lot::Mutex;
use tempfile::TempDir;
use uuid::Uuid;

const WARM: Duration = Duration::from_millis(500);
const RUN: Duration = Duration::from_secs(3);
const VALUE_BYTES: usize = 256;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let only: Vec<usize> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let real = std::env::args().any(|word| word == "peers");
    println!(
        "nodes groups proposers  commits/s   p50 us   p99 us  cpu us  switches  commits/entry  commits/sync  messages/commit | \
         reads/s   p50 us   p99 us  cpu us  beats/message | idle cpu %"
    );
    if let [nodes, groups, proposers] = only[..] {
        return runtime.block_on(setting(real, nodes, groups as u32, proposers));
    }
    for (nodes, groups) in [(1, 1), (1, 4), (3, 1), (3, 64)] {
        for proposers in [1, 64, 512] {
            runtime.block_on(setting(real, nodes, groups, proposers));
        }
    }
}

async fn setting(real: bool, nodes: usize, groups: u32, proposers: usize) {
    let world = World::start(real, nodes, groups).await;
    let writers = spread(proposers, |n| write_loop(world.shard(n), n, WARM)).await;
    let next: Vec<u64> = writers.iter().map(|(_, seq)| *seq).collect();
    let (logs, appends) = (world.logs(), world.net.appends.load(Ordering::Relaxed));
    let (cpu, switched) = (cpu_time(), switches());
    let begin = Instant::now();
    let done = spread(proposers, |n| continue_loop(world.shard(n), n, next[n], RUN)).await;
    let seconds = begin.elapsed().as_secs_f64();
    let (cpu, switched) = (cpu_time() - cpu, switches() - switched);
    let (syncs, entries) = (world.logs().0 - logs.0, world.logs().1 - logs.1);
    let appends = world.net.appends.load(Ordering::Relaxed) - appends;
    let writes = Latencies::of(done.into_iter().flat_map(|(times, _)| times));
    let (beats, read_cpu) = (world.net.beats(), cpu_time());
    let reads = spread(proposers, |n| read_loop(world.shard(n), RUN)).await;
    let beats = (world.net.beats().0 - beats.0, world.net.beats().1 - beats.1);
    let (reads, read_cpu) = (Latencies::of(reads.into_iter().flatten()), cpu_time() - read_cpu);
    let idle = (cpu_time(), Instant::now());
    tokio::time::sleep(RUN).await;
    let idle = (cpu_time() - idle.0).as_secs_f64() / idle.1.elapsed().as_secs_f64() * 100.0;
    println!(
        "{nodes:5} {groups:6} {proposers:9} {:10.0} {:8} {:8} {:7.0} {:9.1} {:14.1} {:13.1} {:16.2} \
         | {:7.0} {:8} {:8} {:7.0} {:14.1} | {idle:10.1}",
        writes.count as f64 / seconds,
        writes.p50,
        writes.p99,
        cpu.as_secs_f64() * 1e6 / writes.count as f64,
        switched as f64 / writes.count as f64,
        writes.count as f64 * nodes as f64 / entries as f64,
        writes.count as f64 * nodes as f64 / syncs as f64,
        appends as f64 / writes.count as f64,
        reads.count as f64 / RUN.as_secs_f64(),
        reads.p50,
        reads.p99,
        read_cpu.as_secs_f64() * 1e6 / reads.count as f64,
        beats.1 as f64 / beats.0.max(1) as f64,
    );
    world.stop().await;
}

/// Some nodes and the groups they all vote in; leaders are spread evenly.
struct World {
    net: Arc<Net>,
    nodes: Vec<(Shards, TempDir)>,
    groups: u32,
    /// Real connections, if there are any.
    ports: Vec<peer::Handle>,
    _certificates: TempDir,
}

impl World {
    async fn start(real: bool, nodes: usize, groups: u32) -> Self {
        let net = Arc::new(Net::default());
        let certificates = tempfile::tempdir().expect("a directory for certificates");
        let mut bound = if real { bind(nodes, &certificates).await } else { Vec::new() };
        let mut world =
            Self { net: net.clone(), nodes: Vec::new(), groups, ports: Vec::new(), _certificates: certificates };
        for number in 0..nodes {
            let dir = match std::env::var_os("LETHE_BENCH_DIR") {
                Some(dir) => tempfile::tempdir_in(PathBuf::from(dir)),
                None => tempfile::tempdir(),
            };
            let dir = dir.expect("a directory");
            let id = NodeId::from(1 + number as u64);
            Identity::new(ClusterId(Uuid::nil()), id, groups).found(&StdVfs, dir.path()).expect("an identity");
            let bound = real.then(|| bound.remove(0));
            let peers = bound.as_ref().map(peer::Bound::peers);
            let deps = Deps {
                vfs: Arc::new(StdVfs),
                data_dir: dir.path().to_owned(),
                state_dir: dir.path().join("state"),
                effects: Arc::new(()),
                transport: Arc::new(End { net: net.clone(), from: id, peers }),
            };
            let shards = Shards::start(Config::new(groups), deps).await.expect("a node");
            net.nodes.lock().insert(id, shards.handler());
            world.ports.extend(bound.map(|bound| bound.serve(TOPICS.map(|topic| (topic, shards.handler())).to_vec())));
            world.nodes.push((shards, dir));
        }
        for group in 1..=groups {
            world.found(group).await;
        }
        world
    }

    async fn found(&self, group: u32) {
        let first = group as usize % self.nodes.len();
        let shard = self.nodes[first].0.create(group, 1, Begin::Lead).await.expect("a leader");
        for (number, (shards, _)) in self.nodes.iter().enumerate().filter(|(number, _)| *number != first) {
            shards.create(group, 1, Begin::Join).await.expect("a replica");
            shard.add_learner(NodeId::from(1 + number as u64), 1).await.expect("a learner");
        }
        let voters: BTreeSet<NodeId> = self.nodes.iter().map(|(shards, _)| shards.node()).collect();
        shard.change_voters(voters).await.expect("voters");
    }

    /// The leader's shard of a proposer's actor.
    fn shard(&self, proposer: usize) -> Shard {
        let group = 1 + proposer as u32 % self.groups;
        let shards = self.nodes.iter().filter_map(|(shards, _)| shards.group(group));
        shards.into_iter().find(|shard| shard.leadership().borrow().is_some()).expect("a leader")
    }

    /// Syncs of all logs, and entries written to them.
    fn logs(&self) -> (u64, u64) {
        let stats = self.nodes.iter().map(|(shards, _)| shards.wal_stats());
        stats.fold((0, 0), |(syncs, entries), stats| (syncs + stats.syncs, entries + stats.entries))
    }

    async fn stop(self) {
        for (shards, _) in self.nodes {
            self.net.nodes.lock().remove(&shards.node());
            shards.shutdown().await.expect("a clean stop");
        }
        for port in self.ports {
            port.drain().await;
        }
    }
}

/// Binds a port for every node, and tells all of them where the others are.
async fn bind(nodes: usize, certificates: &TempDir) -> Vec<peer::Bound> {
    let cluster = ClusterId(Uuid::nil());
    let authority = Authority::create(cluster).expect("an authority");
    let mut ports = Vec::new();
    for node in (1..=nodes as u64).map(NodeId::from) {
        let files = certificates.path().join(node.to_string());
        std::fs::create_dir(&files).expect("a directory for a node");
        let issued = authority.issue(node).expect("a certificate");
        ca::save_node(&files, authority.ca_pem(), &issued).expect("its files");
        let listen = "127.0.0.1:0".parse().expect("an address");
        let config = peer::Config::new(listen, Some(TlsFiles::in_dir(&files)));
        ports.push((node, peer::bind(config, Me { cluster, node }).await.expect("a port")));
    }
    for (node, port) in &ports {
        for (other, there) in ports.iter().filter(|(other, _)| other != node) {
            port.peers().learn(*other, &there.local_addr().to_string());
        }
    }
    ports.into_iter().map(|(_, port)| port).collect()
}

/// Hands messages from node to node.
#[derive(Default)]
struct Net {
    nodes: Mutex<HashMap<NodeId, Arc<dyn Handler>>>,
    appends: AtomicU64,
    beats: AtomicU64,
    beat_bytes: AtomicU64,
}

struct End {
    net: Arc<Net>,
    from: NodeId,
    /// The way to other nodes, if it is a real one.
    peers: Option<Peers>,
}

impl Net {
    /// Messages of heartbeats, and heartbeats in them, give or take: one takes about so many bytes.
    fn beats(&self) -> (u64, u64) {
        const BEAT_BYTES: u64 = 75;
        (self.beats.load(Ordering::Relaxed), self.beat_bytes.load(Ordering::Relaxed) / BEAT_BYTES)
    }

    fn find(&self, to: NodeId) -> Result<Arc<dyn Handler>, Error> {
        self.nodes.lock().get(&to).cloned().ok_or_else(|| Error::Unreachable("it is down".to_owned()))
    }
}

impl Transport for End {
    fn call(
        &self,
        to: NodeId,
        head: Head,
        message: Bytes,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<Bytes, Error>> {
        if head.topic == Topic::Heartbeats {
            self.net.beats.fetch_add(1, Ordering::Relaxed);
            self.net.beat_bytes.fetch_add(message.len() as u64, Ordering::Relaxed);
        }
        if let Some(peers) = &self.peers {
            return peers.call(to, head, message, deadline);
        }
        let (net, from) = (self.net.clone(), self.from);
        async move { net.find(to)?.call(from, head, message).await.map_err(Error::Refused) }.boxed()
    }

    fn stream(
        &self,
        to: NodeId,
        head: Head,
        messages: BoxStream<'static, Bytes>,
    ) -> BoxFuture<'static, Result<Answers<Error>, Error>> {
        let (net, from) = (self.net.clone(), self.from);
        let messages = messages.inspect({
            let net = net.clone();
            move |_| {
                net.appends.fetch_add(1, Ordering::Relaxed);
            }
        });
        if let Some(peers) = &self.peers {
            return peers.stream(to, head, messages.boxed());
        }
        async move {
            let answers = net.find(to)?.stream(from, head, messages.map(Ok).boxed()).await.map_err(Error::Refused)?;
            Ok(answers.map(|answer| answer.map_err(Error::Refused)).boxed())
        }
        .boxed()
    }
}

/// How often threads of this process have given up their processors so far.
fn switches() -> u64 {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return 0 };
    let of = |thread: std::io::Result<std::fs::DirEntry>| {
        let status = std::fs::read_to_string(thread.ok()?.path().join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        line.trim().parse::<u64>().ok()
    };
    threads.filter_map(of).sum()
}

/// Runs one task per proposer and gathers what they return.
async fn spread<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    proposers: usize,
    task: impl Fn(usize) -> F,
) -> Vec<T> {
    let tasks: Vec<_> = (0..proposers).map(|n| tokio::spawn(task(n))).collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.expect("a proposer"));
    }
    results
}

async fn write_loop(shard: Shard, n: usize, time: Duration) -> (Vec<Duration>, u64) {
    let create =
        Create { incarnation: Uuid::from_u128(n as u128), created_at_ms: 0, sealed_name: None, key_shares: Vec::new() };
    let activate = Command::Activate { actor: actor(n), namespace: "bench/Actor".to_owned(), create: Some(create) };
    shard.propose(epoch(&shard), activate).await.expect("an activation");
    continue_loop(shard, n, 0, time).await
}

async fn continue_loop(shard: Shard, n: usize, mut seq: u64, time: Duration) -> (Vec<Duration>, u64) {
    let epoch = epoch(&shard);
    let end = Instant::now() + time;
    let mut times = Vec::new();
    while Instant::now() < end {
        seq += 1;
        let put = RecordOp::Put {
            id: RecordId([(seq % 64) as u8; 16]),
            name: Bytes::from_static(&[7; 48]),
            value: Bytes::from_static(&[9; VALUE_BYTES]),
        };
        let (actor, incarnation) = (actor(n), Uuid::from_u128(n as u128));
        let write = Command::Write { actor, incarnation, activation: 1, seq, ops: vec![put] };
        let begin = Instant::now();
        let outcome = shard.propose(epoch, write).await.expect("a write");
        times.push(begin.elapsed());
        assert_eq!(outcome, Applied::Written);
    }
    (times, seq)
}

async fn read_loop(shard: Shard, time: Duration) -> Vec<Duration> {
    let end = Instant::now() + time;
    let mut times = Vec::new();
    while Instant::now() < end {
        let begin = Instant::now();
        shard.read_index().await.expect("a read index");
        times.push(begin.elapsed());
    }
    times
}

fn actor(n: usize) -> ActorId {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&(n as u64).to_be_bytes());
    ActorId(id)
}

fn epoch(shard: &Shard) -> Epoch {
    shard.leadership().borrow().expect("this node leads")
}

struct Latencies {
    count: usize,
    p50: u128,
    p99: u128,
}

impl Latencies {
    fn of(times: impl Iterator<Item = Duration>) -> Self {
        let mut all: Vec<_> = times.collect();
        all.sort_unstable();
        let at = |percent: usize| all.get(all.len() * percent / 100).map_or(0, Duration::as_micros);
        Self { count: all.len(), p50: at(50), p99: at(99) }
    }
}
