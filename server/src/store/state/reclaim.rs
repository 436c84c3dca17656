//! Takes back the space of records that no header reaches any more, a bounded number at a time.
//!
//! What is to be reclaimed stands in the state itself, written in the batch that gave the records up, so a crash in
//! between loses nothing and repeats nothing. It is no part of the digest: replicas reclaim when they have time.

use super::Error;
use super::group::Group;
use super::key::{Key, RecordSet};

/// Most keys removed in one batch.
const BATCH_KEYS: usize = 512;

impl Group {
    /// Removes some unreachable records; false if there are none, or a scan runs. Blocks.
    pub fn reclaim(&self) -> Result<bool, Error> {
        // Locked in the order of `Group`, for the whole step: neither a load nor a scan comes between.
        let live = self.live.read();
        let shadow = self.shadow.lock();
        if shadow.is_some() {
            return Ok(false);
        }
        let Some(entry) = live.tree.scan_prefix(Key::reclaims()).keys().next() else { return Ok(false) };
        let key = entry.map_err(|e| self.engine.error(e))?;
        let Some(Key::Reclaim(set)) = Key::decode(&key) else { return Err(self.damaged("a reclaim key")) };
        let mut batch = sled::Batch::default();
        let keys = self.unreachable(&live.tree, set)?;
        if keys.len() < BATCH_KEYS {
            batch.remove(key);
        }
        for key in keys {
            batch.remove(key);
        }
        live.tree.apply_batch(batch).map_err(|e| self.engine.error(e))?;
        Ok(true)
    }

    /// How many record sets wait to be reclaimed.
    pub fn reclaim_backlog(&self) -> usize {
        self.live.read().tree.scan_prefix(Key::reclaims()).count()
    }

    fn unreachable(&self, tree: &sled::Tree, set: RecordSet) -> Result<Vec<sled::IVec>, Error> {
        let keys = tree.scan_prefix(set.names()).chain(tree.scan_prefix(set.values())).keys();
        keys.take(BATCH_KEYS).map(|key| key.map_err(|e| self.engine.error(e))).collect()
    }
}

trait Keys: Iterator<Item = sled::Result<(sled::IVec, sled::IVec)>> + Sized {
    fn keys(self) -> impl Iterator<Item = sled::Result<sled::IVec>> {
        self.map(|entry| entry.map(|(key, _)| key))
    }
}

impl<I: Iterator<Item = sled::Result<(sled::IVec, sled::IVec)>>> Keys for I {}
