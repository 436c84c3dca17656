//! Takes back the space of records that no header reaches any more, a bounded number at a time.
//!
//! What is to be reclaimed stands in the state itself, written in the batch that gave the records up, so a crash in
//! between loses nothing and repeats nothing. It is no part of the digest: replicas reclaim when they have time.

use std::sync::atomic::Ordering;

use super::Error;
use super::group::Group;
use super::key::{Key, RECLAIM, RecordSet};
use super::tree::{Bytes, Tree};

/// Most keys removed in one batch.
const BATCH_KEYS: usize = 512;

impl Group {
    /// Removes some unreachable records; false if there are none. Blocks.
    pub fn reclaim(&self) -> Result<bool, Error> {
        if self.settled(&[RECLAIM]).tree.prefix(&Key::reclaims()).next().is_none() {
            return Ok(false);
        }
        // Nothing reaches these keys, so nobody reads them; commits and loads wait for the whole step.
        let mut live = self.live.write();
        live.drain();
        let Some(entry) = live.tree.prefix(&Key::reclaims()).next() else { return Ok(false) };
        let (key, _) = entry?;
        let Some(Key::Reclaim(set)) = Key::decode(&key) else { return Err(self.damaged("a reclaim key")) };
        let mut gone = unreachable(&live.tree, set)?;
        if gone.len() < BATCH_KEYS {
            gone.push(key);
        }
        let bytes = live.remove(gone);
        self.unwritten.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(true)
    }

    /// How many record sets wait to be reclaimed.
    pub fn reclaim_backlog(&self) -> usize {
        self.settled(&[RECLAIM]).tree.prefix(&Key::reclaims()).count()
    }
}

fn unreachable(tree: &Tree, set: RecordSet) -> Result<Vec<Bytes>, Error> {
    let keys = tree.prefix(&set.names()).chain(tree.prefix(&set.values()));
    keys.take(BATCH_KEYS).map(|entry| entry.map(|(key, _)| key)).collect()
}
