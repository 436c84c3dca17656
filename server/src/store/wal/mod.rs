//! The write-ahead log: one segmented log per node, shared by the votes and entries of all Raft groups.
//!
//! [`Wal::open`] reads what is there and starts two threads; [`Wal::group`] gives a handle of one group. Changes are
//! readable when the call returns and durable when their [`Done`] is called. Durability is a prefix: everything given to the
//! log earlier, by any group, is then durable too. An I/O error is final for the process (`WalConfig::on_fatal`).
//!
//! ```text
//! GroupLog --append--> queue --writer: one write, one fdatasync--> segment files <--keeper: makes and deletes them
//!     |  \--> Front (memory, at once)                 \--> Track (disk, after the sync)
//!     `--read: Front, then Track + pread
//! ```
//!
//! A `Done` runs on the writer's thread: it must be short, must not block, and must not call the log.

mod compact;
mod config;
mod error;
mod frame;
mod front;
mod group;
mod keeper;
mod life;
mod record;
mod recover;
mod segment;
mod shared;
mod summary;
mod track;
mod writer;

#[cfg(test)]
mod tests;

use std::{fmt, path::PathBuf, sync::Arc, thread};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

pub use compact::Pin;
pub use config::{OnFatal, SEGMENT_BYTES_MAX, SEGMENT_BYTES_UNIT, VoteOrder, WalConfig};
pub use error::Error;
pub use group::GroupLog;
pub use life::Life;
pub use shared::{Full, Stats};
pub use summary::{Cut, Summary};

use crate::store::vfs::Vfs;
use front::Front;
use shared::{Shared, State};

/// File that is locked while a log is open.
const LOCK_FILE: &str = "LOCK";

/// Called once, on the writer's thread, when a change is durable or will never be.
pub type Done = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// A Raft group in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u32);

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One entry of a group's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalEntry {
    /// Position in the group's log, without holes.
    pub index: u64,
    /// Term, never falling.
    pub term: u64,
    /// Opaque contents.
    pub bytes: Bytes,
}

/// What the log knows about a group besides its entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupState {
    /// Whether it exists.
    pub life: Life,
    /// Last vote.
    pub vote: Option<Bytes>,
    /// Last committed log id that was saved; may be older than the truth after a crash.
    pub committed: Option<Bytes>,
    /// Last purge: index and log id.
    pub purged: Option<(u64, Bytes)>,
    /// Index of the first entry.
    pub first: Option<u64>,
    /// Index and term of the last entry.
    pub last: Option<(u64, u64)>,
}

/// The log. Clones are handles of the same log; it ends with [`Wal::close`] or when the last handle is gone.
#[derive(Clone)]
pub struct Wal {
    handle: Arc<Handle>,
}

/// Ends the threads when the last user is gone.
struct Handle {
    shared: Arc<Shared>,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
}

impl Wal {
    /// Opens the log in `dir`, which is made when missing. Refuses with a named file and offset when durable data is damaged.
    pub fn open(vfs: Arc<dyn Vfs>, dir: PathBuf, config: WalConfig) -> Result<(Self, Summary), Error> {
        config.check()?;
        vfs.create_dir_all(&dir).map_err(Error::io("make the directory", &dir))?;
        let lock_path = dir.join(LOCK_FILE);
        let lock = vfs.lock(&lock_path).map_err(Error::io("lock", &lock_path))?;
        let lock = lock.ok_or_else(|| Error::Locked { dir: dir.clone() })?;
        let recovered = recover::recover(&*vfs, &dir, &config)?;
        let summary = recovered.summary.clone();
        let segment = recovered.segments[&recovered.active].clone();
        let writer = writer::Writer {
            segment,
            offset: recovered.offset,
            batch: recovered.batch,
            buffer: Vec::new(),
            may_compact: false,
            written: 0,
        };
        let state = State {
            fronts: recovered.track.groups.iter().map(|(id, group)| (*id, Front::from_disk(group))).collect(),
            track: recovered.track,
            segments: recovered.segments,
            active: recovered.active,
            offset: recovered.offset,
            ..State::default()
        };
        let shared = Arc::new(Shared {
            config,
            vfs,
            dir,
            state: Mutex::new(state),
            work: Condvar::new(),
            upkeep: Condvar::new(),
            room: Condvar::new(),
            idle: Condvar::new(),
            lock: Mutex::new(Some(lock)),
        });
        let threads = [
            spawn("wal-writer", &shared, move |shared| writer.run(shared))?,
            spawn("wal-keeper", &shared, keeper::run)?,
        ];
        Ok((Self { handle: Arc::new(Handle { shared, threads: Mutex::new(threads.into()) }) }, summary))
    }

    /// A handle of one group as it lives now. A group that was never created begins to exist with its first change; of one
    /// that was destroyed the handle is good for nothing.
    pub fn group(&self, id: GroupId) -> GroupLog {
        let life = self.handle.shared.state.lock().fronts.get(&id).map(Front::life).unwrap_or_default();
        GroupLog::of(id, life.incarnation().unwrap_or(0), self.handle.clone())
    }

    /// Counters and sizes.
    pub fn stats(&self) -> Stats {
        let state = self.handle.shared.state.lock();
        let mut stats = state.stats.clone();
        stats.spares = state.spares();
        stats.segments = state.segments.len() as u64 - stats.spares;
        stats.free_bytes =
            state.free(&self.handle.shared.config).saturating_sub(self.handle.shared.config.reserve_bytes);
        stats.full = state.full.clone();
        stats
    }

    /// Groups whose entries keep the oldest segment, when there are more than `pin_segments` and copying them would not pay or
    /// there is no room for it. Snapshot and purge them.
    pub fn pins(&self) -> Vec<Pin> {
        let shared = &self.handle.shared;
        compact::pins(&shared.state.lock(), &shared.config)
    }

    /// Waits until everything given to the log is durable, segments are made or cannot be, and dead ones are deleted.
    pub fn settle(&self) {
        let shared = &self.handle.shared;
        let mut state = shared.state.lock();
        shared.upkeep.notify_all();
        state.keeper_rests = false;
        while state.failed.is_none() && !state.written_out && !state.rests() {
            shared.idle.wait(&mut state);
        }
    }

    /// Makes everything durable and ends the log. Other handles get `Closed` from then on.
    pub fn close(self) {
        self.handle.close();
    }
}

fn spawn(
    name: &str,
    shared: &Arc<Shared>,
    run: impl FnOnce(&Shared) + Send + 'static,
) -> Result<thread::JoinHandle<()>, Error> {
    let shared = shared.clone();
    let spawned = thread::Builder::new().name(name.into()).spawn(move || run(&shared));
    spawned.map_err(Error::io("start a thread for", ""))
}

impl Handle {
    fn close(&self) {
        let shared = &self.shared;
        shared.state.lock().closing = true;
        for condition in [&shared.work, &shared.upkeep, &shared.room] {
            condition.notify_all();
        }
        let threads: Vec<_> = self.threads.lock().drain(..).collect();
        if threads.iter().any(|thread| thread.thread().id() == thread::current().id()) {
            // The last handle was dropped by a `Done`; the threads end by themselves and the lock with them.
            return;
        }
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the write-ahead log panicked");
            }
        }
        shared.lock.lock().take();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Wal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wal").field("dir", &self.handle.shared.dir).finish_non_exhaustive()
    }
}
