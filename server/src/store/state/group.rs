//! `Group`: the applied state of one shard on this node.
//!
//! One tree per group. Reads see whole batches only; `Txn` writes, one commit at a time, into memory; `flush` writes out
//! what was committed, with the position up to which it is applied. A group can be replaced as a whole by a snapshot: it
//! is loaded into a fresh tree, checked, and then swapped in, so half of one is never seen. Methods may read files and
//! belong on a blocking thread, but for a small commit while the group is not crowded.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use lethe_proto::ActorId;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use uuid::Uuid;

use super::digest::{frame, unframe};
use super::key::{HEADER, Key, NAME, RecordSet, TOMBSTONE};
use super::life::{Actor, Life, decode_tombstone, unversioned, versioned};
use super::live::{Found, Live};
use super::memtable::Changes;
use super::scan::Slice;
use super::tree::{self, Engine, Tree};
use super::{Error, Mark};
use crate::store::{HeaderOrTombstone, RecordId};

/// How many keys are read before a waiting commit gets its turn.
const SLICE_KEYS: usize = 1024;

/// A commit writes out first when so many bytes are only in memory: something is wrong with who should do it.
const UNSEALED_BYTES_MAX: u64 = 64 << 20;

/// Bytes before the first chunk of a value: its length.
pub(super) const LENGTH_BYTES: usize = 4;

/// Applied state of one group.
pub struct Group {
    pub(super) id: u32,
    pub(super) incarnation: u64,
    pub(super) engine: Arc<Engine>,
    pub(super) live: RwLock<Live>,
    /// Changes only while `live` is locked for writing; apart from it so that asking how far the group is never waits
    /// for a batch.
    mark: RwLock<Mark>,
    /// Bytes of what changed since it was last sealed, also where it was changed again. Changes only while `live` is locked
    /// for writing.
    pub(super) unwritten: AtomicU64,
    /// A snapshot is scanned.
    pub(super) scanned: AtomicBool,
    /// Index of the mark that was sealed last. Held while what was committed is written out; taken before `live`.
    pub(super) flushing: Mutex<Option<u64>>,
    /// The newest revision of the registry.
    pub(super) registry: watch::Sender<u64>,
}

/// The framed bytes that are stored of an actor; an actor has one of the two at most.
#[derive(Default)]
pub(super) struct Stored {
    pub header: Option<tree::Bytes>,
    pub tombstone: Option<tree::Bytes>,
}

impl Group {
    pub(super) fn new(id: u32, incarnation: u64, engine: Arc<Engine>, live: Live, mark: Mark, registry: u64) -> Self {
        let sealed = mark.index();
        Self {
            id,
            incarnation,
            engine,
            live: RwLock::new(live),
            mark: RwLock::new(mark),
            unwritten: AtomicU64::new(0),
            scanned: AtomicBool::new(false),
            flushing: Mutex::new(sealed),
            registry: watch::Sender::new(registry),
        }
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// How far the log is applied.
    pub fn mark(&self) -> Mark {
        self.mark.read().clone()
    }

    /// Sets how far the log is applied. Only while `live` is locked for writing.
    pub(super) fn set_mark(&self, mark: Mark) {
        *self.mark.write() = mark;
    }

    /// Makes changes visible, sets the mark that belongs to them, and tells of the registry's new revision.
    pub(super) fn write(&self, changes: Changes, mark: Mark, registry: Option<u64>) -> Result<(), Error> {
        if self.is_crowded() {
            self.flush()?;
        }
        let mut live = self.live.write();
        let bytes: usize = changes.into_iter().map(|(key, last)| live.memtable.set(key, last)).sum();
        self.unwritten.fetch_add(bytes as u64, Ordering::Relaxed);
        self.set_mark(mark);
        if let Some(revision) = registry {
            self.registry.send_replace(revision);
        }
        Ok(())
    }

    /// Whether so much is only in memory that a commit writes it out first, and takes long.
    pub fn is_crowded(&self) -> bool {
        self.unwritten_bytes() >= UNSEALED_BYTES_MAX
    }

    /// Bytes of changes that are only in memory, give or take, and of those that were changed again: it bounds memory, and
    /// how much is applied again after a crash.
    pub fn unwritten_bytes(&self) -> u64 {
        self.unwritten.load(Ordering::Relaxed)
    }

    /// Writes out what was committed, together with how far the log is applied by it: all or nothing. What failed is
    /// written by the next flush. Blocks; commits go on meanwhile.
    pub fn flush(&self) -> Result<(), Error> {
        let mut sealed = self.flushing.lock();
        let tree = {
            let mut live = self.live.write();
            let mark = self.mark();
            live.drain();
            // An entry may change nothing but the mark.
            if live.tree.unsealed_bytes() > 0 || *sealed < mark.index() {
                live.tree.apply([stored_form(&mark)]);
                live.tree.seal();
                self.unwritten.store(0, Ordering::Relaxed);
                *sealed = mark.index();
            }
            live.tree.clone()
        };
        tree.flush()
    }

    /// Bytes on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.live.read().tree.disk_bytes()
    }

    /// The actor's header or tombstone.
    pub fn header(&self, actor: ActorId) -> Result<Option<HeaderOrTombstone>, Error> {
        Ok(self.life(&self.live.read(), actor)?.map(HeaderOrTombstone::from))
    }

    /// Sealed names of the records of a live incarnation, in order of their ids; none if it does not live.
    ///
    /// A commit may happen between two slices of a large actor: the caller holds off its own writes.
    pub fn names(&self, actor: ActorId, incarnation: Uuid) -> Result<Vec<(RecordId, Bytes)>, Error> {
        let mut names = Vec::new();
        let mut last: Option<Vec<u8>> = None;
        loop {
            let live = self.settled(&[NAME]);
            let Some(actor) = self.living(&live, actor, incarnation)? else { return Ok(Vec::new()) };
            let prefix = actor.set().names();
            let start = last.take().filter(|key| key.starts_with(&prefix));
            let start = start.map_or(Bound::Included(prefix.clone()), Bound::Excluded);
            let slice = self.slice(&live.tree, start, &prefix, SLICE_KEYS)?;
            drop(live);
            last = slice.last().map(|(key, _)| key.clone());
            let more = slice.len() == SLICE_KEYS;
            for (key, name) in slice {
                let Some(Key::Name(_, record)) = Key::decode(&key) else { return Err(self.damaged("a name's key")) };
                names.push((record, Bytes::from(name)));
            }
            if !more {
                return Ok(names);
            }
        }
    }

    /// Sealed value of a record of a live incarnation.
    pub fn value(&self, actor: ActorId, incarnation: Uuid, record: RecordId) -> Result<Option<Bytes>, Error> {
        let live = self.live.read();
        let Some(actor) = self.living(&live, actor, incarnation)? else { return Ok(None) };
        let set = actor.set();
        let Some(first) = self.chunk(&live, set, record, 0)? else { return Ok(None) };
        let Some((len, first)) = first.split_first_chunk::<LENGTH_BYTES>() else {
            return Err(self.damaged("a value's length"));
        };
        let len = u32::from_le_bytes(*len) as usize;
        let mut value = Vec::with_capacity(len);
        value.extend(first);
        for chunk in 1..super::txn::chunks(len) {
            match self.chunk(&live, set, record, chunk)? {
                Some(bytes) => value.extend(bytes),
                None => return Err(self.damaged("a value misses a chunk")),
            }
        }
        if value.len() != len {
            return Err(self.damaged("a value has another length"));
        }
        Ok(Some(Bytes::from(value)))
    }

    /// Up to `limit` actors and tombstones with ids above `after`, in order.
    pub fn actors(&self, after: Option<ActorId>, limit: usize) -> Result<Vec<HeaderOrTombstone>, Error> {
        let live = self.settled(&[HEADER, TOMBSTONE]);
        let start = |prefix: &Vec<u8>| match after {
            Some(ActorId(id)) => Bound::Excluded([&prefix[..], &id].concat()),
            None => Bound::Included(prefix.clone()),
        };
        let (headers, tombstones) = (Key::headers(), Key::tombstones());
        let mut actors = Vec::new();
        for (_, bytes) in self.slice(&live.tree, start(&headers), &headers, limit)? {
            let actor = Actor::decode(&bytes).ok_or_else(|| self.damaged("a header"))?;
            actors.push(HeaderOrTombstone::Header(actor.header));
        }
        for (_, bytes) in self.slice(&live.tree, start(&tombstones), &tombstones, limit)? {
            let tombstone = decode_tombstone(&bytes).ok_or_else(|| self.damaged("a tombstone"))?;
            actors.push(HeaderOrTombstone::Tombstone(tombstone));
        }
        actors.sort_by_key(HeaderOrTombstone::actor);
        actors.truncate(limit);
        Ok(actors)
    }

    fn life(&self, live: &Live, actor: ActorId) -> Result<Option<Life>, Error> {
        Ok(self.stored_life(live, actor)?.0)
    }

    /// An actor, and the framed bytes it was read from.
    pub(super) fn stored_life(&self, live: &Live, actor: ActorId) -> Result<(Option<Life>, Stored), Error> {
        let key = Key::Header(actor).encode();
        if let Some(found) = live.get(&key)? {
            let actor = Actor::decode(self.opened(&key, &found)?).ok_or_else(|| self.damaged("a header"))?;
            return Ok((Some(Life::Live(actor)), Stored { header: Some(found.framed), tombstone: None }));
        }
        let key = Key::Tombstone(actor).encode();
        let Some(found) = live.get(&key)? else { return Ok((None, Stored::default())) };
        let tombstone = decode_tombstone(self.opened(&key, &found)?).ok_or_else(|| self.damaged("a tombstone"))?;
        Ok((Some(Life::Dead(tombstone)), Stored { header: None, tombstone: Some(found.framed) }))
    }

    fn living(&self, live: &Live, actor: ActorId, incarnation: Uuid) -> Result<Option<Actor>, Error> {
        match self.life(live, actor)? {
            Some(Life::Live(actor)) if actor.incarnation() == incarnation => Ok(Some(actor)),
            Some(Life::Live(_) | Life::Dead(_)) | None => Ok(None),
        }
    }

    fn chunk(&self, live: &Live, set: RecordSet, record: RecordId, n: u16) -> Result<Option<Vec<u8>>, Error> {
        self.get(live, &Key::Value(set, record, n).encode())
    }

    /// A checked value.
    pub(super) fn get(&self, live: &Live, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let Some(found) = live.get(key)? else { return Ok(None) };
        self.opened(key, &found).map(|value| Some(value.to_vec()))
    }

    /// What was found at a key, checked.
    pub(super) fn opened<'f>(&self, key: &[u8], found: &'f Found) -> Result<&'f [u8], Error> {
        found.value(key).ok_or_else(|| self.damaged("a value does not fit its checksum"))
    }

    pub(super) fn unframe(&self, key: &[u8], framed: &[u8]) -> Result<Vec<u8>, Error> {
        match unframe(key, framed) {
            Some(value) => Ok(value.to_vec()),
            None => Err(self.damaged("a value does not fit its checksum")),
        }
    }

    /// Checked keys and values from `start` on, as long as they begin with `prefix`.
    pub(super) fn slice(
        &self,
        tree: &Tree,
        start: Bound<Vec<u8>>,
        prefix: &[u8],
        limit: usize,
    ) -> Result<Slice, Error> {
        let mut slice = Slice::new();
        for entry in tree.from(start).take(limit) {
            let (key, framed) = entry?;
            if !key.starts_with(prefix) {
                break;
            }
            let value = self.unframe(&key, &framed)?;
            slice.push((key.to_vec(), value));
        }
        Ok(slice)
    }

    pub(super) fn damaged(&self, what: impl Into<String>) -> Error {
        Error::State { group: self.id, what: what.into() }
    }
}

/// The mark stored in a tree; none if there is none or it does not fit its checksum.
pub(super) fn stored_mark(tree: &Tree) -> Option<Mark> {
    let key = Key::Applied.encode();
    let framed = tree.get(&key).ok()??;
    unversioned(unframe(&key, &framed)?)
}

/// The mark as it is stored in a tree: key and framed value.
pub(super) fn stored_form(mark: &Mark) -> (Vec<u8>, Option<tree::Bytes>) {
    let key = Key::Applied.encode();
    let framed = frame(&key, &versioned(mark));
    (key.into_vec(), Some(framed.into()))
}
