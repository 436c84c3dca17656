//! What can go wrong in the vault.

use std::{io, path::PathBuf, sync::Arc};

use lethe_proto::{ActorId, NodeId};
use uuid::Uuid;

/// An error of the vault.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// A sealed record does not open: wrong key, wrong place, or damaged.
    #[error("a sealed {what} of actor {actor} does not open: it is damaged or belongs somewhere else")]
    Unsealable {
        /// `name` or `value`.
        what: &'static str,
        /// The actor.
        actor: ActorId,
    },
    /// A name or a value is too long to seal.
    #[error("{bytes} bytes are too many to seal, at most {max} are allowed")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// There is no key: it was erased, or this node never had it.
    #[error("no key for actor {actor}, incarnation {incarnation}")]
    NoKey {
        /// The actor.
        actor: ActorId,
        /// Its incarnation.
        incarnation: Uuid,
    },
    /// Another key is stored for this incarnation.
    #[error("actor {actor}, incarnation {incarnation} has another key already")]
    Exists {
        /// The actor.
        actor: ActorId,
        /// Its incarnation.
        incarnation: Uuid,
    },
    /// The key's slot is damaged. The key is not usable on this node; it can still be erased.
    #[error("{path}: the key of actor {actor}, incarnation {incarnation} in slot {slot} is damaged")]
    Damaged {
        /// The table.
        path: PathBuf,
        /// The slot.
        slot: u32,
        /// The actor.
        actor: ActorId,
        /// Its incarnation.
        incarnation: Uuid,
    },
    /// A slot was overwritten with zeros and does not read back as zeros.
    #[error("{path}: slot {slot} was zeroed but reads back otherwise")]
    NotErased {
        /// The table.
        path: PathBuf,
        /// The slot.
        slot: u32,
    },
    /// The table has as many keys as the configuration allows.
    #[error("the key table is full: {max} keys")]
    Full {
        /// The limit.
        max: u32,
    },
    /// The disk has no space for more slots; nothing was changed.
    #[error("no space for another extent of the key table {path}")]
    NoSpace {
        /// The table.
        path: PathBuf,
    },
    /// The file is not a key table that this version and this node can use.
    #[error("{path} is not usable as the key table: {reason}")]
    Unusable {
        /// The table.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Another process has the table open.
    #[error("{path} is in use by another process")]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The file system failed. Writing and erasing are refused from then on: what is durable is unknown.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// An earlier I/O error.
    #[error("the key table has failed and changes nothing more: {0}")]
    Failed(Arc<Error>),
    /// A public key that no honest node has.
    #[error("the public key of node {node}, epoch {epoch}, is not one that anything can be sealed to")]
    WeakKey {
        /// The node.
        node: NodeId,
        /// Its key epoch.
        epoch: u32,
    },
    /// There were as many key epochs as have numbers.
    #[error("no number is left for another key epoch")]
    EpochsUsedUp,
    /// A task that asked the vault broke off.
    #[error("asking the vault failed: {0}")]
    Broken(String),
    /// The system has no randomness to give.
    #[error("no randomness: {0}")]
    Random(String),
}

impl Error {
    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source: Arc::new(source) }
    }
}
