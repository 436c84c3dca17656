//! A snapshot on its way to another node: read as pieces here, gathered and checked there.
//!
//! ```text
//! Outgoing  next, next, ... --pieces in order--> Incoming  push, push, ... finish -> Found
//! ```
//!
//! Nothing that arrives is trusted: it goes into a file of its own, bounded in bytes, and only `finish` makes it a snapshot,
//! after everything in it was checked as if it were about to be loaded. A transfer that breaks off leaves nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::dir::{Dir, Found};
use super::format::FOOT_BYTES;
use super::reader::Reader;
use super::writer::io;
use crate::store::state::{Audit, Error};
use crate::store::vfs::File;

/// A snapshot being read for another node. Goes on although the file's name may be removed meanwhile.
pub struct Outgoing {
    path: PathBuf,
    file: Arc<dyn File>,
    offset: u64,
    bytes: u64,
}

/// A snapshot being received. Dropping it before it was adopted removes what came.
pub struct Incoming {
    dir: Dir,
    group: u32,
    temp: PathBuf,
    file: Arc<dyn File>,
    offset: u64,
    bytes_max: u64,
}

/// A received snapshot that is whole, and not yet one of ours. Dropping it before it was adopted removes it.
pub struct Checked {
    incoming: Incoming,
    found: Found,
}

impl Checked {
    /// What it is, and where it is until it is adopted.
    pub fn found(&self) -> &Found {
        &self.found
    }
}

impl Dir {
    /// Makes a received snapshot that was checked one of this directory, durably. Blocks.
    pub fn adopt_received(&self, checked: &Found) -> Result<Found, Error> {
        let path = self.path(&checked.head);
        self.vfs().rename(&checked.path, &path).map_err(io("rename", &checked.path))?;
        self.sync()?;
        Ok(Found { path, ..checked.clone() })
    }

    /// Whether a path is that of a snapshot that is being received here.
    pub fn is_received(&self, path: &Path) -> bool {
        path.parent() == Some(self.root()) && path.extension().is_some_and(|end| end == "tmp")
    }

    /// Begins to read a snapshot for another node. Blocks.
    pub fn send(&self, found: &Found) -> Result<Outgoing, Error> {
        let file = self.vfs().open(&found.path).map_err(io("open", &found.path))?;
        Ok(Outgoing { path: found.path.clone(), file, offset: 0, bytes: found.bytes })
    }

    /// Begins to receive a snapshot of a group, of at most so many bytes. Blocks.
    pub fn receive(&self, group: u32, bytes_max: u64) -> Result<Incoming, Error> {
        let temp = self.incoming_path(group);
        let file = self.vfs().create(&temp).map_err(io("make", &temp))?;
        Ok(Incoming { dir: self.clone(), group, temp, file, offset: 0, bytes_max })
    }
}

impl Outgoing {
    /// Bytes of the whole file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next piece of at most `bytes_max` bytes; none after the last. Blocks.
    pub fn next(&mut self, bytes_max: usize) -> Result<Option<Bytes>, Error> {
        let left = self.bytes - self.offset;
        if left == 0 {
            return Ok(None);
        }
        let mut piece = vec![0; left.min(bytes_max.max(1) as u64) as usize];
        self.file.read_exact_at(&mut piece, self.offset).map_err(io("read", &self.path))?;
        self.offset += piece.len() as u64;
        Ok(Some(Bytes::from(piece)))
    }
}

impl Incoming {
    /// Bytes that came so far.
    pub fn bytes(&self) -> u64 {
        self.offset
    }

    /// Adds the next piece. Blocks.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), Error> {
        if piece.len() as u64 > self.bytes_max - self.offset {
            return Err(self.damaged(format!("it has more than the {} bytes that are allowed", self.bytes_max)));
        }
        self.file.write_all_at(piece, self.offset).map_err(io("write", &self.temp))?;
        self.offset += piece.len() as u64;
        Ok(())
    }

    /// Checks everything that came and makes it a snapshot of this directory, durably. Blocks.
    pub fn finish(self) -> Result<Found, Error> {
        let checked = self.check()?;
        checked.incoming.dir.adopt_received(checked.found())
    }

    /// Checks everything that came. It has no name of its own before `adopt_received`, so a crash in between leaves
    /// nothing. Blocks.
    pub fn check(self) -> Result<Checked, Error> {
        if self.offset < FOOT_BYTES as u64 {
            return Err(self.damaged("it is cut short"));
        }
        self.file.sync_all().map_err(io("sync", &self.temp))?;
        let mut reader = Reader::open(self.dir.vfs(), &self.temp)?;
        if reader.head().group != self.group {
            let other = reader.head().group;
            return Err(self.damaged(format!("it is of group {other}, not of {}", self.group)));
        }
        let mut audit = Audit::default();
        while let Some(block) = reader.next_block()? {
            for (key, framed) in block {
                audit.add(&key, &framed).map_err(|what| self.damaged(what))?;
            }
        }
        let head = reader.head().clone();
        audit.finish(&head.mark).map_err(|what| self.damaged(what))?;
        let found = Found { path: self.temp.clone(), head, bytes: self.offset };
        Ok(Checked { incoming: self, found })
    }

    fn damaged(&self, what: impl Into<String>) -> Error {
        Error::Damaged { path: self.temp.clone(), what: what.into() }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        let vfs = self.dir.vfs();
        let left = vfs.exists(&self.temp).unwrap_or(true);
        if left && let Err(error) = vfs.remove(&self.temp) {
            tracing::warn!(path = %self.temp.display(), %error, "an unfinished snapshot could not be removed");
        }
    }
}
