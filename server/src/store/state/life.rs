//! `Life`: a header or a tombstone in its stored form.
//!
//! A header is stored with what only the state store needs: which generation of records is current, and the digest of
//! those records. The forms carry a version byte; the golden tests fail when they change.

use lethe_proto::ActorId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::digest::Digest;
use super::key::RecordSet;
use crate::store::{Header, HeaderOrTombstone, Tombstone};

const VERSION: u8 = 1;
/// Most headers and marks have no more bytes.
const ENCODED_BYTES: usize = 256;

/// An actor as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Life {
    /// It lives.
    Live(Actor),
    /// It was destroyed.
    Dead(Tombstone),
}

/// A live actor as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// What everybody may know.
    pub header: Header,
    /// How often all its records were deleted.
    pub(super) generation: u32,
    /// Digest of its records.
    pub(super) digest: Digest,
}

impl Actor {
    /// An actor without records.
    pub fn new(header: Header) -> Self {
        Self { header, generation: 0, digest: Digest::default() }
    }

    /// Its actor id.
    pub fn id(&self) -> ActorId {
        self.header.actor
    }

    /// Its incarnation.
    pub fn incarnation(&self) -> Uuid {
        self.header.incarnation
    }

    /// Its current records.
    pub(super) fn set(&self) -> RecordSet {
        RecordSet { actor: self.id(), incarnation: self.incarnation(), generation: self.generation }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        versioned(self)
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        unversioned(bytes)
    }
}

pub(super) fn encode_tombstone(tombstone: &Tombstone) -> Vec<u8> {
    versioned(tombstone)
}

pub(super) fn decode_tombstone(bytes: &[u8]) -> Option<Tombstone> {
    unversioned(bytes)
}

impl From<Life> for HeaderOrTombstone {
    fn from(life: Life) -> Self {
        match life {
            Life::Live(actor) => Self::Header(actor.header),
            Life::Dead(tombstone) => Self::Tombstone(tombstone),
        }
    }
}

/// A version byte, then postcard.
pub(super) fn versioned<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ENCODED_BYTES);
    bytes.push(VERSION);
    postcard::to_extend(value, bytes).expect("writing to memory does not fail")
}

/// The value behind the version byte; none if the version is another or bytes are left over or missing.
pub(super) fn unversioned<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Option<T> {
    let (&VERSION, rest) = bytes.split_first()? else { return None };
    match postcard::take_from_bytes(rest) {
        Ok((value, [])) => Some(value),
        _ => None,
    }
}
