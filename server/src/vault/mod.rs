//! Data keys, sealing and erasure: everything an actor stores passes through here before it reaches the log.
//!
//! Every incarnation of an actor has a [`DataKey`] of its own, which exists only in the [`KeyTable`] of this node and, while
//! the actor lives, in memory. A [`Sealer`] made from it seals names and values, so log, state, snapshots and backups hold
//! nothing that is readable without it. Destroying an actor erases its slot in the table; with the key gone, every
//! copy of what it protected is noise.
//!
//! What erasing means today: the slot is overwritten in place with zeros, synced, and read back. The file system must
//! overwrite in place (ext4 and xfs do; btrfs, zfs and file systems on top of them keep the old block for a while). An SSD may keep the
//! old flash page until it is collected, readable only by taking the drive apart or by its maker's tools; full disk encryption closes
//! that. Backups of the table file keep the keys that were in it: do not back it up. Keys stand plain in the table; keys
//! wrapped by a short-lived epoch key are what its format leaves room for.

mod error;
mod key;
mod sealer;
mod slot;
mod table;

#[cfg(test)]
mod tests;

use std::{path::Path, sync::Arc};

use lethe_proto::ActorId;
use uuid::Uuid;

pub use error::Error;
pub use key::DataKey;
pub use sealer::{PLAIN_BYTES_MAX, SEALED_OVERHEAD, Sealer};
pub use table::{KeyTable, TableConfig};

use crate::store::vfs::Vfs;

/// Makes, finds and erases the keys of actors. Clones are handles of the same vault. All calls may block on the disk.
#[derive(Clone, Debug)]
pub struct Vault {
    table: Arc<KeyTable>,
}

impl Vault {
    /// Opens the key table in `dir`, made when missing.
    pub fn open(vfs: Arc<dyn Vfs>, dir: &Path, config: TableConfig) -> Result<Self, Error> {
        Ok(Self { table: Arc::new(KeyTable::open(vfs, dir, config)?) })
    }

    /// Makes the key of a new incarnation. It is durable when this returns. If there is one already, this gives that one.
    pub fn create(&self, actor: ActorId, incarnation: Uuid) -> Result<Sealer, Error> {
        if let Some(key) = self.table.get(actor, incarnation)? {
            return Ok(Sealer::new(&key, actor, incarnation));
        }
        let key = DataKey::generate()?;
        self.table.insert(actor, incarnation, &key)?;
        Ok(Sealer::new(&key, actor, incarnation))
    }

    /// The sealer of an incarnation; `NoKey` when it was destroyed or never lived here.
    pub fn sealer(&self, actor: ActorId, incarnation: Uuid) -> Result<Sealer, Error> {
        let key = self.table.get(actor, incarnation)?.ok_or(Error::NoKey { actor, incarnation })?;
        Ok(Sealer::new(&key, actor, incarnation))
    }

    /// Erases the key of an incarnation; `false` when there was none. It is gone from the table's file when this returns.
    pub fn erase(&self, actor: ActorId, incarnation: Uuid) -> Result<bool, Error> {
        self.table.erase(actor, incarnation)
    }

    /// Every incarnation that has a key here, in no order.
    pub fn incarnations(&self) -> Vec<(ActorId, Uuid)> {
        self.table.iter()
    }
}
