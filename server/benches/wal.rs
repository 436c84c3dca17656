//! Speed of the write-ahead log on the disk under the target directory: `cargo bench -p lethe-server --bench wal`.
//!
//! One line for each case: group commits and entries per second, and how long a caller waited for durability. `batch` cases
//! have one caller that appends so many entries and waits; `groups` cases have so many groups with one entry in flight each.

use std::{
    path::Path,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use bytes::Bytes;
use lethe_server::store::{
    vfs::StdVfs,
    wal::{GroupId, GroupLog, Wal, WalConfig, WalEntry},
};
use uuid::Uuid;

const ENTRY_BYTES: usize = 256;
const CASE: Duration = Duration::from_secs(4);
/// Entries between two purges of a group.
const PURGE_EVERY: u64 = 50_000;

fn main() {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory for the benchmark");
    println!("{ENTRY_BYTES}-byte entries, {} s per case, every acknowledgement after fdatasync", CASE.as_secs());
    println!("case            sync/s   entries/s     p50 us     p99 us     max us");
    for batch in [1, 16, 128, 1024] {
        run(&format!("batch {batch}"), &root.path().join(format!("b{batch}")), 1, batch);
    }
    for groups in [16, 64, 256] {
        run(&format!("groups {groups}"), &root.path().join(format!("g{groups}")), groups, 1);
    }
}

/// One group and what it will append next.
struct Caller {
    log: GroupLog,
    next: u64,
    purged: u64,
    begun: Instant,
}

impl Caller {
    /// Appends a batch; its number is sent when it is durable.
    fn append(&mut self, number: usize, batch: u64, durable: &mpsc::Sender<usize>) {
        let entry = |index| WalEntry { index, term: 1, bytes: Bytes::from_static(&[0x5a; ENTRY_BYTES]) };
        let entries = (self.next..self.next + batch).map(entry).collect();
        let durable = durable.clone();
        self.next += batch;
        self.begun = Instant::now();
        let done = move |result: Result<(), _>| {
            result.expect("the log takes entries");
            // Nobody listens any more when the last case is over.
            durable.send(number).ok();
        };
        self.log.append(entries, Box::new(done));
        if self.next - self.purged > PURGE_EVERY {
            self.purged = self.next - 1;
            self.log.purge(
                self.purged - 1,
                Bytes::from_static(b"benchmark"),
                Box::new(|result| result.expect("purged")),
            );
        }
    }
}

fn run(name: &str, dir: &Path, groups: u32, batch: u64) {
    let config = WalConfig::new(Uuid::from_u128(1));
    let (wal, _) = Wal::open(Arc::new(StdVfs), dir.to_path_buf(), config).expect("the log opens");
    wal.settle();
    let (durable, is_durable) = mpsc::channel();
    let caller = |id| Caller { log: wal.group(GroupId(id)), next: 0, purged: 0, begun: Instant::now() };
    let mut callers: Vec<Caller> = (0..groups).map(caller).collect();
    let before = wal.stats();
    let begun = Instant::now();
    for (number, caller) in callers.iter_mut().enumerate() {
        caller.append(number, batch, &durable);
    }
    let mut waits = Vec::new();
    while begun.elapsed() < CASE {
        let number = is_durable.recv().expect("the log answers");
        waits.push(callers[number].begun.elapsed());
        callers[number].append(number, batch, &durable);
    }
    let seconds = begun.elapsed().as_secs_f64();
    let after = wal.stats();
    wal.close();
    waits.sort_unstable();
    let micros = |percent: usize| waits[(waits.len() - 1) * percent / 100].as_secs_f64() * 1e6;
    println!(
        "{name:<12} {:>9.0} {:>11.0} {:>10.0} {:>10.0} {:>10.0}",
        (after.syncs - before.syncs) as f64 / seconds,
        (after.entries - before.entries) as f64 / seconds,
        micros(50),
        micros(99),
        micros(100),
    );
}
