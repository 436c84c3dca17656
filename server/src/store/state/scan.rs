//! `Scan`: reads a group as of one applied position while commits go on.
//!
//! The tree's iterator shows what was there when it was made; files it reads are kept until it is dropped. Records that
//! were given up before the scan began are left out, whether they are reclaimed by now or not.

use std::collections::HashSet;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::group::Group;
use super::key::{FAMILIES, Key, RecordSet};
use super::tree::Bytes;
use super::{Error, Mark};

/// Most keys in a slice.
const SLICE_KEYS: usize = 512;
/// A slice ends when it has this many bytes.
const SLICE_BYTES: usize = 1 << 20;

/// A running scan. Dropping it ends it.
pub struct Scan {
    group: Arc<Group>,
    mark: Mark,
    /// Which tree is scanned.
    generation: u32,
    entries: Box<dyn Iterator<Item = Result<(Bytes, Bytes), Error>> + Send>,
    garbage: HashSet<RecordSet>,
}

/// Keys and framed values, in order.
pub type Slice = Vec<(Vec<u8>, Vec<u8>)>;

impl Scan {
    /// Begins a scan of the group as it is now; none if one is running.
    pub fn begin(group: &Arc<Group>) -> Result<Option<Self>, Error> {
        let live = group.settled(&FAMILIES);
        let mut garbage = HashSet::new();
        for entry in live.tree.prefix(&Key::reclaims()) {
            let Some(Key::Reclaim(set)) = Key::decode(&entry?.0) else { return Err(group.damaged("a reclaim key")) };
            garbage.insert(set);
        }
        if group.scanned.swap(true, Ordering::AcqRel) {
            return Ok(None);
        }
        let entries = Box::new(live.tree.from(Bound::Unbounded));
        let (mark, generation) = (group.mark(), live.generation);
        Ok(Some(Self { group: group.clone(), mark, generation, entries, garbage }))
    }

    /// The position it shows.
    pub fn mark(&self) -> &Mark {
        &self.mark
    }

    /// The next keys and values; an empty slice does not mean the end, none does.
    pub fn next_slice(&mut self) -> Result<Option<Slice>, Error> {
        if self.group.live.read().generation != self.generation {
            return Err(self.group.damaged("replaced while it was scanned"));
        }
        let (mut slice, mut keys, mut bytes) = (Slice::new(), 0, 0);
        while keys < SLICE_KEYS && bytes < SLICE_BYTES {
            let Some(entry) = self.entries.next() else { break };
            let (key, framed) = entry?;
            keys += 1;
            bytes += key.len() + framed.len();
            if self.wanted(&key) {
                slice.push((key.to_vec(), framed.to_vec()));
            }
        }
        Ok((keys > 0).then_some(slice))
    }

    fn wanted(&self, key: &[u8]) -> bool {
        match Key::decode(key) {
            Some(Key::Name(set, _) | Key::Value(set, _, _)) => !self.garbage.contains(&set),
            Some(_) => Key::in_snapshot(key),
            None => false,
        }
    }
}

impl Drop for Scan {
    fn drop(&mut self) {
        self.group.scanned.store(false, Ordering::Release);
    }
}
