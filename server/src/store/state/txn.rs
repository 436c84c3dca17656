//! `Txn`: changes to a group that become visible, and with them the applied position, in one batch.
//!
//! Reads see the changes made before them. Nothing is visible to anybody else until `commit`; a dropped `Txn` did
//! nothing. Removing many records at once takes constant time: the set is given up and reclaimed later.

use std::collections::HashMap;

use bytes::Bytes;
use foldhash::quality::RandomState;
use lethe_proto::ActorId;

use super::digest::{CHECKSUM_BYTES, Digest, frame, frame_parts};
use super::group::{Group, LENGTH_BYTES, Stored};
use super::key::Key;
use super::life::{Actor, Life, encode_tombstone, versioned};
use super::live::Found;
use super::memtable::Changes;
use super::registry::RegistryMark;
use super::tree::{self, CHUNK_BYTES};
use super::{Error, Mark, Position};
use crate::store::{RecordId, Tombstone};

/// Uncommitted changes.
pub struct Txn<'g> {
    pub(super) group: &'g Group,
    /// Headers and tombstones that were read or set.
    lives: HashMap<ActorId, Seen, RandomState>,
    /// Framed values; none is a removal.
    writes: Changes,
    /// What the registry adds up to, once it was asked for.
    pub(super) registry: Option<RegistryMark>,
    /// The registry was changed.
    pub(super) registry_changed: bool,
    /// What the changes of the registry add to the group's digest.
    pub(super) registry_digest: Digest,
    bytes: usize,
    /// Where values are framed before they are put away.
    framed: Vec<u8>,
}

/// An actor in a transaction.
struct Seen {
    life: Option<Life>,
    is_set: bool,
    /// What is stored of it; none if that was not looked up yet.
    stored: Option<Stored>,
}

impl Group {
    /// Begins a transaction. There is at most one at a time.
    pub fn begin(&self) -> Txn<'_> {
        Txn {
            group: self,
            lives: HashMap::default(),
            writes: Changes::default(),
            registry: None,
            registry_changed: false,
            registry_digest: Digest::default(),
            bytes: 0,
            framed: Vec::new(),
        }
    }
}

impl Txn<'_> {
    /// The actor, dead or alive.
    pub fn life(&mut self, actor: ActorId) -> Result<Option<Life>, Error> {
        if let Some(seen) = self.lives.get(&actor) {
            return Ok(seen.life.clone());
        }
        let (life, stored) = self.group.stored_life(&self.group.live.read(), actor)?;
        self.lives.insert(actor, Seen { life: life.clone(), is_set: false, stored: Some(stored) });
        Ok(life)
    }

    fn set_life(&mut self, actor: ActorId, life: Life) {
        let seen = self.lives.entry(actor).or_insert(Seen { life: None, is_set: true, stored: None });
        (seen.life, seen.is_set) = (Some(life), true);
    }

    /// Sets a live actor.
    pub fn set_actor(&mut self, actor: Actor) {
        self.set_life(actor.id(), Life::Live(actor));
    }

    /// Sets a record. The name of a record that exists stays as it is: the same id is the same name.
    pub fn put(&mut self, actor: &mut Actor, record: RecordId, name: &[u8], value: &[u8]) -> Result<(), Error> {
        let set = actor.set();
        let name_key = Key::Name(set, record).encode();
        let exists = actor.header.records > 0 && self.exists(&name_key)?;
        if !exists {
            actor.header.records += 1;
            actor.header.bytes += name.len() as u64;
            self.replace(&mut actor.digest, &name_key, None, Some(&[name]));
        }
        let value_key = Key::Value(set, record, 0).encode();
        // Without a name there is no value either.
        let stored = if exists { self.found(&value_key)? } else { None };
        let before = stored.as_ref().map(|found| self.value_len(&value_key, found)).transpose()?;
        actor.header.bytes -= before.unwrap_or(0) as u64;
        actor.header.bytes += value.len() as u64;
        let head = value.len().min(CHUNK_BYTES - LENGTH_BYTES);
        let len = (value.len() as u32).to_le_bytes();
        let stored = stored.map(|found| found.framed);
        self.replace(&mut actor.digest, &value_key, stored, Some(&[&len, &value[..head]]));
        for (chunk, bytes) in (1..).zip(value[head..].chunks(CHUNK_BYTES)) {
            self.change(&mut actor.digest, &Key::Value(set, record, chunk).encode(), Some(bytes))?;
        }
        for chunk in chunks(value.len())..before.map_or(0, chunks) {
            self.change(&mut actor.digest, &Key::Value(set, record, chunk).encode(), None)?;
        }
        Ok(())
    }

    /// Removes a record, if it exists.
    pub fn delete(&mut self, actor: &mut Actor, record: RecordId) -> Result<(), Error> {
        let set = actor.set();
        let name_key = Key::Name(set, record).encode();
        let Some(name) = self.found(&name_key)? else { return Ok(()) };
        let value_key = Key::Value(set, record, 0).encode();
        let stored = self.found(&value_key)?;
        let len = stored.map(|found| self.value_len(&value_key, &found)).transpose()?.unwrap_or(0);
        actor.header.records -= 1;
        actor.header.bytes -= (name.framed.len() - CHECKSUM_BYTES + len) as u64;
        self.replace(&mut actor.digest, &name_key, Some(name.framed), None);
        for chunk in 0..chunks(len) {
            self.change(&mut actor.digest, &Key::Value(set, record, chunk).encode(), None)?;
        }
        Ok(())
    }

    /// Removes all records. Their space is reclaimed later.
    pub fn delete_all(&mut self, actor: &mut Actor) {
        self.give_up(actor);
        actor.generation += 1;
        actor.digest = Digest::default();
        actor.header.records = 0;
        actor.header.bytes = 0;
    }

    /// Ends a live actor, or one that never was.
    pub fn destroy(&mut self, actor: Option<&Actor>, tombstone: Tombstone) {
        if let Some(actor) = actor {
            self.give_up(actor);
        }
        self.set_life(tombstone.actor, Life::Dead(tombstone));
    }

    /// Roughly how many bytes a commit would write.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes everything visible, together with the position up to which the log is now applied.
    pub fn commit(mut self, applied: Position, membership: Option<Bytes>) -> Result<(), Error> {
        let before = self.group.mark();
        let mut digest = before.digest;
        for (actor, Seen { life, is_set, stored }) in std::mem::take(&mut self.lives) {
            if !is_set {
                continue;
            }
            let (header, tombstone) = match &life {
                Some(Life::Live(actor)) => (Some(actor.encode()), None),
                Some(Life::Dead(tombstone)) => (None, Some(encode_tombstone(tombstone))),
                None => (None, None),
            };
            let stored = match stored {
                Some(stored) => stored,
                None => self.group.stored_life(&self.group.live.read(), actor)?.1,
            };
            self.replace_whole(&mut digest, Key::Header(actor), stored.header, header.as_deref());
            self.replace_whole(&mut digest, Key::Tombstone(actor), stored.tombstone, tombstone.as_deref());
        }
        let registry = self.registry.clone().filter(|_| self.registry_changed);
        if let Some(mark) = &registry {
            self.change(&mut digest, &Key::RegistryMark.encode(), Some(&versioned(mark)))?;
        }
        digest.merge(self.registry_digest);
        let membership = membership.unwrap_or(before.membership);
        let mark = Mark { applied: Some(applied), membership, digest };
        self.group.write(self.writes, mark, registry.map(|mark| mark.revision))
    }

    /// The set is no longer reached by any header. An empty one leaves nothing to reclaim.
    fn give_up(&mut self, actor: &Actor) {
        if actor.header.records > 0 {
            let key = Key::Reclaim(actor.set()).encode();
            let framed = frame(&key, &[]);
            self.writes.insert(tree::Bytes::from(&key[..]), Some(framed.into()));
        }
    }

    /// Length of the value whose first chunk this is.
    fn value_len(&self, key: &[u8], found: &Found) -> Result<usize, Error> {
        match self.group.opened(key, found)?.first_chunk::<LENGTH_BYTES>() {
            Some(len) => Ok(u32::from_le_bytes(*len) as usize),
            None => Err(self.group.damaged("a value's length")),
        }
    }

    fn exists(&self, key: &[u8]) -> Result<bool, Error> {
        match self.writes.get(key) {
            Some(value) => Ok(value.is_some()),
            None => self.group.live.read().contains(key),
        }
    }

    pub(super) fn found(&self, key: &[u8]) -> Result<Option<Found>, Error> {
        match self.writes.get(key) {
            Some(value) => Ok(value.clone().map(Found::set)),
            None => self.group.live.read().get(key),
        }
    }

    /// Sets or removes a key, and keeps the digest in step. Removing what is not there changes nothing.
    pub(super) fn change(&mut self, digest: &mut Digest, key: &[u8], value: Option<&[u8]>) -> Result<(), Error> {
        let before = self.found(key)?.map(|found| found.framed);
        match value {
            Some(value) => self.replace(digest, key, before, Some(&[value])),
            None => self.replace(digest, key, before, None),
        }
        Ok(())
    }

    fn replace_whole(&mut self, digest: &mut Digest, key: Key, before: Option<tree::Bytes>, value: Option<&[u8]>) {
        match value {
            Some(value) => self.replace(digest, &key.encode(), before, Some(&[value])),
            None => self.replace(digest, &key.encode(), before, None),
        }
    }

    /// The same where what was there before is known, and with a value in parts.
    fn replace(&mut self, digest: &mut Digest, key: &[u8], before: Option<tree::Bytes>, value: Option<&[&[u8]]>) {
        if before.is_none() && value.is_none() {
            return;
        }
        if let Some(framed) = before {
            digest.remove(&framed);
        }
        let framed = value.map(|parts| {
            frame_parts(&mut self.framed, key, parts);
            digest.add(&self.framed);
            tree::Bytes::from(&self.framed[..])
        });
        self.bytes += key.len() + framed.as_ref().map_or(0, |framed| framed.len());
        self.writes.insert(tree::Bytes::from(key), framed);
    }
}

/// In how many chunks a value of `len` bytes is stored.
pub(super) fn chunks(len: usize) -> u16 {
    (len + LENGTH_BYTES).div_ceil(CHUNK_BYTES) as u16
}
