//! `Txn`: changes to a group that become visible, and with them the applied position, in one batch.
//!
//! Reads see the changes made before them. Nothing is visible to anybody else until `commit`; a dropped `Txn` did
//! nothing. Removing many records at once takes constant time: the set is given up and reclaimed later.

use std::collections::BTreeMap;

use bytes::Bytes;
use lethe_proto::ActorId;

use super::digest::{Digest, frame};
use super::engine::CHUNK_BYTES;
use super::group::{Group, LENGTH_BYTES};
use super::key::{Key, RecordSet};
use super::life::{Actor, Life, encode_tombstone, versioned};
use super::registry::RegistryMark;
use super::{Error, Mark, Position};
use crate::store::{RecordId, Tombstone};

/// Uncommitted changes.
pub struct Txn<'g> {
    pub(super) group: &'g Group,
    /// Headers and tombstones that were read or set, and whether they were set.
    lives: BTreeMap<ActorId, (Option<Life>, bool)>,
    /// Framed values; none is a removal.
    writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// What the registry adds up to, once it was asked for.
    pub(super) registry: Option<RegistryMark>,
    /// The registry was changed.
    pub(super) registry_changed: bool,
    /// What the changes of the registry add to the group's digest.
    pub(super) registry_digest: Digest,
    bytes: usize,
}

impl Group {
    /// Begins a transaction. There is at most one at a time.
    pub fn begin(&self) -> Txn<'_> {
        Txn {
            group: self,
            lives: BTreeMap::new(),
            writes: BTreeMap::new(),
            registry: None,
            registry_changed: false,
            registry_digest: Digest::default(),
            bytes: 0,
        }
    }
}

impl Txn<'_> {
    /// The actor, dead or alive.
    pub fn life(&mut self, actor: ActorId) -> Result<Option<Life>, Error> {
        if let Some((life, _)) = self.lives.get(&actor) {
            return Ok(life.clone());
        }
        let life = self.group.life(&self.group.live.read().tree, actor)?;
        self.lives.insert(actor, (life.clone(), false));
        Ok(life)
    }

    /// Sets a live actor.
    pub fn set_actor(&mut self, actor: Actor) {
        self.lives.insert(actor.id(), (Some(Life::Live(actor)), true));
    }

    /// Sets a record. The name of a record that exists stays as it is: the same id is the same name.
    pub fn put(&mut self, actor: &mut Actor, record: RecordId, name: &[u8], value: &[u8]) -> Result<(), Error> {
        let set = actor.set();
        let name_key = Key::Name(set, record).encode();
        if self.framed(&name_key)?.is_none() {
            actor.header.records += 1;
            actor.header.bytes += name.len() as u64;
            self.change(&mut actor.digest, name_key, Some(name))?;
        }
        let before = self.value_len(set, record)?;
        actor.header.bytes -= before.unwrap_or(0) as u64;
        actor.header.bytes += value.len() as u64;
        let head = value.len().min(CHUNK_BYTES - LENGTH_BYTES);
        let mut first = Vec::with_capacity(LENGTH_BYTES + head);
        first.extend((value.len() as u32).to_le_bytes());
        first.extend(&value[..head]);
        self.change(&mut actor.digest, Key::Value(set, record, 0).encode(), Some(&first))?;
        for (chunk, bytes) in (1..).zip(value[head..].chunks(CHUNK_BYTES)) {
            self.change(&mut actor.digest, Key::Value(set, record, chunk).encode(), Some(bytes))?;
        }
        for chunk in chunks(value.len())..before.map_or(0, chunks) {
            self.change(&mut actor.digest, Key::Value(set, record, chunk).encode(), None)?;
        }
        Ok(())
    }

    /// Removes a record, if it exists.
    pub fn delete(&mut self, actor: &mut Actor, record: RecordId) -> Result<(), Error> {
        let set = actor.set();
        let name_key = Key::Name(set, record).encode();
        let Some(name) = self.framed(&name_key)? else { return Ok(()) };
        let len = self.value_len(set, record)?.unwrap_or(0);
        actor.header.records -= 1;
        actor.header.bytes -= (name.len() - super::digest::CHECKSUM_BYTES + len) as u64;
        self.change(&mut actor.digest, name_key, None)?;
        for chunk in 0..chunks(len) {
            self.change(&mut actor.digest, Key::Value(set, record, chunk).encode(), None)?;
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
        self.lives.insert(tombstone.actor, (Some(Life::Dead(tombstone)), true));
    }

    /// Roughly how many bytes a commit would write.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes everything visible, together with the position up to which the log is now applied.
    pub fn commit(mut self, applied: Position, membership: Option<Bytes>) -> Result<(), Error> {
        let before = self.group.mark();
        let mut digest = before.digest;
        for (actor, (life, set)) in std::mem::take(&mut self.lives) {
            if !set {
                continue;
            }
            let (header, tombstone) = match &life {
                Some(Life::Live(actor)) => (Some(actor.encode()), None),
                Some(Life::Dead(tombstone)) => (None, Some(encode_tombstone(tombstone))),
                None => (None, None),
            };
            self.change(&mut digest, Key::Header(actor).encode(), header.as_deref())?;
            self.change(&mut digest, Key::Tombstone(actor).encode(), tombstone.as_deref())?;
        }
        let registry = self.registry.clone().filter(|_| self.registry_changed);
        if let Some(mark) = &registry {
            self.change(&mut digest, Key::RegistryMark.encode(), Some(&versioned(mark)))?;
        }
        digest.merge(self.registry_digest);
        let membership = membership.unwrap_or(before.membership);
        let mark = Mark { applied: Some(applied), membership, digest };
        let mut batch = sled::Batch::default();
        for (key, value) in &self.writes {
            match value {
                Some(framed) => batch.insert(&key[..], &framed[..]),
                None => batch.remove(&key[..]),
            }
        }
        let key = Key::Applied.encode();
        batch.insert(&key[..], frame(&key, &versioned(&mark)));
        self.group.write(self.writes.keys(), batch, mark, registry.map(|mark| mark.revision))
    }

    /// The set is no longer reached by any header. An empty one leaves nothing to reclaim.
    fn give_up(&mut self, actor: &Actor) {
        if actor.header.records > 0 {
            let key = Key::Reclaim(actor.set()).encode();
            let framed = frame(&key, &[]);
            self.writes.insert(key, Some(framed));
        }
    }

    fn value_len(&self, set: RecordSet, record: RecordId) -> Result<Option<usize>, Error> {
        let key = Key::Value(set, record, 0).encode();
        let Some(framed) = self.framed(&key)? else { return Ok(None) };
        let value = self.group.unframe(&key, &framed)?;
        match value.first_chunk::<LENGTH_BYTES>() {
            Some(len) => Ok(Some(u32::from_le_bytes(*len) as usize)),
            None => Err(self.group.damaged("a value's length")),
        }
    }

    pub(super) fn framed(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        if let Some(value) = self.writes.get(key) {
            return Ok(value.clone());
        }
        let live = self.group.live.read();
        let value = live.tree.get(key).map_err(|e| self.group.engine.error(e))?;
        Ok(value.map(|framed| framed.to_vec()))
    }

    /// Sets or removes a key, and keeps the digest in step. Removing what is not there changes nothing.
    pub(super) fn change(&mut self, digest: &mut Digest, key: Vec<u8>, value: Option<&[u8]>) -> Result<(), Error> {
        let before = self.framed(&key)?;
        if before.is_none() && value.is_none() {
            return Ok(());
        }
        if let Some(framed) = before {
            digest.remove(&framed);
        }
        let framed = value.map(|value| frame(&key, value));
        if let Some(framed) = &framed {
            digest.add(framed);
        }
        self.bytes += key.len() + framed.as_ref().map_or(0, Vec::len);
        self.writes.insert(key, framed);
        Ok(())
    }
}

/// In how many chunks a value of `len` bytes is stored.
pub(super) fn chunks(len: usize) -> u16 {
    (len + LENGTH_BYTES).div_ceil(CHUNK_BYTES) as u16
}
