//! `Scan`: reads a group as of one applied position while commits go on.
//!
//! sled's iterators are no snapshots. So the scan reads slices in key order, each under the group's lock, and a commit
//! that changes a key the scan has not reached yet first puts the key's old value into the scan's shadow:
//!
//! ```text
//! keys   |---- written out ----|cursor|---- not read yet; old values of changed keys are in the shadow ----|
//! ```
//!
//! A commit waits for at most one slice, or, when the shadow is full, until the scan has caught up. Records that were
//! given up before the scan began are left out; reclaiming rests while a scan runs.

use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use super::group::Group;
use super::key::{Key, RecordSet};
use super::{Error, Mark};

/// Most keys in a slice.
const SLICE_KEYS: usize = 512;
/// A slice ends when it has this many bytes.
const SLICE_BYTES: usize = 1 << 20;
/// Old values kept for the scan before commits wait for it, in bytes.
const SHADOW_BYTES_MAX: usize = 64 << 20;

/// Above every key.
const END: &[u8] = &[0xff];

/// Old values of keys that changed under a scan.
pub(super) struct Shadow {
    cursor: Vec<u8>,
    before: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    bytes: usize,
}

/// A running scan. Dropping it ends it.
pub struct Scan {
    group: Arc<Group>,
    mark: Mark,
    garbage: HashSet<RecordSet>,
    done: bool,
}

/// Keys and framed values, in order.
pub type Slice = Vec<(Vec<u8>, Vec<u8>)>;

impl Scan {
    /// Begins a scan of the group as it is now; none if one is running.
    pub fn begin(group: &Arc<Group>) -> Result<Option<Self>, Error> {
        let live = group.live.write();
        let mut shadow = group.shadow.lock();
        if shadow.is_some() {
            return Ok(None);
        }
        let mut garbage = HashSet::new();
        for key in live.tree.scan_prefix(Key::reclaims()).keys() {
            let key = key.map_err(|e| group.engine.error(e))?;
            let Some(Key::Reclaim(set)) = Key::decode(&key) else { return Err(group.damaged("a reclaim key")) };
            garbage.insert(set);
        }
        *shadow = Some(Shadow { cursor: Vec::new(), before: BTreeMap::new(), bytes: 0 });
        Ok(Some(Self { group: group.clone(), mark: group.mark(), garbage, done: false }))
    }

    /// The position it shows.
    pub fn mark(&self) -> &Mark {
        &self.mark
    }

    /// The next keys and values; an empty slice does not mean the end, none does.
    pub fn next_slice(&mut self) -> Result<Option<Slice>, Error> {
        if self.done {
            return Ok(None);
        }
        let live = self.group.live.read();
        let mut guard = self.group.shadow.lock();
        let Some(shadow) = guard.as_mut() else { return Err(self.group.damaged("replaced while it was scanned")) };
        let mut slice = BTreeMap::new();
        let mut bytes = 0;
        let mut last = None;
        let start = (Bound::Excluded(shadow.cursor.clone()), Bound::Unbounded);
        for entry in live.tree.range::<Vec<u8>, _>(start) {
            let (key, framed) = entry.map_err(|e| self.group.engine.error(e))?;
            bytes += key.len() + framed.len();
            last = Some(key.to_vec());
            slice.insert(key.to_vec(), framed.to_vec());
            if slice.len() >= SLICE_KEYS || bytes >= SLICE_BYTES {
                break;
            }
        }
        self.done = slice.len() < SLICE_KEYS && bytes < SLICE_BYTES;
        for (key, before) in shadow.advance(last.filter(|_| !self.done)) {
            match before {
                Some(framed) => slice.insert(key, framed),
                None => slice.remove(&key),
            };
        }
        self.group.shadow_room.notify_all();
        drop((guard, live));
        Ok(Some(slice.into_iter().filter(|(key, _)| self.wanted(key)).collect()))
    }

    fn wanted(&self, key: &[u8]) -> bool {
        match Key::decode(key) {
            Some(Key::Name(set, _) | Key::Value(set, _, _)) => !self.garbage.contains(&set),
            Some(Key::Header(_) | Key::Tombstone(_)) => true,
            Some(Key::Registry(_) | Key::RegistryPart(..) | Key::RegistryMark) => true,
            Some(Key::Applied | Key::Reclaim(_)) | None => false,
        }
    }
}

impl Drop for Scan {
    fn drop(&mut self) {
        *self.group.shadow.lock() = None;
        self.group.shadow_room.notify_all();
    }
}

impl Shadow {
    /// Moves the cursor and takes out what it passed; to the end if there is no key.
    fn advance(&mut self, to: Option<Vec<u8>>) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
        let passed = match &to {
            Some(key) => {
                let mut rest = self.before.split_off(key);
                if let Some(value) = rest.remove(key) {
                    self.before.insert(key.clone(), value);
                }
                std::mem::replace(&mut self.before, rest)
            }
            None => std::mem::take(&mut self.before),
        };
        let gone: usize = passed.iter().map(|(key, value)| size(key, value)).sum();
        self.bytes -= gone;
        self.cursor = to.unwrap_or_else(|| END.to_vec());
        passed
    }
}

impl Group {
    /// Writes a batch that changes `keys`, sets the mark that is in it, and tells of the registry's new revision.
    pub(super) fn write<'k>(
        &self,
        keys: impl Iterator<Item = &'k Vec<u8>>,
        batch: sled::Batch,
        mark: Mark,
        registry: Option<u64>,
    ) -> Result<(), Error> {
        self.wait_for_room();
        let live = self.live.write();
        if let Some(shadow) = self.shadow.lock().as_mut() {
            for key in keys {
                if !Key::in_snapshot(key) || *key <= shadow.cursor || shadow.before.contains_key(key) {
                    continue;
                }
                let before = live.tree.get(key).map_err(|e| self.engine.error(e))?.map(|framed| framed.to_vec());
                shadow.bytes += size(key, &before);
                shadow.before.insert(key.clone(), before);
            }
        }
        live.tree.apply_batch(batch).map_err(|e| self.engine.error(e))?;
        self.set_mark(mark);
        if let Some(revision) = registry {
            self.registry.send_replace(revision);
        }
        Ok(())
    }

    fn wait_for_room(&self) {
        let mut shadow = self.shadow.lock();
        while shadow.as_ref().is_some_and(|shadow| shadow.bytes >= SHADOW_BYTES_MAX) {
            self.shadow_room.wait(&mut shadow);
        }
    }
}

fn size(key: &[u8], value: &Option<Vec<u8>>) -> usize {
    key.len() + value.as_ref().map_or(0, Vec::len)
}
