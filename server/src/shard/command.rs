//! `Command`: what a shard's log holds. Effects only: no JavaScript, no clock, no dice.
//!
//! Applying a command is a deterministic function of the command and the applied state, so every replica comes to the
//! same `Applied`. The encoding is part of the log's format: a version byte, then postcard; the golden test below
//! fails when it changes.

use bytes::Bytes;
use lethe_proto::ActorId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::store::{DestroyReason, Header, KeyShare, RecordId, octets};

/// One change of one actor.
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
}

impl Command {
    /// The actor it changes.
    pub fn actor(&self) -> ActorId {
        match self {
            Self::Activate { actor, .. } | Self::Write { actor, .. } | Self::Destroy { actor, .. } => *actor,
        }
    }
}
