//! Commits through a whole shard: propose, group commit with a real `fdatasync`, apply, answer.
//!
//! ```text
//! cargo bench -p lethe-server --bench shard            in the system's temporary directory
//! LETHE_BENCH_DIR=/data cargo bench ... --bench shard  on the disk of your choice
//! ```
//!
//! Every proposer owns an actor and has one write in flight: one record of 256 bytes, overwritten in turn over 64
//! names. One line per setting; latencies are of single proposals. Reads are ReadIndex confirmations.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lethe_proto::ActorId;
use lethe_server::shard::{Alone, Applied, Command, Config, Create, Deps, Epoch, RecordOp, Shard, Shards};
use lethe_server::store::RecordId;
use lethe_server::store::vfs::StdVfs;
use uuid::Uuid;

const WARM: Duration = Duration::from_millis(500);
const RUN: Duration = Duration::from_secs(3);
const VALUE_BYTES: usize = 256;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    println!("groups proposers  commits/s   p50 us   p99 us  commits/sync | reads/s   p50 us   p99 us");
    for groups in [1, 4] {
        for proposers in [1, 16, 256] {
            runtime.block_on(setting(groups, proposers));
        }
    }
}

async fn setting(groups: u32, proposers: usize) {
    let temp = match std::env::var_os("LETHE_BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(PathBuf::from(dir)),
        None => tempfile::tempdir(),
    };
    let temp = temp.expect("a directory");
    let shards = start(groups, temp.path()).await;
    let writers = spread(proposers, |n| write_loop(shards.shard(actor(n)).unwrap(), n, WARM)).await;
    let next: Vec<u64> = writers.iter().map(|(_, seq)| *seq).collect();
    let before = shards.wal_stats();
    let begin = Instant::now();
    let done = spread(proposers, |n| continue_loop(shards.shard(actor(n)).unwrap(), n, next[n], RUN)).await;
    let seconds = begin.elapsed().as_secs_f64();
    let syncs = shards.wal_stats().syncs - before.syncs;
    let writes = Latencies::of(done.into_iter().flat_map(|(times, _)| times));
    let reads = spread(proposers, |n| read_loop(shards.shard(actor(n)).unwrap(), RUN)).await;
    let reads = Latencies::of(reads.into_iter().flatten());
    println!(
        "{groups:6} {proposers:9} {:10.0} {:8} {:8} {:13.1} | {:7.0} {:8} {:8}",
        writes.count as f64 / seconds,
        writes.p50,
        writes.p99,
        writes.count as f64 / syncs as f64,
        reads.count as f64 / RUN.as_secs_f64(),
        reads.p50,
        reads.p99,
    );
    shards.shutdown().await.expect("a clean stop");
}

async fn start(groups: u32, dir: &Path) -> Shards {
    let deps = Deps {
        vfs: Arc::new(StdVfs),
        data_dir: dir.to_owned(),
        state_dir: dir.join("state"),
        effects: Arc::new(()),
        transport: Arc::new(Alone),
    };
    let shards = Shards::start(Config::new(groups), deps).await.expect("a node");
    shards.create_all().await.expect("groups");
    shards
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

/// Actors are spread evenly over the slots.
fn actor(n: usize) -> ActorId {
    let mut id = [0; 32];
    id[..2].copy_from_slice(&((n as u16).wrapping_mul(0x9e37)).to_be_bytes());
    id[2..10].copy_from_slice(&(n as u64).to_be_bytes());
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
