//! What state costs: CPU time of small batches, growth on disk under overwrites, and how long a node needs to come back:
//! reading a whole state after an unclean stop, of few actors or of many, building and loading a snapshot, opening a long log.
//!
//! ```text
//! cargo bench -p lethe-server --bench state            1 GiB of each, in the system's temporary directory
//! cargo bench -p lethe-server --bench state -- apply   only what starts with one of the words: apply growth whole many log
//! LETHE_BENCH_MIB=256 LETHE_BENCH_DIR=/data cargo bench -p lethe-server --bench state
//! ```

mod cpu;

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cpu::cpu_time;
use lethe_proto::ActorId;
use lethe_server::store::snapshot::{Dir, Head, Reader};
use lethe_server::store::state::{Actor, Config, Group, Life, Loader, Position, Scan, Store};
use lethe_server::store::vfs::StdVfs;
use lethe_server::store::wal::{GroupId, Wal, WalConfig, WalEntry};
use lethe_server::store::{Header, RecordId};
use uuid::Uuid;

const VALUE_BYTES: usize = 4 << 10;
const RECORDS: u64 = 64;

fn main() {
    let mib: u64 = std::env::var("LETHE_BENCH_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(1024);
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |part: &str| words.is_empty() || words.iter().any(|word| part.starts_with(word.as_str()));
    if wanted("apply") {
        for load in LOADS {
            small_batches(&directory().path().join("state"), &load);
        }
    }
    if wanted("growth") {
        for actors in [32, 128] {
            growth(&directory().path().join("state"), actors);
        }
    }
    if wanted("whole") {
        whole(directory().path(), mib << 20);
    }
    if wanted("many") {
        for actors in [100_000, 1_000_000] {
            many(directory().path(), actors);
        }
    }
    if wanted("log") {
        log(directory().path(), mib << 20);
    }
}

/// Small batches in many groups.
struct Load {
    name: &'static str,
    /// Actors of each group; each batch is of the next one.
    actors: u64,
    /// Records of an actor that are overwritten in turns; none: every batch puts a new one.
    records: Option<u64>,
    /// Batches after which an actor of the group is started: its names are listed.
    start_every: Option<u64>,
}

const LOADS: [Load; 4] = [
    Load { name: "overwrite 1 record of 8 actors", actors: 8, records: Some(1), start_every: None },
    Load { name: "overwrite 16 records of 128 actors", actors: 128, records: Some(16), start_every: None },
    Load { name: "put new records of 128 actors", actors: 128, records: None, start_every: None },
    Load { name: "the same, an actor starts every 16", actors: 128, records: None, start_every: Some(16) },
];
const GROUPS: u32 = 64;
/// Batches of each group.
const BATCHES: u64 = 4000;
const SMALL_BYTES: usize = 256 + 41;

/// CPU time of batches of one put, and of writing them out when there is so much as the server writes out.
fn small_batches(dir: &Path, load: &Load) {
    let store = Store::open(dir, true, Config::default());
    let groups: Vec<_> = (1..=GROUPS).map(|id| store.group(id, 1).expect("a group")).collect();
    let (cpu, begin, mut written) = (cpu_time(), Instant::now(), 0);
    let mut flushing = Duration::ZERO;
    for batch in 0..BATCHES {
        for group in &groups {
            let record = batch / load.actors;
            let record = load.records.map_or(record, |records| record % records);
            let actor = batch % load.actors;
            write(group, actor, [record], |_| vec![batch as u8; SMALL_BYTES]);
            if load.start_every.is_some_and(|every| batch % every == 0) {
                group.names(id(actor), Uuid::from_u128(u128::from(actor))).expect("its names");
            }
            if group.unwritten_bytes() >= Config::default().memtable_bytes {
                let cpu = cpu_time();
                group.flush().expect("a flush");
                (written, flushing) = (written + 1, flushing + (cpu_time() - cpu));
            }
        }
    }
    let batches = BATCHES * u64::from(GROUPS);
    let us = |time: Duration| time.as_secs_f64() * 1e6 / batches as f64;
    let (all, flushing) = (us(cpu_time() - cpu), us(flushing));
    println!(
        "{GROUPS} groups, {}: {all:.2} us of CPU per batch, of it {flushing:.2} in {written} flushes, in {:.2?}",
        load.name,
        begin.elapsed()
    );
}

fn directory() -> tempfile::TempDir {
    let temp = match std::env::var_os("LETHE_BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(PathBuf::from(dir)),
        None => tempfile::tempdir(),
    };
    temp.expect("a directory")
}

/// Overwrites the same records again and again.
fn growth(dir: &Path, actors: u64) {
    let store = Store::open(dir, true, Config::default());
    let group = store.group(1, 1).expect("a group");
    let live = actors * RECORDS * VALUE_BYTES as u64;
    println!("growth: {} MiB live, overwritten", live >> 20);
    for round in 0..=40u64 {
        let begin = Instant::now();
        (0..actors).for_each(|n| fill(&group, n, round));
        if round % 10 == 0 {
            let disk = store.disk_bytes();
            println!("  round {round:3}: {:5.1} times live, {:.2?}", disk as f64 / live as f64, begin.elapsed());
        }
    }
}

/// A large state: how long it takes to be written, checked, snapshotted and loaded.
fn whole(dir: &Path, bytes: u64) {
    let actors = bytes / (RECORDS * VALUE_BYTES as u64);
    let path = dir.join("state");
    let store = Store::open(&path, true, Config::default());
    let group = store.group(1, 1).expect("a group");
    let begin = Instant::now();
    (0..actors).for_each(|n| fill(&group, n, 0));
    println!("state of {} MiB: applied in {:.2?}", bytes >> 20, begin.elapsed());
    drop(group);
    timed("  closed", || store.close().expect("a close"));
    drop(store);
    let store = Store::open(&path, true, Config::default());
    let group = timed("  opened after a clean stop", || store.group(1, 1).expect("a group"));
    drop(group);
    store.close().expect("a close");
    drop(store);
    let store = Store::open(&path, false, Config::default());
    let group = timed("  opened and checked after an unclean stop", || store.group(1, 1).expect("a group"));
    let snapshots = Dir::open(Arc::new(StdVfs), &dir.join("snapshots")).expect("a directory");
    let found = timed("  snapshot built", || {
        let mut scan = Scan::begin(&group).expect("a scan").expect("no other scan");
        let mut writer =
            snapshots.writer(Head { node: Uuid::nil(), group: 1, mark: scan.mark().clone() }).expect("a file");
        while let Some(slice) = scan.next_slice().expect("a slice") {
            writer.push(slice).expect("room");
        }
        writer.finish().expect("a snapshot")
    });
    let received = timed("  snapshot received and checked", || {
        let mut sending = snapshots.send(&found).expect("a file");
        let mut receiving = snapshots.receive(1, u64::MAX).expect("a file");
        while let Some(piece) = sending.next(1 << 20).expect("a piece") {
            receiving.push(&piece).expect("room");
        }
        receiving.finish().expect("a snapshot")
    });
    timed("  snapshot loaded", || {
        let mut reader = Reader::open(&StdVfs, &received.path).expect("a snapshot");
        let loader = Loader::begin(&group).expect("a tree");
        while let Some(block) = reader.next_block().expect("a block") {
            loader.push(block).expect("room");
        }
        loader.finish(reader.head().mark.clone()).expect("a whole state");
    });
}

/// Many actors of one small record each, over all groups: how long their state takes to be checked.
fn many(path: &Path, actors: u64) {
    let store = Store::open(path, true, Config::default());
    let groups: Vec<_> = (1..=GROUPS).map(|id| store.group(id, 1).expect("a group")).collect();
    for n in 0..actors {
        let group = &groups[(n % u64::from(GROUPS)) as usize];
        write(group, n, [0], |_| vec![7; SMALL_BYTES]);
        if group.unwritten_bytes() >= Config::default().memtable_bytes {
            group.flush().expect("a flush");
        }
    }
    drop(groups);
    store.close().expect("a close");
    let store = Store::open(path, false, Config::default());
    let cpu = cpu_time();
    timed(&format!("state of {actors} actors in {GROUPS} groups opened and checked after an unclean stop"), || {
        (1..=GROUPS).for_each(|id| drop(store.group(id, 1).expect("a group")));
    });
    println!("  {:.2} us of CPU an actor", (cpu_time() - cpu).as_secs_f64() * 1e6 / actors as f64);
}

/// A long log: how long opening it takes.
fn log(dir: &Path, bytes: u64) {
    let config = WalConfig::new(Uuid::nil());
    let open = || Wal::open(Arc::new(StdVfs), dir.join("wal"), config.clone()).expect("a log");
    let (wal, _) = open();
    let group = wal.group(GroupId(1));
    let begin = Instant::now();
    let (tell, told) = mpsc::channel();
    let count = bytes / 512;
    for first in (0..count).step_by(512) {
        let value = Bytes::from_static(&[7; 400]);
        let entries = (first..first + 512).map(|index| WalEntry { index, term: 1, bytes: value.clone() }).collect();
        let tell = tell.clone();
        group.append(entries, Box::new(move |outcome| drop(tell.send(outcome))));
    }
    drop(tell);
    told.iter().for_each(|outcome| outcome.expect("a durable append"));
    println!("log of {} segments, {count} entries: written in {:.2?}", wal.stats().segments, begin.elapsed());
    drop(group);
    wal.close();
    timed("  opened", open);
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let begin = Instant::now();
    let result = work();
    println!("{what} in {:.2?}", begin.elapsed());
    result
}

/// Writes all records of an actor, in one batch.
fn fill(group: &Group, n: u64, round: u64) {
    write(group, n, 0..RECORDS, |record| vec![(record ^ round) as u8; VALUE_BYTES]);
}

fn id(n: u64) -> ActorId {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    ActorId(id)
}

/// Puts records of an actor, in one batch.
fn write(group: &Group, n: u64, records: impl IntoIterator<Item = u64>, value: impl Fn(u64) -> Vec<u8>) {
    let actor = id(n);
    let mut txn = group.begin();
    let mut actor = match txn.life(actor).expect("a life") {
        Some(Life::Live(actor)) => actor,
        Some(Life::Dead(_)) | None => Actor::new(Header {
            actor,
            incarnation: Uuid::from_u128(u128::from(n)),
            namespace: "bench/Actor".to_owned(),
            activation: 1,
            seq: 0,
            created_at_ms: 0,
            sealed_name: None,
            records: 0,
            bytes: 0,
        }),
    };
    for record in records {
        let id = RecordId(u128::from(record.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_le_bytes());
        txn.put(&mut actor, id, b"a name", &value(record)).expect("a put");
    }
    txn.set_actor(actor);
    let index = group.mark().index().unwrap_or(0) + 1;
    txn.commit(Position { index, log_id: Bytes::new() }, None).expect("a commit");
}
