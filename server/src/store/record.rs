//! What is stored about an actor besides its records: the header while it lives, the tombstone after it was destroyed.
//!
//! Both travel in snapshots and are read by `shard` (which decides on them) and `actor` (which activates from them).
//! Everything that came out of the actor (its name, its keys) is sealed; ids, counters and times are not.

use std::fmt;

use bytes::Bytes;
use lethe_proto::ActorId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::octets;

/// Keyed digest of a storage key's name; the name itself is only stored sealed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RecordId(pub [u8; 16]);

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordId({})", hex::encode(self.0))
    }
}

/// A live actor, as of the applied log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The actor.
    pub actor: ActorId,
    /// This life of the actor; its data key and its records belong to it.
    pub incarnation: Uuid,
    /// `script/Class`.
    pub namespace: String,
    /// How often it was activated; a write must carry the newest.
    pub activation: u64,
    /// Sequence of the last applied write; the next one carries `seq + 1`.
    pub seq: u64,
    /// When it was created, in milliseconds since 1970, by the clock of the leader that created it.
    pub created_at_ms: u64,
    /// The name its id was made from, sealed.
    #[serde(with = "octets::option")]
    pub sealed_name: Option<Bytes>,
    /// How many records it has.
    pub records: u64,
    /// Sealed bytes of all its names and values.
    pub bytes: u64,
}

/// An actor's data key, sealed for one replica's epoch key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyShare {
    /// The replica that can open it.
    pub node: Uuid,
    /// That replica's key epoch.
    pub epoch: u32,
    /// The sealed key.
    #[serde(with = "octets")]
    pub sealed: Bytes,
}

/// What stays of a destroyed actor. No later command brings the actor back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// The actor.
    pub actor: ActorId,
    /// The incarnation that ended; none if the actor was destroyed before it was ever created.
    pub incarnation: Option<Uuid>,
    /// When it was destroyed, in milliseconds since 1970, by the clock of the leader that proposed it.
    pub destroyed_at_ms: u64,
    /// Who asked.
    pub reason: DestroyReason,
}

/// Who asked for an actor's destruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DestroyReason {
    /// A program, through a stub or over gRPC.
    Caller,
    /// The actor itself.
    Itself,
    /// An operator, with `lethe actor destroy`.
    Operator,
}

/// What is known of an actor id that was ever used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderOrTombstone {
    /// It lives.
    Header(Header),
    /// It was destroyed.
    Tombstone(Tombstone),
}

impl HeaderOrTombstone {
    /// The actor.
    pub fn actor(&self) -> ActorId {
        match self {
            Self::Header(header) => header.actor,
            Self::Tombstone(tombstone) => tombstone.actor,
        }
    }
}
