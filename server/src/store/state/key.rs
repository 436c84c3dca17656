//! The whole key space of a group's applied state, in one enum.
//!
//! ```text
//! tag  family     key after the tag                              value
//! 0    Applied    -                                              Mark: index, log id, membership, digest
//! 1    Header     actor                                          header of a live actor
//! 2    Tombstone  actor                                          what stays of a destroyed one
//! 3    Name       actor, incarnation, generation, record         sealed name
//! 4    Value      actor, incarnation, generation, record, chunk  a chunk of the sealed value
//! 5    -          reserved: alarm index (due time, actor)
//! 6    -          reserved: key shares (actor, node, epoch)
//! 7    Reclaim    actor, incarnation, generation                 empty; records that are gone but still take space
//! 8    Registry   name                                           revision, length, and the value's first chunk
//! 9    Registry-  name, chunk                                    a later chunk of the value
//!      Part
//! 10   Registry-  -                                              newest revision, how many names, their bytes
//!      Mark
//! ```
//!
//! Integers are big-endian, so keys order as their fields do, but for parts of the registry, whose names differ in length. Every value is framed with a checksum (`digest`).
//! A record set is one generation of one incarnation's records: deleting all records is beginning the next generation.

use lethe_proto::ActorId;
use smallvec::SmallVec;
use uuid::Uuid;

use super::registry::NAME_BYTES_MAX;
use crate::store::RecordId;

const APPLIED: u8 = 0;
pub(super) const HEADER: u8 = 1;
pub(super) const TOMBSTONE: u8 = 2;
pub(super) const NAME: u8 = 3;
const VALUE: u8 = 4;
pub(super) const RECLAIM: u8 = 7;
pub(super) const REGISTRY: u8 = 8;
const REGISTRY_PART: u8 = 9;
const REGISTRY_MARK: u8 = 10;

/// What keys of a snapshot and of its garbage begin with.
pub(super) const FAMILIES: [u8; 8] = [HEADER, TOMBSTONE, NAME, VALUE, RECLAIM, REGISTRY, REGISTRY_PART, REGISTRY_MARK];

const SET_BYTES: usize = 32 + 16 + 4;

/// A key in its stored form. Only those of the registry are longer than this.
pub type KeyBytes = SmallVec<[u8; 1 + SET_BYTES + 18]>;

/// One generation of the records of one incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordSet {
    /// The actor.
    pub actor: ActorId,
    /// Its life.
    pub incarnation: Uuid,
    /// How often all its records were deleted.
    pub generation: u32,
}

/// A key of a group's state.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// How far the log is applied.
    Applied,
    /// A live actor.
    Header(ActorId),
    /// A destroyed actor.
    Tombstone(ActorId),
    /// A record's sealed name.
    Name(RecordSet, RecordId),
    /// A chunk of a record's sealed value.
    Value(RecordSet, RecordId, u16),
    /// Records that no header reaches any more.
    Reclaim(RecordSet),
    /// A name of the registry, with the start of its value.
    Registry(Vec<u8>),
    /// A later chunk of a registry value; the first of these has number 1.
    RegistryPart(Vec<u8>, u16),
    /// What the registry adds up to.
    RegistryMark,
}

impl Key {
    /// The key's bytes.
    pub fn encode(&self) -> KeyBytes {
        let mut bytes = KeyBytes::new();
        match self {
            Self::Applied => bytes.push(APPLIED),
            Self::Header(actor) => {
                bytes.push(HEADER);
                bytes.extend_from_slice(&actor.0);
            }
            Self::Tombstone(actor) => {
                bytes.push(TOMBSTONE);
                bytes.extend_from_slice(&actor.0);
            }
            Self::Name(set, record) => {
                bytes.push(NAME);
                set.encode(&mut bytes);
                bytes.extend_from_slice(&record.0);
            }
            Self::Value(set, record, chunk) => {
                bytes.push(VALUE);
                set.encode(&mut bytes);
                bytes.extend_from_slice(&record.0);
                bytes.extend_from_slice(&chunk.to_be_bytes());
            }
            Self::Reclaim(set) => {
                bytes.push(RECLAIM);
                set.encode(&mut bytes);
            }
            Self::Registry(name) => {
                bytes.push(REGISTRY);
                bytes.extend_from_slice(name);
            }
            Self::RegistryPart(name, chunk) => {
                bytes.push(REGISTRY_PART);
                bytes.extend_from_slice(name);
                bytes.extend_from_slice(&chunk.to_be_bytes());
            }
            Self::RegistryMark => bytes.push(REGISTRY_MARK),
        }
        bytes
    }

    /// The key with these bytes; none if no family has such a key.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (tag, rest) = bytes.split_first()?;
        match *tag {
            APPLIED => rest.is_empty().then_some(Self::Applied),
            HEADER => Some(Self::Header(ActorId(rest.try_into().ok()?))),
            TOMBSTONE => Some(Self::Tombstone(ActorId(rest.try_into().ok()?))),
            NAME => {
                let (set, rest) = RecordSet::decode(rest)?;
                Some(Self::Name(set, RecordId(rest.try_into().ok()?)))
            }
            VALUE => {
                let (set, rest) = RecordSet::decode(rest)?;
                let (record, chunk) = rest.split_at_checked(16)?;
                let chunk = u16::from_be_bytes(chunk.try_into().ok()?);
                Some(Self::Value(set, RecordId(record.try_into().ok()?), chunk))
            }
            RECLAIM => match RecordSet::decode(rest)? {
                (set, []) => Some(Self::Reclaim(set)),
                _ => None,
            },
            REGISTRY => registry_name(rest).map(Self::Registry),
            REGISTRY_PART => {
                let (name, chunk) = rest.split_last_chunk::<2>()?;
                Some(Self::RegistryPart(registry_name(name)?, u16::from_be_bytes(*chunk)))
            }
            REGISTRY_MARK => rest.is_empty().then_some(Self::RegistryMark),
            _ => None,
        }
    }

    /// What all headers begin with.
    pub fn headers() -> Vec<u8> {
        vec![HEADER]
    }

    /// What all tombstones begin with.
    pub fn tombstones() -> Vec<u8> {
        vec![TOMBSTONE]
    }

    /// What all names of records begin with.
    pub fn names() -> Vec<u8> {
        vec![NAME]
    }

    /// What all values of records begin with.
    pub fn values() -> Vec<u8> {
        vec![VALUE]
    }

    /// What all reclaim keys begin with.
    pub fn reclaims() -> Vec<u8> {
        vec![RECLAIM]
    }

    /// What all names of the registry begin with.
    pub fn registry() -> Vec<u8> {
        vec![REGISTRY]
    }

    /// What the families of the registry begin with.
    pub fn registry_families() -> [Vec<u8>; 3] {
        [vec![REGISTRY], vec![REGISTRY_PART], vec![REGISTRY_MARK]]
    }

    /// Whether the bytes are a key that belongs in a snapshot.
    pub fn in_snapshot(bytes: &[u8]) -> bool {
        matches!(bytes.first(), Some(&(HEADER | TOMBSTONE | NAME | VALUE | REGISTRY | REGISTRY_PART | REGISTRY_MARK)))
    }
}

fn registry_name(bytes: &[u8]) -> Option<Vec<u8>> {
    (1..=NAME_BYTES_MAX).contains(&bytes.len()).then(|| bytes.to_vec())
}

impl RecordSet {
    /// What all names of the set begin with.
    pub fn names(&self) -> Vec<u8> {
        self.prefix(NAME)
    }

    /// What all values of the set begin with.
    pub fn values(&self) -> Vec<u8> {
        self.prefix(VALUE)
    }

    fn prefix(&self, family: u8) -> Vec<u8> {
        let mut bytes = KeyBytes::from_slice(&[family]);
        self.encode(&mut bytes);
        bytes.into_vec()
    }

    fn encode(&self, bytes: &mut KeyBytes) {
        bytes.extend_from_slice(&self.actor.0);
        bytes.extend_from_slice(self.incarnation.as_bytes());
        bytes.extend_from_slice(&self.generation.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (set, rest) = bytes.split_at_checked(SET_BYTES)?;
        let (actor, set) = set.split_at_checked(32)?;
        let (incarnation, generation) = set.split_at_checked(16)?;
        let set = Self {
            actor: ActorId(actor.try_into().ok()?),
            incarnation: Uuid::from_bytes(incarnation.try_into().ok()?),
            generation: u32::from_be_bytes(generation.try_into().ok()?),
        };
        Some((set, rest))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sets() -> impl Strategy<Value = RecordSet> {
        (any::<[u8; 32]>(), any::<[u8; 16]>(), any::<u32>()).prop_map(|(actor, incarnation, generation)| RecordSet {
            actor: ActorId(actor),
            incarnation: Uuid::from_bytes(incarnation),
            generation,
        })
    }

    fn round_trips(key: Key) {
        assert_eq!(Key::decode(&key.encode()), Some(key));
    }

    proptest! {
        #[test]
        fn headers_round_trip(actor: [u8; 32]) {
            round_trips(Key::Header(ActorId(actor)));
        }

        #[test]
        fn tombstones_round_trip(actor: [u8; 32]) {
            round_trips(Key::Tombstone(ActorId(actor)));
        }

        #[test]
        fn names_round_trip(set in sets(), record: [u8; 16]) {
            round_trips(Key::Name(set, RecordId(record)));
        }

        #[test]
        fn values_round_trip(set in sets(), record: [u8; 16], chunk: u16) {
            round_trips(Key::Value(set, RecordId(record), chunk));
        }

        #[test]
        fn reclaims_round_trip(set in sets()) {
            round_trips(Key::Reclaim(set));
        }

        #[test]
        fn registry_keys_round_trip(name in prop::collection::vec(any::<u8>(), 1..=NAME_BYTES_MAX), chunk: u16) {
            round_trips(Key::Registry(name.clone()));
            round_trips(Key::RegistryPart(name, chunk));
        }

        #[test]
        fn keys_order_as_their_bytes(a in sets(), b in sets(), record: [u8; 16], chunk: u16) {
            let (a, b) = (Key::Value(a, RecordId(record), chunk), Key::Value(b, RecordId(record), chunk));
            prop_assert_eq!(a.cmp(&b), a.encode().cmp(&b.encode()));
        }

        #[test]
        fn no_bytes_decode_to_a_key_that_encodes_otherwise(bytes in prop::collection::vec(any::<u8>(), 0..90)) {
            if let Some(key) = Key::decode(&bytes) {
                prop_assert_eq!(key.encode().into_vec(), bytes);
            }
        }
    }

    #[test]
    fn the_marks_round_trip() {
        round_trips(Key::Applied);
        round_trips(Key::RegistryMark);
    }

    #[test]
    fn reserved_and_cut_keys_are_refused() {
        let set = RecordSet { actor: ActorId([1; 32]), incarnation: Uuid::nil(), generation: 7 };
        assert_eq!(Key::decode(&[5; 40]), None);
        assert_eq!(Key::decode(&[6; 40]), None);
        assert_eq!(Key::decode(&[]), None);
        assert_eq!(Key::decode(&[REGISTRY]), None);
        assert_eq!(Key::decode(&[REGISTRY; NAME_BYTES_MAX + 2]), None);
        assert_eq!(Key::decode(&[REGISTRY_PART, 0, 1]), None);
        assert_eq!(Key::decode(&[REGISTRY_MARK, 0]), None);
        let whole = Key::Value(set, RecordId([2; 16]), 3).encode();
        for len in 0..whole.len() {
            assert_eq!(Key::decode(&whole[..len]), None, "{len} bytes");
        }
    }
}
