//! The registry of a group: names with values and the revision each was last put at.
//!
//! A value may be larger than what one key may hold, so it is cut in chunks; the first stands with the name. The mark tells
//! the newest revision, how many names there are and their bytes, so that limits need no scan. All of it is part of
//! the group's digest and of its snapshots.

use std::ops::Bound;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::Error;
use super::group::Group;
use super::key::{Key, KeyBytes, REGISTRY};
use super::life::unversioned;
use super::live::{Found, Live};
use super::tree::CHUNK_BYTES;
use super::txn::Txn;

/// Longest name, in bytes; the shortest has one.
pub const NAME_BYTES_MAX: usize = 512;
/// Largest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 1 << 20;
/// All names and values of one group together, in bytes.
pub const REGISTRY_BYTES_MAX: u64 = 256 << 20;

/// Names read at once for a page.
const PAGE_NAMES: usize = 1024;
/// A page ends when its values have this many bytes.
const PAGE_BYTES: usize = 4 << 20;
/// Bytes of a stored value before its first chunk: revision and length.
const HEAD_BYTES: usize = 8 + 4;

/// What the registry adds up to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RegistryMark {
    /// Index of the last entry that changed it, or was allowed to.
    pub revision: u64,
    /// How many names there are.
    pub names: u64,
    /// Bytes of all names and values.
    pub bytes: u64,
}

/// A name of the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryEntry {
    /// The name.
    pub name: Bytes,
    /// Index of the entry that last put it.
    pub revision: u64,
    /// Its value.
    pub value: Bytes,
}

/// Some names of the registry, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryPage {
    /// The newest revision of the whole registry when the page was read; pages of different revisions do not belong
    /// together.
    pub revision: u64,
    /// The names.
    pub entries: Vec<RegistryEntry>,
    /// There may be more behind the last one.
    pub more: bool,
}

/// The start of a stored value.
struct Head<'a> {
    revision: u64,
    len: usize,
    first: &'a [u8],
}

impl<'a> Head<'a> {
    fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (revision, rest) = bytes.split_first_chunk::<8>()?;
        let (len, first) = rest.split_first_chunk::<4>()?;
        Some(Self { revision: u64::from_le_bytes(*revision), len: u32::from_le_bytes(*len) as usize, first })
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.first.len());
        bytes.extend(self.revision.to_le_bytes());
        bytes.extend((self.len as u32).to_le_bytes());
        bytes.extend(self.first);
        bytes
    }
}

/// How many chunks a value of `len` bytes has behind the first.
fn parts(len: usize) -> u16 {
    len.saturating_sub(CHUNK_BYTES - HEAD_BYTES).div_ceil(CHUNK_BYTES) as u16
}

/// The mark in its stored form.
pub(super) fn decode_mark(bytes: &[u8]) -> Option<RegistryMark> {
    unversioned(bytes)
}

/// Where the mark is stored.
pub(super) fn mark_key() -> KeyBytes {
    Key::RegistryMark.encode()
}

/// The mark, from what was found at its key. The error says what is wrong with it.
pub(super) fn stored(found: Result<Option<Found>, Error>) -> Result<RegistryMark, String> {
    let Some(found) = found.map_err(|error| error.to_string())? else { return Ok(RegistryMark::default()) };
    found.value(&mark_key()).and_then(decode_mark).ok_or_else(|| "the mark of its registry cannot be read".to_owned())
}

impl Group {
    /// A value and the revision it was put at.
    pub fn registry_get(&self, name: &[u8]) -> Result<Option<(u64, Bytes)>, Error> {
        let live = self.live.read();
        let Some(bytes) = self.get(&live, &Key::Registry(name.to_vec()).encode())? else { return Ok(None) };
        self.whole(&live, name, &bytes).map(Some)
    }

    /// Names that begin with `prefix`, from the first one above `after`; at most `limit`, and fewer when their values are
    /// large.
    pub fn registry_range(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<RegistryPage, Error> {
        let live = self.settled(&[REGISTRY]);
        let prefix = [&Key::registry()[..], prefix].concat();
        let start = match after.map(|after| [&Key::registry()[..], after].concat()) {
            Some(after) if after >= prefix => Bound::Excluded(after),
            Some(_) | None => Bound::Included(prefix.clone()),
        };
        let limit = limit.min(PAGE_NAMES);
        let mut page = RegistryPage { revision: *self.registry.borrow(), ..RegistryPage::default() };
        let mut bytes = 0;
        for entry in live.tree.from(start) {
            let (key, framed) = entry?;
            if !key.starts_with(&prefix) {
                break;
            }
            if page.entries.len() >= limit || bytes >= PAGE_BYTES {
                page.more = true;
                break;
            }
            let name = &key[1..];
            let (revision, value) = self.whole(&live, name, &self.unframe(&key, &framed)?)?;
            bytes += name.len() + value.len();
            page.entries.push(RegistryEntry { name: Bytes::copy_from_slice(name), revision, value });
        }
        Ok(page)
    }

    /// The newest revision, as it changes; 0 as long as there is none. What it tells of is visible already.
    pub fn registry_changed(&self) -> watch::Receiver<u64> {
        self.registry.subscribe()
    }

    /// The value whose stored start this is.
    fn whole(&self, live: &Live, name: &[u8], start: &[u8]) -> Result<(u64, Bytes), Error> {
        let head = Head::decode(start).ok_or_else(|| self.damaged("a value of the registry"))?;
        let mut value = Vec::with_capacity(head.len.min(VALUE_BYTES_MAX));
        value.extend(head.first);
        for part in 1..=parts(head.len) {
            match self.get(live, &Key::RegistryPart(name.to_vec(), part).encode())? {
                Some(bytes) => value.extend(bytes),
                None => return Err(self.damaged("a value of the registry misses a chunk")),
            }
        }
        match value.len() == head.len {
            true => Ok((head.revision, Bytes::from(value))),
            false => Err(self.damaged("a value of the registry has another length")),
        }
    }
}

impl Txn<'_> {
    /// The revision a name was last put at; none if it does not exist.
    pub fn registry_revision(&self, name: &[u8]) -> Result<Option<u64>, Error> {
        Ok(self.registry_head(name)?.map(|(revision, _)| revision))
    }

    /// Whether names and values of so many bytes may be added, as if none of them existed.
    pub fn registry_has_room(&mut self, bytes: u64) -> Result<bool, Error> {
        Ok(bytes == 0 || self.registry_mark()?.bytes.saturating_add(bytes) <= REGISTRY_BYTES_MAX)
    }

    /// Sets a name. The caller has checked the limits, and advances the registry to the revision.
    pub fn registry_put(&mut self, name: &[u8], revision: u64, value: &[u8]) -> Result<(), Error> {
        let before = self.registry_head(name)?.map(|(_, len)| len);
        let first = &value[..value.len().min(CHUNK_BYTES - HEAD_BYTES)];
        let head = Head { revision, len: value.len(), first }.encode();
        self.registry_change(Key::Registry(name.to_vec()), Some(&head))?;
        for (part, bytes) in (1..).zip(value[first.len()..].chunks(CHUNK_BYTES)) {
            self.registry_change(Key::RegistryPart(name.to_vec(), part), Some(bytes))?;
        }
        for part in parts(value.len()) + 1..=before.map_or(0, parts) {
            self.registry_change(Key::RegistryPart(name.to_vec(), part), None)?;
        }
        let mark = self.registry_mark()?;
        match before {
            Some(len) => mark.bytes = mark.bytes - len as u64 + value.len() as u64,
            None => {
                mark.names += 1;
                mark.bytes += (name.len() + value.len()) as u64;
            }
        }
        Ok(())
    }

    /// Removes a name, if it exists.
    pub fn registry_delete(&mut self, name: &[u8]) -> Result<(), Error> {
        let Some((_, len)) = self.registry_head(name)? else { return Ok(()) };
        self.registry_change(Key::Registry(name.to_vec()), None)?;
        for part in 1..=parts(len) {
            self.registry_change(Key::RegistryPart(name.to_vec(), part), None)?;
        }
        let mark = self.registry_mark()?;
        mark.names -= 1;
        mark.bytes -= (name.len() + len) as u64;
        Ok(())
    }

    /// Makes this the newest revision, whether a name changed or not: who made the change waits to see it.
    pub fn registry_advance(&mut self, revision: u64) -> Result<(), Error> {
        self.registry_mark()?.revision = revision;
        self.registry_changed = true;
        Ok(())
    }

    /// Revision and length of a name's value.
    fn registry_head(&self, name: &[u8]) -> Result<Option<(u64, usize)>, Error> {
        let key = Key::Registry(name.to_vec()).encode();
        let Some(found) = self.found(&key)? else { return Ok(None) };
        match Head::decode(self.group.opened(&key, &found)?) {
            Some(head) => Ok(Some((head.revision, head.len))),
            None => Err(self.group.damaged("a value of the registry")),
        }
    }

    fn registry_change(&mut self, key: Key, value: Option<&[u8]>) -> Result<(), Error> {
        let mut digest = self.registry_digest;
        self.change(&mut digest, &key.encode(), value)?;
        self.registry_digest = digest;
        Ok(())
    }

    fn registry_mark(&mut self) -> Result<&mut RegistryMark, Error> {
        let mark = match self.registry.take() {
            Some(mark) => mark,
            None => stored(self.group.live.read().get(&mark_key())).map_err(|what| self.group.damaged(what))?,
        };
        Ok(self.registry.insert(mark))
    }
}
