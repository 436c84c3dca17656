//! `Command`: what a shard's log holds. Effects only: no JavaScript, no clock, no dice.
//!
//! Applying a command is a deterministic function of the command and the applied state, so every replica comes to the
//! same `Applied`. The encoding is part of the log's format: a version byte, then postcard; the golden tests fail when it
//! changes. A fifth command would begin as a batch does (`codec::BATCH`): give it another version.

use bytes::Bytes;
use lethe_proto::ActorId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::store::state::{NAME_BYTES_MAX, REGISTRY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::store::{DestroyReason, Header, KeyShare, RecordId, octets};

/// Expectations and changes of one `Register`.
pub const REGISTER_OPS_MAX: usize = 8192;

/// One change: of one actor, or of the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Starts a new activation of the actor: every write of earlier activations is refused from here on.
    Activate {
        /// The actor.
        actor: ActorId,
        /// `script/Class`; must be the one it was created with.
        namespace: String,
        /// Creates the actor. Refused if it exists under another incarnation; a repeat is an ordinary activation.
        create: Option<Create>,
    },
    /// One atomic batch of an actor's storage operations.
    Write {
        /// The actor.
        actor: ActorId,
        /// The life of the actor that writes.
        incarnation: Uuid,
        /// The activation that writes; must be the newest.
        activation: u64,
        /// Must be the header's `seq + 1`.
        seq: u64,
        /// The operations, in order.
        ops: Vec<RecordOp>,
    },
    /// Ends the actor for good.
    Destroy {
        /// The actor.
        actor: ActorId,
        /// Refused if the actor lives, or lived, under another incarnation.
        expected: Option<Uuid>,
        /// The proposer's clock, in milliseconds since 1970.
        destroyed_at_ms: u64,
        /// Who asked.
        reason: DestroyReason,
    },
    /// Changes names of the registry, all or none.
    Register {
        /// What must be so before; refused as a `Conflict` otherwise.
        expect: Vec<Expect>,
        /// The changes, in order. Without any it only asks whether what is expected is so.
        ops: Vec<RegistryOp>,
    },
}

/// What a name of the registry must be before a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expect {
    /// The name.
    #[serde(with = "octets")]
    pub key: Bytes,
    /// The revision it was last put at; none: it must not exist.
    pub revision: Option<u64>,
}

/// One change of the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RegistryOp {
    /// Sets a name.
    Put {
        /// The name, 1 to 512 bytes.
        #[serde(with = "octets")]
        key: Bytes,
        /// Its value, at most 1 MiB.
        #[serde(with = "octets")]
        value: Bytes,
    },
    /// Removes a name; one that does not exist is no error.
    Delete {
        /// The name.
        #[serde(with = "octets")]
        key: Bytes,
    },
}

/// How an actor begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Create {
    /// Identity of this life.
    pub incarnation: Uuid,
    /// The proposer's clock, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// The name the id was made from, sealed.
    #[serde(with = "octets::option")]
    pub sealed_name: Option<Bytes>,
    /// The data key, sealed to each replica's key epoch.
    pub key_shares: Vec<KeyShare>,
}

/// One storage operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecordOp {
    /// Sets a record.
    Put {
        /// Which record.
        id: RecordId,
        /// Its name, sealed.
        #[serde(with = "octets")]
        name: Bytes,
        /// Its value, sealed.
        #[serde(with = "octets")]
        value: Bytes,
    },
    /// Removes a record; a record that does not exist is no error.
    Delete {
        /// Which record.
        id: RecordId,
    },
    /// Removes all records.
    DeleteAll,
}

/// A `Command::Write` that borrows its operations from the entry it stands in.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Write<'e> {
    /// The actor.
    pub actor: ActorId,
    /// The life of the actor that writes.
    pub incarnation: Uuid,
    /// The activation that writes.
    pub activation: u64,
    /// Its sequence.
    pub seq: u64,
    /// The operations, in order.
    #[serde(borrow)]
    pub ops: Vec<BorrowedOp<'e>>,
}

/// A `RecordOp` that borrows its bytes.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) enum BorrowedOp<'e> {
    /// Sets a record.
    Put {
        /// Which record.
        id: RecordId,
        /// Its name, sealed.
        name: &'e [u8],
        /// Its value, sealed.
        value: &'e [u8],
    },
    /// Removes a record.
    Delete {
        /// Which record.
        id: RecordId,
    },
    /// Removes all records.
    DeleteAll,
}

impl RecordOp {
    /// The same, borrowed.
    pub(super) fn borrowed(&self) -> BorrowedOp<'_> {
        match self {
            Self::Put { id, name, value } => BorrowedOp::Put { id: *id, name, value },
            Self::Delete { id } => BorrowedOp::Delete { id: *id },
            Self::DeleteAll => BorrowedOp::DeleteAll,
        }
    }
}

/// What applying a command did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Applied {
    /// The actor is activated; its header carries the new activation.
    Activated(Header),
    /// The batch is applied.
    Written,
    /// The actor is destroyed.
    Destroyed {
        /// The incarnation that ended, if there ever was one.
        incarnation: Option<Uuid>,
        /// It had been destroyed before.
        already: bool,
    },
    /// Nothing changed.
    Rejected(Rejection),
    /// The registry is changed.
    Registered {
        /// Index of the entry that did it; every name that was put has this revision now.
        revision: u64,
    },
}

/// Why a command changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// The actor was destroyed.
    #[error("the actor was destroyed")]
    Destroyed,
    /// The actor was never created.
    #[error("there is no such actor")]
    NoSuchActor,
    /// The actor was created by somebody else in the meantime.
    #[error("the actor exists already, as incarnation {0}")]
    Exists(Uuid),
    /// The actor belongs to another namespace.
    #[error("the actor belongs to namespace {0}")]
    OtherNamespace(String),
    /// The actor lives, or lived, under another incarnation.
    #[error("the actor's incarnation is {0}")]
    OtherIncarnation(Uuid),
    /// A newer activation of the actor exists.
    #[error("the actor was activated again: its activation is {0}")]
    StaleActivation(u64),
    /// The write is a replay or skips one.
    #[error("the actor's last write has sequence {0}")]
    StaleSequence(u64),
    /// A name of the registry is not what was expected.
    #[error("a name of the registry was changed by somebody else: {}", key.escape_ascii())]
    Conflict {
        /// The first such name.
        #[serde(with = "octets")]
        key: Bytes,
    },
    /// The change is over a limit of the registry.
    #[error("a change of the registry is over its limit of {0}")]
    RegistryLimit(RegistryLimit),
}

/// A limit of the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum RegistryLimit {
    /// Names have 1 to 512 bytes.
    #[error("1 to {NAME_BYTES_MAX} bytes for a name")]
    NameBytes,
    /// Values have at most 1 MiB.
    #[error("{VALUE_BYTES_MAX} bytes for a value")]
    ValueBytes,
    /// One command has at most so many expectations and changes.
    #[error("{REGISTER_OPS_MAX} expectations and changes in one command")]
    Ops,
    /// All names and values together.
    #[error("{REGISTRY_BYTES_MAX} bytes for everything")]
    TotalBytes,
}

impl Command {
    /// The actor it changes; none if it changes the registry.
    pub fn actor(&self) -> Option<ActorId> {
        match self {
            Self::Activate { actor, .. } | Self::Write { actor, .. } | Self::Destroy { actor, .. } => Some(*actor),
            Self::Register { .. } => None,
        }
    }
}
