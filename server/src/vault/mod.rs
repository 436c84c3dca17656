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
//! that. Backups of the table file keep the keys that were in it: do not back it up. Keys stand plain in the table.
//!
//! A new key travels to the replicas of its actor inside the log, sealed to each one's key epoch ([`Vault::share`],
//! [`Vault::take`]), and between nodes the same way ([`Vault::export`], [`Vault::import`]). Epochs are replaced every few minutes and
//! their private keys erased one epoch later; from then on the copies in the log are noise as well.

mod epochs;
mod error;
mod key;
mod nonces;
mod seal_to;
mod sealer;
mod slot;
mod table;

#[cfg(test)]
mod tests;

use std::{path::Path, sync::Arc};

use lethe_proto::ActorId;
use uuid::Uuid;

use self::epochs::{Epochs, Opened};
pub use self::{
    error::Error,
    key::DataKey,
    nonces::Nonces,
    seal_to::{PublicKey, Recipient, SEALED_KEY_BYTES},
    sealer::{PLAIN_BYTES_MAX, SEALED_OVERHEAD, Sealer},
    slot::Owner,
    table::{KeyTable, TableConfig},
};
use crate::store::{KeyShare, vfs::Vfs};

/// Makes, finds, hands on and erases the keys of actors. Clones are handles of the same vault. Calls may block on the disk.
#[derive(Clone, Debug)]
pub struct Vault {
    table: Arc<KeyTable>,
    epochs: Arc<Epochs>,
}

/// The key of an incarnation that is being created. A slot of the table is kept for it until this is dropped.
#[derive(Debug)]
pub struct NewKey {
    owner: Owner,
    key: DataKey,
    table: Arc<KeyTable>,
}

/// Why a key that came with its actor's creation is not on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// It was not sealed to this node.
    NotMine,
    /// It was sealed to an epoch whose private key is gone.
    EpochGone,
    /// It does not open, or another key is in its place.
    Unreadable,
    /// The table has no room.
    NoRoom,
}

/// What became of a key that another node sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Imported {
    /// It is here now, durably.
    Stored,
    /// Its incarnation was erased here in the meantime.
    Erased,
    /// It could not be stored.
    Missed(Missed),
}

impl Vault {
    /// Opens the key table and the key epochs in `dir`, made when missing.
    pub fn open(vfs: Arc<dyn Vfs>, dir: &Path, config: TableConfig) -> Result<Self, Error> {
        let table = KeyTable::open(vfs.clone(), dir, config)?;
        let epochs = Epochs::open(&*vfs, dir, config.node)?;
        Ok(Self { table: Arc::new(table), epochs: Arc::new(epochs) })
    }

    /// Makes the key of a new incarnation, in memory only. The table has room for it as long as the result lives.
    pub fn generate(&self, actor: ActorId, incarnation: Uuid) -> Result<NewKey, Error> {
        let key = DataKey::generate()?;
        self.table.reserve()?;
        Ok(NewKey { owner: Owner { actor, incarnation }, key, table: self.table.clone() })
    }

    /// Stores a new key, if it is not here yet. It is durable when this returns. `false` when its incarnation was erased
    /// here in the meantime.
    pub fn keep(&self, new: &NewKey) -> Result<bool, Error> {
        self.table.insert_late(&[(new.owner, &new.key)])?.remove(0)
    }

    /// Whom to seal keys to that are meant for this node.
    pub fn recipient(&self) -> Recipient {
        self.epochs.current()
    }

    /// Begins a new key epoch; the private key of the epoch before the current one is gone when this returns. Gives the
    /// new epoch.
    pub fn rotate(&self) -> Result<u32, Error> {
        self.epochs.rotate()
    }

    /// Seals a new key to each of the recipients.
    pub fn share(&self, new: &NewKey, to: &[Recipient]) -> Result<Vec<KeyShare>, Error> {
        to.iter().map(|to| sealed(new.owner, &new.key, to)).collect()
    }

    /// Stores the keys of actors that were created, as far as they were sealed to this node and are not here yet. Durable
    /// when this returns. Gives those that are not here now, and why.
    pub fn take(&self, created: &[(Owner, &[KeyShare])]) -> Result<Vec<(Owner, Missed)>, Error> {
        let mut missed = Vec::new();
        let mut opened = Vec::new();
        for (owner, shares) in created {
            if self.table.contains(*owner) {
                continue;
            }
            match self.unseal_mine(*owner, shares) {
                Ok(key) => opened.push((*owner, key)),
                Err(why) => missed.push((*owner, why)),
            }
        }
        let keys: Vec<_> = opened.iter().map(|(owner, key)| (*owner, key)).collect();
        match self.table.insert_all(&keys) {
            Ok(()) => {}
            Err(Error::Full { .. } | Error::NoSpace { .. }) => {
                missed.extend(
                    keys.iter().filter(|(owner, _)| !self.table.contains(*owner)).map(|(o, _)| (*o, Missed::NoRoom)),
                );
                // What did find room is made durable by a call that needs none.
                self.table.insert_all(&[])?;
            }
            Err(error) => return Err(error),
        }
        Ok(missed)
    }

    fn unseal_mine(&self, owner: Owner, shares: &[KeyShare]) -> Result<DataKey, Missed> {
        let me = self.epochs.current().node;
        let share = shares.iter().find(|share| share.node == me.0).ok_or(Missed::NotMine)?;
        match self.epochs.unseal(owner, share.epoch, &share.sealed) {
            Opened::Key(key) => Ok(key),
            Opened::EpochGone => Err(Missed::EpochGone),
            Opened::Unreadable => Err(Missed::Unreadable),
        }
    }

    /// Seals the key of an incarnation to another node.
    pub fn export(&self, owner: Owner, to: &Recipient) -> Result<KeyShare, Error> {
        let Owner { actor, incarnation } = owner;
        let key = self.table.get(owner)?.ok_or(Error::NoKey { actor, incarnation })?;
        sealed(owner, &key, to)
    }

    /// Stores keys that another node sealed to this one, with one sync. Says of each what became of it.
    pub fn import(&self, shares: &[(Owner, KeyShare)]) -> Result<Vec<Imported>, Error> {
        let open = |(owner, share): &(Owner, KeyShare)| self.unseal_mine(*owner, std::slice::from_ref(share));
        let opened: Vec<_> = shares.iter().map(open).collect();
        let pairs = shares.iter().zip(&opened);
        let keys: Vec<_> = pairs.filter_map(|((owner, _), key)| Some((*owner, key.as_ref().ok()?))).collect();
        let mut stored = self.table.insert_late(&keys)?.into_iter();
        let mut become_of = |opened: Result<DataKey, Missed>| match opened.map(|_| stored.next()) {
            Ok(Some(Ok(true))) => Imported::Stored,
            Ok(Some(Ok(false))) => Imported::Erased,
            Ok(Some(Err(Error::Full { .. } | Error::NoSpace { .. }))) => Imported::Missed(Missed::NoRoom),
            Ok(Some(Err(_)) | None) => Imported::Missed(Missed::Unreadable),
            Err(why) => Imported::Missed(why),
        };
        Ok(opened.into_iter().map(&mut become_of).collect())
    }

    /// The sealer of an incarnation; `NoKey` when it was destroyed or never lived here.
    pub fn sealer(&self, actor: ActorId, incarnation: Uuid) -> Result<Sealer, Error> {
        let key = self.table.get(Owner { actor, incarnation })?.ok_or(Error::NoKey { actor, incarnation })?;
        Ok(Sealer::new(&key, actor, incarnation))
    }

    /// Whether there is a usable key of an incarnation.
    pub fn holds(&self, owner: Owner) -> bool {
        matches!(self.table.get(owner), Ok(Some(_)))
    }

    /// Erases the key of an incarnation; `false` when there was none. It is gone from the table's file when this returns.
    pub fn erase(&self, actor: ActorId, incarnation: Uuid) -> Result<bool, Error> {
        self.table.erase(Owner { actor, incarnation })
    }

    /// Erases the keys of incarnations, with one sync; gives how many there were.
    pub fn erase_all(&self, owners: &[Owner]) -> Result<usize, Error> {
        self.table.erase_all(owners)
    }

    /// Every incarnation that has a key here, in no order.
    pub fn incarnations(&self) -> Vec<Owner> {
        self.table.iter()
    }
}

impl NewKey {
    /// Seals what the new incarnation stores.
    pub fn sealer(&self) -> Sealer {
        Sealer::new(&self.key, self.owner.actor, self.owner.incarnation)
    }
}

impl Drop for NewKey {
    fn drop(&mut self) {
        self.table.unreserve();
    }
}

fn sealed(owner: Owner, key: &DataKey, to: &Recipient) -> Result<KeyShare, Error> {
    let sealed = seal_to::seal(owner, key, to)?;
    Ok(KeyShare { node: to.node.0, epoch: to.epoch, sealed: sealed.into() })
}
