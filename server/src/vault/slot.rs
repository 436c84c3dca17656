//! Bytes of the key table: its header and its slots.

use lethe_proto::ActorId;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{DataKey, key::KEY_BYTES};

/// A slot is a sector, so that no write touches two of them.
pub const SLOT_BYTES: usize = 512;
/// Version of the format.
pub const VERSION: u32 = 1;

const TABLE_MAGIC: [u8; 8] = *b"LETHEKEY";
const SLOT_MAGIC: [u8; 4] = *b"LKEY";
const STATE_PLAIN: u8 = 1;
// State 2 is kept for keys wrapped by an epoch key; up to 256 bytes of a slot are theirs.
const IDENTITY_BYTES: usize = 64;
const KEY_OFFSET: usize = IDENTITY_BYTES + 8;

/// Header of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableHeader {
    /// Version of the format.
    pub version: u32,
    /// The node it belongs to.
    pub node: Uuid,
    /// How many slots follow.
    pub slots: u32,
}

impl TableHeader {
    /// The header's sector.
    pub fn encode(&self) -> [u8; SLOT_BYTES] {
        let mut out = [0; SLOT_BYTES];
        out[..8].copy_from_slice(&TABLE_MAGIC);
        out[12..16].copy_from_slice(&self.version.to_le_bytes());
        out[16..32].copy_from_slice(self.node.as_bytes());
        out[32..36].copy_from_slice(&self.slots.to_le_bytes());
        out[36..40].copy_from_slice(&(SLOT_BYTES as u32).to_le_bytes());
        let crc = crc32fast::hash(&out[12..40]);
        out[8..12].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a header; `None` when these bytes are not one.
    pub fn decode(bytes: &[u8; SLOT_BYTES]) -> Option<Self> {
        if bytes[..8] != TABLE_MAGIC || crc32fast::hash(&bytes[12..40]) != u32_at(bytes, 8) {
            return None;
        }
        let slot_bytes = u32_at(bytes, 36);
        let header =
            Self { version: u32_at(bytes, 12), node: Uuid::from_slice(&bytes[16..32]).ok()?, slots: u32_at(bytes, 32) };
        (slot_bytes as usize == SLOT_BYTES).then_some(header)
    }
}

/// Whose key a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// The actor.
    pub actor: ActorId,
    /// Its incarnation.
    pub incarnation: Uuid,
}

/// What a slot holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Slot {
    /// Nothing.
    Free,
    /// A key.
    Key(Owner, DataKey),
    /// A key of a known owner, whose bytes are damaged or of a form that this version does not know.
    Damaged(Owner),
    /// Bytes that do not even tell whose key it was.
    Garbage,
}

/// The sector of a plain key. `epoch` 0 means that no epoch key wraps it.
pub fn encode(owner: Owner, key: &DataKey) -> Zeroizing<[u8; SLOT_BYTES]> {
    let mut out = Zeroizing::new([0; SLOT_BYTES]);
    let epoch: u32 = 0;
    out[..4].copy_from_slice(&SLOT_MAGIC);
    out[4] = STATE_PLAIN;
    out[8..12].copy_from_slice(&epoch.to_le_bytes());
    out[12..16].copy_from_slice(&(KEY_BYTES as u32).to_le_bytes());
    out[16..48].copy_from_slice(&owner.actor.0);
    out[48..64].copy_from_slice(owner.incarnation.as_bytes());
    out[KEY_OFFSET..KEY_OFFSET + KEY_BYTES].copy_from_slice(key.bytes());
    let identity_crc = crc32fast::hash(&out[..IDENTITY_BYTES]);
    let key_crc = crc32fast::hash(key.bytes());
    out[64..68].copy_from_slice(&identity_crc.to_le_bytes());
    out[68..72].copy_from_slice(&key_crc.to_le_bytes());
    out
}

/// Reads a slot.
pub fn decode(bytes: &[u8; SLOT_BYTES]) -> Slot {
    if bytes.iter().all(|byte| *byte == 0) {
        return Slot::Free;
    }
    if bytes[..4] != SLOT_MAGIC || crc32fast::hash(&bytes[..IDENTITY_BYTES]) != u32_at(bytes, 64) {
        return Slot::Garbage;
    }
    let (mut actor, mut incarnation) = ([0; 32], [0; 16]);
    actor.copy_from_slice(&bytes[16..48]);
    incarnation.copy_from_slice(&bytes[48..64]);
    let owner = Owner { actor: ActorId(actor), incarnation: Uuid::from_bytes(incarnation) };
    let key_bytes = u32_at(bytes, 12) as usize;
    let is_plain = bytes[4] == STATE_PLAIN && key_bytes == KEY_BYTES;
    let key = bytes[KEY_OFFSET..].first_chunk::<KEY_BYTES>();
    match key {
        Some(key) if is_plain && crc32fast::hash(key) == u32_at(bytes, 68) => {
            Slot::Key(owner, DataKey::from_bytes(key))
        }
        _ => Slot::Damaged(owner),
    }
}

fn u32_at(bytes: &[u8; SLOT_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
