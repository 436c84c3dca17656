//! `Live`: the tree of a group that counts, and what changed since it got anything.
//!
//! Keys are looked up in the memtable and then in the tree. Whoever reads keys in order reads the tree, and drains the
//! memtable before: `Group::settled`.

use parking_lot::{RwLockReadGuard, RwLockWriteGuard};

use super::Error;
use super::digest::{behind, unframe};
use super::group::Group;
use super::memtable::{self, Memtable};
use super::tree::{Bytes, Tree};

/// The tree that counts, behind its memtable.
pub(super) struct Live {
    pub tree: Tree,
    pub memtable: Memtable,
    pub generation: u32,
}

/// A framed value that was found.
pub(super) struct Found {
    pub framed: Bytes,
    /// It was read from the tree, where it may be damaged; what was never away from this process is not.
    is_read: bool,
}

impl Found {
    /// What a tree has at a key.
    pub fn read(tree: &Tree, key: &[u8]) -> Result<Option<Self>, Error> {
        Ok(tree.get(key)?.map(|framed| Self { framed, is_read: true }))
    }

    /// What was set in this process.
    pub fn set(framed: Bytes) -> Self {
        Self { framed, is_read: false }
    }

    /// The value, checked if need be; none if it does not fit its checksum.
    pub fn value(&self, key: &[u8]) -> Option<&[u8]> {
        match self.is_read {
            true => unframe(key, &self.framed),
            false => behind(&self.framed),
        }
    }
}

impl Live {
    /// A tree of which nothing is changed.
    pub fn new(tree: Tree, generation: u32) -> Self {
        Self { tree, memtable: Memtable::default(), generation }
    }

    /// A value.
    pub fn get(&self, key: &[u8]) -> Result<Option<Found>, Error> {
        match self.memtable.get(key) {
            Some(last) => Ok(last.clone().map(Found::set)),
            None => Found::read(&self.tree, key),
        }
    }

    /// Whether there is a value.
    pub fn contains(&self, key: &[u8]) -> Result<bool, Error> {
        match self.memtable.get(key) {
            Some(last) => Ok(last.is_some()),
            None => self.tree.contains(key),
        }
    }

    /// Lets the tree have what changed. Each change is drained once at most, so this costs no more, over all, than if the
    /// tree had got it at once.
    pub fn drain(&mut self) {
        if !self.memtable.is_changed() {
            return;
        }
        let mut changes = self.tree.change();
        self.memtable.drain(|key, last| changes.set(key, last));
    }

    /// Removes keys that nobody looks for any more. Nothing may be changed. Returns the bytes this takes until it is written
    /// out.
    pub fn remove(&mut self, keys: Vec<Bytes>) -> usize {
        let mut changes = self.tree.change();
        let mut bytes = 0;
        for key in keys {
            self.memtable.forget(&key);
            bytes += memtable::bytes(&key, &None);
            changes.set(key, None);
        }
        bytes
    }
}

impl Group {
    /// The group with all keys in its tree that begin with one of these bytes.
    pub(super) fn settled(&self, families: &[u8]) -> RwLockReadGuard<'_, Live> {
        let live = self.live.read();
        if !live.memtable.is_changed_in(families) {
            return live;
        }
        drop(live);
        let mut live = self.live.write();
        live.drain();
        RwLockWriteGuard::downgrade(live)
    }
}
