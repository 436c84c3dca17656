//! The directory of a node's snapshot files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::format::Head;
use super::reader::Reader;
use super::writer::{Writer, io};
use crate::store::state::Error;
use crate::store::vfs::Vfs;

/// The snapshots of all groups. Clones are handles of the same directory.
#[derive(Clone)]
pub struct Dir {
    vfs: Arc<dyn Vfs>,
    path: PathBuf,
    /// Snapshots received so far, so that each gets a name of its own while it comes.
    received: Arc<AtomicU64>,
}

/// A snapshot file that has a name of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where it is.
    pub path: PathBuf,
    /// What it is of.
    pub head: Head,
    /// Its size.
    pub bytes: u64,
}

impl Dir {
    /// Makes the directory if it is missing, and removes what was never finished.
    pub fn open(vfs: Arc<dyn Vfs>, path: &Path) -> Result<Self, Error> {
        vfs.create_dir_all(path).map_err(io("make", path))?;
        let dir = Self { vfs, path: path.to_owned(), received: Arc::default() };
        for file in dir.files()? {
            if file.extension().is_some_and(|extension| extension == "tmp") {
                dir.vfs.remove(&file).map_err(io("remove", &file))?;
            }
        }
        Ok(dir)
    }

    /// Begins a snapshot.
    pub fn writer(&self, head: Head) -> Result<Writer, Error> {
        Writer::begin(self, head)
    }

    /// The group's snapshots whose head and foot are sound, newest first. Others are logged and left where they are.
    pub fn list(&self, group: u32) -> Result<Vec<Found>, Error> {
        let mut found = Vec::new();
        for path in self.files()? {
            if parse_name(&path).is_none_or(|(of, _)| of != group) {
                continue;
            }
            match self.look(&path, group) {
                Ok(snapshot) => found.push(snapshot),
                Err(error @ Error::Damaged { .. }) => tracing::error!(%error, "a snapshot is refused"),
                Err(error) => return Err(error),
            }
        }
        found.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.head.mark.index()));
        Ok(found)
    }

    /// Removes all but the newest `keep` snapshots of a group, and those that are damaged.
    pub fn retain(&self, group: u32, keep: usize) -> Result<(), Error> {
        let kept: Vec<_> = self.list(group)?.into_iter().take(keep).map(|snapshot| snapshot.path).collect();
        for path in self.files()? {
            if parse_name(&path).is_some_and(|(of, _)| of == group) && !kept.contains(&path) {
                self.vfs.remove(&path).map_err(io("remove", &path))?;
            }
        }
        self.sync()
    }

    /// Removes all files of a group, unfinished ones too. They are gone for good when this returns.
    pub fn forget(&self, group: u32) -> Result<(), Error> {
        for path in self.files()? {
            if belongs(&path, group) {
                self.vfs.remove(&path).map_err(io("remove", &path))?;
            }
        }
        self.sync()
    }

    /// Makes a snapshot from anywhere one of ours.
    pub fn adopt(&self, vfs: &dyn Vfs, path: &Path) -> Result<Found, Error> {
        let mut reader = Reader::open(vfs, path)?;
        if self.is_own(path, reader.head()) {
            let bytes = reader.glance()?;
            return Ok(Found { path: path.to_owned(), head: reader.verify()?, bytes });
        }
        let mut writer = self.writer(reader.head().clone())?;
        while let Some(block) = reader.next_block()? {
            writer.push(block)?;
        }
        writer.finish()
    }

    /// The file system it is on.
    pub fn vfs(&self) -> &dyn Vfs {
        &*self.vfs
    }

    /// The file system it is on, to keep.
    pub fn shared_vfs(&self) -> Arc<dyn Vfs> {
        self.vfs.clone()
    }

    pub(super) fn root(&self) -> &Path {
        &self.path
    }

    pub(super) fn path(&self, head: &Head) -> PathBuf {
        self.path.join(format!("{}.snapshot", name(head)))
    }

    /// Whether this is the name of such a snapshot here.
    fn is_own(&self, path: &Path, head: &Head) -> bool {
        *path == self.path(head) || *path == self.twin_path(head)
    }

    /// Name of a second snapshot of the same position.
    pub(super) fn twin_path(&self, head: &Head) -> PathBuf {
        self.path.join(format!("{}-twin.snapshot", name(head)))
    }

    pub(super) fn temp_path(&self, head: &Head) -> PathBuf {
        self.path.join(format!("{}.snapshot.tmp", name(head)))
    }

    /// A new name for a snapshot that is about to be received.
    pub(super) fn incoming_path(&self, group: u32) -> PathBuf {
        let number = self.received.fetch_add(1, Ordering::Relaxed);
        self.path.join(format!("group-{group:08x}-received-{number:016x}.tmp"))
    }

    pub(super) fn sync(&self) -> Result<(), Error> {
        self.vfs.sync_dir(&self.path).map_err(io("sync", &self.path))
    }

    fn files(&self) -> Result<Vec<PathBuf>, Error> {
        self.vfs.list(&self.path).map_err(io("list", &self.path))
    }

    fn look(&self, path: &Path, group: u32) -> Result<Found, Error> {
        let reader = Reader::open(&*self.vfs, path)?;
        let bytes = reader.glance()?;
        let head = reader.head().clone();
        if head.group != group || !self.is_own(path, &head) {
            let what = "it is named after another snapshot".to_owned();
            return Err(Error::Damaged { path: path.to_owned(), what });
        }
        Ok(Found { path: path.to_owned(), head, bytes })
    }
}

fn name(head: &Head) -> String {
    // Nothing applied is 0, index n is n + 1, so that the two differ.
    let place = head.mark.index().map_or(0, |index| index + 1);
    format!("group-{:08x}-{place:016x}", head.group)
}

/// Whether a file is a snapshot of the group, finished or not.
fn belongs(path: &Path, group: u32) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with(&format!("group-{group:08x}-")) && (name.ends_with(".snapshot") || name.ends_with(".tmp"))
}

/// The group and the place in a snapshot's name.
fn parse_name(path: &Path) -> Option<(u32, u64)> {
    let name = path.file_name()?.to_str()?.strip_prefix("group-")?.strip_suffix(".snapshot")?;
    let name = name.strip_suffix("-twin").unwrap_or(name);
    let (group, place) = name.split_once('-')?;
    if group.len() != 8 || place.len() != 16 {
        return None;
    }
    Some((u32::from_str_radix(group, 16).ok()?, u64::from_str_radix(place, 16).ok()?))
}
