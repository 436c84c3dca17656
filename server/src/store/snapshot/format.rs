//! The parts of a snapshot file, to and from bytes.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::store::state::{Digest, Mark, Slice};

pub(super) const MAGIC: [u8; 8] = *b"LetheSnp";
pub(super) const FOOT_MAGIC: [u8; 8] = *b"LetheEnd";
pub(super) const VERSION: u32 = 1;
/// Bytes of the head before its postcard part.
pub(super) const HEAD_FIXED: usize = 8 + 4 + 4;
/// Largest postcard part of a head.
pub(super) const HEAD_BYTES_MAX: usize = 1 << 20;
/// Bytes of a block before its entries.
pub(super) const BLOCK_FIXED: usize = 4 + 4 + 4;
/// A block is closed when it has this many bytes.
pub(super) const BLOCK_BYTES: usize = 256 << 10;
/// Largest block a reader takes: one full one and one value of any allowed size.
pub(super) const BLOCK_BYTES_MAX: usize = 8 << 20;
/// Bytes of the foot.
pub(super) const FOOT_BYTES: usize = 4 + 8 + 8 + 8 + 8 + 16 + 4;

/// What a snapshot is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The node that wrote the file.
    pub node: Uuid,
    /// The group.
    pub group: u32,
    /// The applied position, the membership, and the digest of the group's state.
    pub mark: Mark,
}

/// What a whole file must add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub blocks: u64,
    pub entries: u64,
    pub bytes: u64,
    pub digest: Digest,
}

pub(super) fn encode_head(head: &Head) -> Vec<u8> {
    let body = postcard::to_extend(head, Vec::new()).expect("writing to memory does not fail");
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((body.len() as u32).to_le_bytes());
    bytes.extend(body);
    with_crc(bytes)
}

/// Reads the fixed part: how long the rest of the head is, crc included.
pub(super) fn head_rest(fixed: &[u8; HEAD_FIXED]) -> Result<usize, String> {
    if fixed[..8] != MAGIC {
        return Err("it is not a snapshot".to_owned());
    }
    match u32_at(fixed, 8) {
        VERSION => {}
        other => return Err(format!("its format is {other}, this version reads {VERSION}")),
    }
    match u32_at(fixed, 12) as usize {
        len if len <= HEAD_BYTES_MAX => Ok(len + 4),
        len => Err(format!("its head claims {len} bytes")),
    }
}

pub(super) fn decode_head(whole: &[u8]) -> Result<Head, String> {
    let body = without_crc(whole).ok_or("its head does not fit its checksum")?;
    match postcard::take_from_bytes(&body[HEAD_FIXED..]) {
        Ok((head, [])) => Ok(head),
        _ => Err("its head cannot be read".to_owned()),
    }
}

pub(super) fn encode_block(entries: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut body = Vec::with_capacity(BLOCK_BYTES + BLOCK_FIXED);
    for (key, value) in entries {
        body.extend((key.len() as u16).to_le_bytes());
        body.extend((value.len() as u32).to_le_bytes());
        body.extend(key);
        body.extend(value);
    }
    let mut block = Vec::with_capacity(BLOCK_FIXED + body.len());
    block.extend((body.len() as u32).to_le_bytes());
    block.extend((entries.len() as u32).to_le_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(&block);
    crc.update(&body);
    block.extend(crc.finalize().to_le_bytes());
    block.extend(body);
    block
}

/// The entries of a block, from its fixed part and its body.
pub(super) fn decode_block(fixed: &[u8; BLOCK_FIXED], body: &[u8]) -> Result<Slice, String> {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&fixed[..8]);
    crc.update(body);
    if crc.finalize() != u32_at(fixed, 8) {
        return Err("a block does not fit its checksum".to_owned());
    }
    let mut entries = Slice::new();
    let mut rest = body;
    while !rest.is_empty() {
        entries.push(take_entry(&mut rest).ok_or("a block's entries do not fit its length")?);
    }
    match entries.len() == u32_at(fixed, 4) as usize {
        true => Ok(entries),
        false => Err("a block has another number of entries".to_owned()),
    }
}

fn take_entry(rest: &mut &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (key_len, after) = rest.split_first_chunk::<2>()?;
    let (value_len, after) = after.split_first_chunk::<4>()?;
    let (key, after) = after.split_at_checked(u16::from_le_bytes(*key_len).into())?;
    let (value, after) = after.split_at_checked(u32::from_le_bytes(*value_len) as usize)?;
    *rest = after;
    Some((key.to_vec(), value.to_vec()))
}

pub(super) fn encode_foot(totals: &Totals) -> Vec<u8> {
    let mut foot = vec![0; 4];
    foot.extend(FOOT_MAGIC);
    foot.extend(totals.blocks.to_le_bytes());
    foot.extend(totals.entries.to_le_bytes());
    foot.extend(totals.bytes.to_le_bytes());
    foot.extend(totals.digest.to_bytes());
    with_crc(foot)
}

pub(super) fn decode_foot(foot: &[u8; FOOT_BYTES]) -> Result<Totals, String> {
    let body = without_crc(foot).ok_or("its foot does not fit its checksum")?;
    if body[..4] != [0; 4] || body[4..12] != FOOT_MAGIC {
        return Err("it has no foot".to_owned());
    }
    let digest = Digest::from_bytes(std::array::from_fn(|i| body[36 + i]));
    Ok(Totals { blocks: u64_at(body, 12), entries: u64_at(body, 20), bytes: u64_at(body, 28), digest })
}

impl Totals {
    pub fn add(&mut self, entries: &[(Vec<u8>, Vec<u8>)], bytes: usize) {
        self.blocks += 1;
        self.entries += entries.len() as u64;
        self.bytes += bytes as u64;
        for (_, framed) in entries {
            self.digest.add(framed);
        }
    }
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn with_crc(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = crc32fast::hash(&bytes);
    bytes.extend(crc.to_le_bytes());
    bytes
}

fn without_crc(bytes: &[u8]) -> Option<&[u8]> {
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    (crc32fast::hash(body) == u32::from_le_bytes(*crc)).then_some(body)
}
