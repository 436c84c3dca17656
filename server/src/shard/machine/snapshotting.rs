//! Snapshots of one group's state: built from it, handed to openraft, installed into it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use openraft::RaftSnapshotBuilder;
use openraft::storage::Snapshot;

use super::{Machine, SNAPSHOTS_KEPT, applied, blocking};
use crate::shard::types::{SnapshotMeta, Types};
use crate::store::snapshot::{self, Found, Head};
use crate::store::state::{Group, Loader, Scan};
use crate::store::vfs::Vfs;

pub(in crate::shard) type SnapshotOf = openraft::type_config::alias::SnapshotOf<Types, SnapshotFile>;

/// Hands a snapshot to openraft, or builds one first.
pub(in crate::shard) struct Builder {
    pub(super) machine: Machine,
    pub(super) ready: Option<Found>,
}

/// A snapshot file, as it goes to another node.
#[derive(Clone)]
pub(in crate::shard) struct SnapshotFile {
    pub vfs: Arc<dyn Vfs>,
    pub found: Found,
    /// Set when it came to another node damaged.
    pub doubted: Arc<AtomicBool>,
}

impl Machine {
    /// Whether the newest snapshot is damaged. It is read only after another node said so, once each time. Blocks.
    pub fn is_rotten(&self) -> bool {
        if !self.doubted.swap(false, Ordering::Relaxed) {
            return false;
        }
        let current = self.current.lock().clone();
        let read = |found: Found| snapshot::Reader::open(self.snapshots.vfs(), &found.path)?.verify();
        match current.map(read) {
            Some(Err(error)) => {
                tracing::error!(group = self.group.id(), %error, "the newest snapshot is refused; another one is made");
                true
            }
            // It was damaged on its way.
            Some(Ok(_)) | None => false,
        }
    }

    /// Index of the older of the snapshots that are kept; none if there are not two. Blocks.
    pub fn older_snapshot_index(&self) -> io::Result<Option<u64>> {
        let kept = self.snapshots.list(self.group.id()).map_err(io::Error::other)?;
        Ok(kept.get(SNAPSHOTS_KEPT - 1).and_then(|found| found.head.mark.index()))
    }

    /// Writes a snapshot for openraft to take when it is asked to. Blocks; entries are applied meanwhile. When it fails
    /// nothing has changed and it can be tried again.
    pub fn prepare(&self) -> io::Result<Found> {
        let saved = self.unsaved_bytes();
        let found = self.build()?;
        self.unsaved.fetch_sub(saved, Ordering::Relaxed);
        *self.prepared.lock() = Some(found.clone());
        Ok(found)
    }

    pub(super) fn build(&self) -> io::Result<Found> {
        let _open = self.hold_open()?;
        let scan = Scan::begin(&self.group).map_err(io::Error::other)?;
        let mut scan = scan.ok_or_else(|| io::Error::other("a snapshot of the group is being built already"))?;
        // State on disk reaches as far as the snapshot: a restart needs to load none, and the log may be purged behind it.
        self.group.flush().map_err(io::Error::other)?;
        let head = Head { node: self.node.0, group: self.group.id(), mark: scan.mark().clone() };
        let mut writer = self.snapshots.writer(head).map_err(io::Error::other)?;
        while let Some(slice) = scan.next_slice().map_err(io::Error::other)? {
            writer.push(slice).map_err(io::Error::other)?;
        }
        drop(scan);
        let found = writer.finish().map_err(io::Error::other)?;
        self.snapshots.retain(self.group.id(), SNAPSHOTS_KEPT).map_err(io::Error::other)?;
        *self.current.lock() = Some(found.clone());
        Ok(found)
    }

    /// Replaces the state by a snapshot. Blocks.
    pub(super) fn install(&self, meta: &SnapshotMeta, file: &SnapshotFile) -> io::Result<()> {
        let _open = self.hold_open()?;
        // One that was received here was checked before openraft heard of it.
        let found = match self.snapshots.is_received(&file.found.path) {
            true => self.snapshots.adopt_received(&file.found),
            false => self.snapshots.adopt(&*file.vfs, &file.found.path),
        };
        let found = found.map_err(io::Error::other)?;
        if snapshot_meta(&found.head)? != *meta || found.head.group != self.group.id() {
            return Err(io::Error::other("the snapshot is of another position or group than announced"));
        }
        load(&self.group, &self.snapshots, &found)?;
        self.repeat_effects()?;
        *self.current.lock() = Some(found);
        self.snapshots.retain(self.group.id(), SNAPSHOTS_KEPT).map_err(io::Error::other)
    }

    pub(super) fn snapshot(&self, found: Found) -> io::Result<SnapshotOf> {
        let meta = snapshot_meta(&found.head)?;
        let (vfs, doubted) = (self.snapshots.shared_vfs(), self.doubted.clone());
        Ok(Snapshot { meta, snapshot: SnapshotFile { vfs, found, doubted } })
    }
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf> {
        let found = match self.ready.take() {
            Some(found) => found,
            None => {
                let machine = self.machine.clone();
                blocking(move || machine.build()).await?
            }
        };
        self.machine.snapshot(found)
    }
}

/// Loads a snapshot file into a group. Blocks.
pub(in crate::shard) fn load(group: &Arc<Group>, snapshots: &snapshot::Dir, found: &Found) -> io::Result<()> {
    let mut reader = snapshot::Reader::open(snapshots.vfs(), &found.path).map_err(io::Error::other)?;
    let loader = Loader::begin(group).map_err(io::Error::other)?;
    while let Some(block) = reader.next_block().map_err(io::Error::other)? {
        loader.push(block).map_err(io::Error::other)?;
    }
    loader.finish(reader.head().mark.clone()).map_err(io::Error::other)
}

pub(in crate::shard) fn snapshot_meta(head: &Head) -> io::Result<SnapshotMeta> {
    let (last_log_id, last_membership) = applied(head.mark.applied.as_ref(), &head.mark.membership)?;
    Ok(SnapshotMeta { last_log_id, last_membership })
}
