//! Writes a snapshot file and does not call it one before it was read back.

use std::path::PathBuf;
use std::sync::Arc;

use super::dir::{Dir, Found};
use super::format::{self, BLOCK_BYTES, Head, Totals};
use super::reader::Reader;
use crate::store::state::{Error, Slice};
use crate::store::vfs::File;

/// A snapshot being written. Dropping it without `finish` removes the file.
pub struct Writer {
    dir: Dir,
    head: Head,
    temp: PathBuf,
    file: Arc<dyn File>,
    offset: u64,
    pending: Slice,
    pending_bytes: usize,
    totals: Totals,
    finished: bool,
}

impl Writer {
    pub(super) fn begin(dir: &Dir, head: Head) -> Result<Self, Error> {
        let temp = dir.temp_path(&head);
        if dir.vfs().exists(&temp).map_err(io("look for", &temp))? {
            dir.vfs().remove(&temp).map_err(io("remove", &temp))?;
        }
        let file = dir.vfs().create(&temp).map_err(io("make", &temp))?;
        let mut writer = Self {
            dir: dir.clone(),
            head,
            temp,
            file,
            offset: 0,
            pending: Slice::new(),
            pending_bytes: 0,
            totals: Totals::default(),
            finished: false,
        };
        let head = format::encode_head(&writer.head);
        writer.write(&head)?;
        Ok(writer)
    }

    /// Adds keys and framed values, in ascending order.
    pub fn push(&mut self, slice: Slice) -> Result<(), Error> {
        for (key, value) in slice {
            self.pending_bytes += key.len() + value.len();
            self.pending.push((key, value));
            if self.pending_bytes >= BLOCK_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Syncs the file, reads it back, gives it its name and syncs the directory. A second snapshot of the same position
    /// is kept beside the first.
    pub fn finish(mut self) -> Result<Found, Error> {
        if !self.pending.is_empty() {
            self.flush()?;
        }
        let foot = format::encode_foot(&self.totals);
        self.write(&foot)?;
        self.file.sync_all().map_err(io("sync", &self.temp))?;
        Reader::open(self.dir.vfs(), &self.temp)?.verify()?;
        let first = self.dir.path(&self.head);
        let path = match self.dir.vfs().exists(&first).map_err(io("look for", &first))? {
            true => self.dir.twin_path(&self.head),
            false => first,
        };
        self.dir.vfs().rename(&self.temp, &path).map_err(io("rename", &self.temp))?;
        self.finished = true;
        self.dir.sync()?;
        Ok(Found { path, head: self.head.clone(), bytes: self.offset })
    }

    fn flush(&mut self) -> Result<(), Error> {
        let block = format::encode_block(&self.pending);
        self.totals.add(&self.pending, block.len());
        self.pending.clear();
        self.pending_bytes = 0;
        self.write(&block)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all_at(bytes, self.offset).map_err(io("write", &self.temp))?;
        self.offset += bytes.len() as u64;
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.finished
            && let Err(error) = self.dir.vfs().remove(&self.temp)
        {
            tracing::warn!(path = %self.temp.display(), %error, "an unfinished snapshot could not be removed");
        }
    }
}

pub(super) fn io(action: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { action, path, source }
}
