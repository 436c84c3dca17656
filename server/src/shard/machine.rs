//! openraft's state machine of one group: applies entries to the state store, and has its snapshots built and installed.
//!
//! Entries are applied in batches; a batch becomes visible at once, together with its position. Effects of a batch run
//! before it becomes visible, and answers are given after: nobody hears of a destroyed actor whose key is still there,
//! and after a crash in between the effects run again.

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use tokio::task::spawn_blocking;

use super::apply::{Lives, apply, write};
use super::codec::Decoded;
use super::types::{Entry, LogId, Outcome, SnapshotMeta, StoredMembership, Types};
use super::{Applied, Effects, NodeId, codec};
use crate::store::HeaderOrTombstone;
use crate::store::snapshot::{self, Found};
use crate::store::state::{Group, Position};

mod snapshotting;

pub(super) use snapshotting::{Builder, SnapshotFile, SnapshotOf, load, snapshot_meta};

/// A batch is closed when it has this many entries.
const BATCH_ENTRIES: usize = 1024;
/// A batch is closed when its entries have this many bytes.
const BATCH_BYTES: usize = 4 << 20;
/// A batch of entries without effects, and with at most so many bytes, is not worth a thread of its own.
const LIGHT_BYTES: usize = 64 << 10;
/// Snapshots kept of each group.
pub(super) const SNAPSHOTS_KEPT: usize = 2;
/// How many tombstones are read at once to run their effects.
const TOMBSTONES: usize = 1024;

/// State machine of one group. Clones are handles of the same one.
#[derive(Clone)]
pub(super) struct Machine {
    node: NodeId,
    group: Arc<Group>,
    snapshots: snapshot::Dir,
    effects: Arc<dyn Effects>,
    /// A batch that takes longer hangs, in the state store or in an effect, and is the end of the group.
    stall: Duration,
    /// Bytes of entries applied since the newest snapshot was begun, give or take.
    unsaved: Arc<AtomicU64>,
    /// The newest snapshot.
    current: Arc<Mutex<Option<Found>>>,
    /// Another node got a snapshot of ours, and found it damaged.
    doubted: Arc<AtomicBool>,
    /// A snapshot openraft has not taken yet.
    prepared: Arc<Mutex<Option<Found>>>,
    /// Whether the replica was removed. Whoever uses the state holds it.
    closed: Arc<RwLock<bool>>,
}

type Responder = Option<ApplyResponder<Types>>;

impl Machine {
    /// `current` is the newest sound snapshot.
    pub fn new(
        node: NodeId,
        group: Arc<Group>,
        snapshots: snapshot::Dir,
        effects: Arc<dyn Effects>,
        current: Option<Found>,
        stall: Duration,
    ) -> Self {
        Self {
            node,
            group,
            snapshots,
            effects,
            stall,
            unsaved: Arc::default(),
            current: Arc::new(Mutex::new(current)),
            doubted: Arc::default(),
            prepared: Arc::default(),
            closed: Arc::default(),
        }
    }

    /// The state it applies to.
    pub fn group(&self) -> &Arc<Group> {
        &self.group
    }

    /// Where its snapshots are.
    pub fn snapshots(&self) -> &snapshot::Dir {
        &self.snapshots
    }

    /// Holds off `close` while the state is used; an error if it is closed. Blocks.
    pub fn hold_open(&self) -> io::Result<RwLockReadGuard<'_, bool>> {
        let closed = self.closed.read();
        if *closed {
            return Err(io::Error::other("the replica was removed"));
        }
        Ok(closed)
    }

    /// Waits until nobody uses the state; nobody will from then on. Blocks.
    pub fn close(&self) {
        *self.closed.write() = true;
    }

    /// Index of the newest snapshot.
    pub fn snapshot_index(&self) -> Option<u64> {
        index(&self.current.lock())
    }

    /// Counts entries that were applied by an earlier process.
    pub fn add_unsaved_bytes(&self, bytes: u64) {
        self.unsaved.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Roughly how many bytes of applied entries only the log knows.
    pub fn unsaved_bytes(&self) -> u64 {
        self.unsaved.load(Ordering::Relaxed)
    }

    /// Applies a batch: effects, then state. Blocks.
    pub fn apply_batch(&self, entries: Vec<Entry>) -> io::Result<Vec<Outcome>> {
        let _open = self.hold_open()?;
        let mut txn = self.group.begin();
        let mut lives = Lives::default();
        let mut answers = Vec::with_capacity(entries.len());
        let mut membership = None;
        let mut last = None;
        for entry in entries {
            let log_id = entry.log_id;
            answers.push(match entry.payload {
                EntryPayload::Blank => Outcome::default(),
                EntryPayload::Normal(proposal) => {
                    self.unsaved.fetch_add(proposal.bytes.len() as u64, Ordering::Relaxed);
                    let command = |command: io::Result<&[u8]>| {
                        let applied = match codec::decode_borrowed(command?)? {
                            Decoded::Write(command) => write(&mut txn, command),
                            Decoded::Other(command) => apply(&mut txn, log_id.index, command, &mut lives),
                        };
                        applied.map_err(io::Error::other)
                    };
                    Outcome(codec::commands(&proposal.bytes).map(command).collect::<io::Result<Vec<Applied>>>()?)
                }
                EntryPayload::Membership(change) => {
                    let stored = StoredMembership::new(Some(log_id), change);
                    membership = Some(codec::encode_membership(&stored));
                    Outcome::default()
                }
            });
            last = Some(log_id);
        }
        let Some(last) = last else { return Ok(answers) };
        self.run_effects(lives)?;
        txn.commit(position(&last), membership).map_err(io::Error::other)?;
        Ok(answers)
    }

    /// Applies a batch on a blocking thread.
    async fn apply_elsewhere(&self, batch: Vec<Entry>) -> io::Result<Vec<Outcome>> {
        let machine = self.clone();
        let applying = blocking(move || machine.apply_batch(batch));
        match tokio::time::timeout(self.stall, applying).await {
            Ok(answers) => answers,
            Err(_) => Err(io::Error::other(format!("a batch is not applied after {:?}", self.stall))),
        }
    }

    fn run_effects(&self, lives: Lives) -> io::Result<()> {
        if !lives.created.is_empty() {
            self.effects.created(self.group.id(), lives.created).map_err(io::Error::other)?;
        }
        if !lives.ended.is_empty() {
            self.effects.destroyed(lives.ended).map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Runs the effects of all tombstones again, as after entries were skipped over by a snapshot. Blocks.
    pub fn repeat_effects(&self) -> io::Result<()> {
        self.effects.installed(self.group.id()).map_err(io::Error::other)?;
        let mut after = None;
        loop {
            let page = self.group.actors(after, TOMBSTONES).map_err(io::Error::other)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.actor());
            let ended = |entry: &HeaderOrTombstone| match entry {
                HeaderOrTombstone::Tombstone(tombstone) => Some((tombstone.actor, tombstone.incarnation?)),
                HeaderOrTombstone::Header(_) => None,
            };
            let ended: Vec<_> = page.iter().filter_map(ended).collect();
            if !ended.is_empty() {
                self.effects.destroyed(ended).map_err(io::Error::other)?;
            }
        }
    }
}

fn index(found: &Option<Found>) -> Option<u64> {
    found.as_ref().and_then(|found| found.head.mark.index())
}

fn position(log_id: &LogId) -> Position {
    Position { index: log_id.index, log_id: codec::encode_log_id(log_id) }
}

fn applied(position: Option<&Position>, membership: &Bytes) -> io::Result<(Option<LogId>, StoredMembership)> {
    let log_id = position.map(|position| codec::decode_log_id(&position.log_id)).transpose()?;
    Ok((log_id, codec::decode_membership(membership)?))
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let mark = self.group.mark();
        applied(mark.applied.as_ref(), &mark.membership)
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        loop {
            let mut batch = Vec::new();
            let mut responders: Vec<Responder> = Vec::new();
            let mut bytes = 0;
            while batch.len() < BATCH_ENTRIES && bytes < BATCH_BYTES {
                let Some((entry, responder)) = entries.try_next().await? else { break };
                if let EntryPayload::Normal(proposal) = &entry.payload {
                    bytes += proposal.bytes.len();
                }
                batch.push(entry);
                responders.push(responder);
            }
            if batch.is_empty() {
                return Ok(());
            }
            let answers = match bytes <= LIGHT_BYTES && batch.iter().all(is_light) && !self.group.is_crowded() {
                true => caught(|| self.apply_batch(batch))?,
                false => self.apply_elsewhere(batch).await?,
            };
            for (responder, answer) in responders.into_iter().zip(answers) {
                if let Some(responder) = responder {
                    responder.send(answer);
                }
            }
        }
    }

    /// A snapshot is prepared before openraft is asked to take one, because to openraft a failed build is the end of the
    /// group, and to us a full disk is not.
    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Builder> {
        let ready = self.prepared.lock().take();
        (force || ready.is_some()).then(|| Builder { machine: self.clone(), ready })
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder { machine: self.clone(), ready: None }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotFile) -> io::Result<()> {
        let (machine, meta) = (self.clone(), meta.clone());
        blocking(move || machine.install(&meta, &snapshot)).await
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf>> {
        let current = self.current.lock().clone();
        current.map(|found| self.snapshot(found)).transpose()
    }
}

/// Whether an entry has no effect outside the state: applying it changes memory only.
fn is_light(entry: &Entry) -> bool {
    match &entry.payload {
        EntryPayload::Blank | EntryPayload::Membership(_) => true,
        EntryPayload::Normal(proposal) => codec::is_write(&proposal.bytes),
    }
}

/// Runs at once. A panic becomes an error, which ends the node: the group's task would end alone, and nobody would know.
fn caught<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    std::panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(io::Error::other("applying panicked")))
}

/// Runs on a blocking thread. A panic there becomes an error, which ends the node.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_while_applying_is_an_error_as_any_other() {
        assert_eq!(caught(|| Ok(1)).unwrap(), 1);
        assert_eq!(caught(|| -> io::Result<()> { panic!("a defect") }).unwrap_err().to_string(), "applying panicked");
    }
}
