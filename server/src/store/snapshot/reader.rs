//! Reads a snapshot file block by block. Whoever gets `None` from `next_block` has read a whole, undamaged file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::format::{self, BLOCK_BYTES_MAX, BLOCK_FIXED, FOOT_BYTES, HEAD_FIXED, Head, Totals};
use super::writer::io;
use crate::store::state::{Error, Slice};
use crate::store::vfs::{File, Vfs};

/// An open snapshot file.
pub struct Reader {
    path: PathBuf,
    file: Arc<dyn File>,
    head: Head,
    offset: u64,
    totals: Totals,
    last_key: Vec<u8>,
    ended: bool,
}

impl Reader {
    /// Opens a file and checks its head.
    pub fn open(vfs: &dyn Vfs, path: &Path) -> Result<Self, Error> {
        let file = vfs.open(path).map_err(io("open", path))?;
        let mut reader = Self {
            path: path.to_owned(),
            file,
            head: Head { node: uuid::Uuid::nil(), group: 0, mark: Default::default() },
            offset: 0,
            totals: Totals::default(),
            last_key: Vec::new(),
            ended: false,
        };
        let fixed: [u8; HEAD_FIXED] = reader.take()?;
        let rest = format::head_rest(&fixed).map_err(|what| reader.damaged(what))?;
        let mut head = fixed.to_vec();
        head.extend(reader.take_vec(rest)?);
        reader.head = format::decode_head(&head).map_err(|what| reader.damaged(what))?;
        Ok(reader)
    }

    /// What it is a snapshot of.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The next keys and framed values; none after the last, when the foot fits everything before it.
    pub fn next_block(&mut self) -> Result<Option<Slice>, Error> {
        if self.ended {
            return Ok(None);
        }
        let fixed: [u8; BLOCK_FIXED] = self.take()?;
        let len = format::u32_at(&fixed, 0) as usize;
        if len == 0 {
            self.offset -= BLOCK_FIXED as u64;
            self.check_foot()?;
            self.ended = true;
            return Ok(None);
        }
        if len > BLOCK_BYTES_MAX {
            return Err(self.damaged(format!("a block claims {len} bytes")));
        }
        let body = self.take_vec(len)?;
        let entries = format::decode_block(&fixed, &body).map_err(|what| self.damaged(what))?;
        for (key, _) in &entries {
            if *key <= self.last_key {
                return Err(self.damaged("its keys do not ascend"));
            }
            self.last_key.clone_from(key);
        }
        self.totals.add(&entries, BLOCK_FIXED + len);
        Ok(Some(entries))
    }

    /// Reads everything and forgets it.
    pub fn verify(mut self) -> Result<Head, Error> {
        while self.next_block()?.is_some() {}
        Ok(self.head)
    }

    /// Checks that the file ends with a foot, without reading what is before it.
    pub(super) fn glance(&self) -> Result<u64, Error> {
        let size = self.file.size().map_err(io("measure", &self.path))?;
        let mut foot = [0; FOOT_BYTES];
        let at = size.checked_sub(FOOT_BYTES as u64).ok_or_else(|| self.damaged("it is cut short"))?;
        self.file.read_exact_at(&mut foot, at).map_err(io("read", &self.path))?;
        format::decode_foot(&foot).map_err(|what| self.damaged(what))?;
        Ok(size)
    }

    fn check_foot(&mut self) -> Result<(), Error> {
        let foot: [u8; FOOT_BYTES] = self.take()?;
        let totals = format::decode_foot(&foot).map_err(|what| self.damaged(what))?;
        if totals != self.totals {
            return Err(self.damaged("its foot tells of other blocks"));
        }
        match self.file.size().map_err(io("measure", &self.path))? == self.offset {
            true => Ok(()),
            false => Err(self.damaged("there are bytes behind its foot")),
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        self.read(&mut bytes)?;
        Ok(bytes)
    }

    fn take_vec(&mut self, len: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; len];
        self.read(&mut bytes)?;
        Ok(bytes)
    }

    fn read(&mut self, into: &mut [u8]) -> Result<(), Error> {
        self.file.read_exact_at(into, self.offset).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => self.damaged("it is cut short"),
            _ => io("read", &self.path)(error),
        })?;
        self.offset += into.len() as u64;
        Ok(())
    }

    fn damaged(&self, what: impl Into<String>) -> Error {
        Error::Damaged { path: self.path.clone(), what: what.into() }
    }
}
