//! Tests of the log against real files and against a file system that fails.

mod basic;
mod corrupt;
mod crowd;
mod fail;
mod format;
mod life;
mod model;
mod power;
mod random;
mod share;

use std::{
    path::Path,
    sync::{Arc, mpsc},
    time::Duration,
};

use bytes::Bytes;
use uuid::Uuid;

use super::{Done, Error, GroupId, GroupLog, Life, Wal, WalConfig, WalEntry};
use crate::store::vfs::Vfs;

const NODE: Uuid = Uuid::from_u128(0x1e7e);
const DEADLINE: Duration = Duration::from_secs(20);

/// Small segments, so that a short script passes through many of them.
fn config() -> WalConfig {
    WalConfig {
        segment_bytes: 16 << 10,
        spare_segments: 2,
        total_bytes_max: 64 << 20,
        compact_segments: 1000,
        pin_segments: 2,
        reserve_bytes: 2 << 10,
        entry_bytes_max: 2 << 10,
        meta_bytes_max: 64,
        groups_max: 8,
        frame_bytes_max: 4 << 10,
        queue_bytes_max: 32 << 10,
        tail_bytes_max: 1 << 10,
        retry: Duration::from_secs(3600),
        vote_order: Some(|new, old| new.cmp(old)),
        on_fatal: Arc::new(|_| {}),
        ..WalConfig::new(NODE)
    }
}

fn open(vfs: Arc<dyn Vfs>, dir: &Path) -> Wal {
    Wal::open(vfs, dir.to_path_buf(), config()).expect("the log opens").0
}

/// A `Done` and where its result arrives.
fn done() -> (Done, mpsc::Receiver<Result<(), Error>>) {
    let (sender, receiver) = mpsc::channel();
    (Box::new(move |result| drop(sender.send(result))), receiver)
}

/// Makes a change and waits until it is answered.
fn wait(change: impl FnOnce(Done)) -> Result<(), Error> {
    let (done, answer) = done();
    change(done);
    answer.recv_timeout(DEADLINE).expect("the log answers")
}

/// An entry whose contents tell where it belongs.
fn entry(group: u32, index: u64, term: u64, bytes: usize) -> WalEntry {
    let mut data = format!("{group}/{index}/{term}/").into_bytes();
    data.resize(bytes.max(data.len()), index as u8);
    WalEntry { index, term, bytes: data.into() }
}

fn entries(group: u32, range: std::ops::Range<u64>, term: u64, bytes: usize) -> Vec<WalEntry> {
    range.map(|index| entry(group, index, term, bytes)).collect()
}

fn append(log: &GroupLog, list: Vec<WalEntry>) -> Result<(), Error> {
    wait(|done| log.append(list, done))
}

fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn group(wal: &Wal, id: u32) -> GroupLog {
    wal.group(GroupId(id))
}
