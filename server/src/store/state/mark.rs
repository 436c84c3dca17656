//! `Mark`: how far a group's log is applied. Written in the same batch as what was applied.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use crate::store::octets;

/// How far a group's log is applied. The log id and the membership are opaque here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The last applied entry; none if nothing was ever applied.
    pub applied: Option<Position>,
    /// The last applied membership.
    #[serde(with = "octets")]
    pub membership: Bytes,
    /// Digest of the group after that entry.
    pub digest: Digest,
}

/// A place in a group's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Its index.
    pub index: u64,
    /// The whole log id.
    #[serde(with = "octets")]
    pub log_id: Bytes,
}

impl Mark {
    /// Index of the last applied entry.
    pub fn index(&self) -> Option<u64> {
        self.applied.as_ref().map(|position| position.index)
    }
}
