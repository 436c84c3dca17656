//! Bytes of a segment: its header, and the frames behind it. One frame is one group commit.
//!
//! ```text
//! segment   header (512) | frame | frame | ... | zeros
//! frame     header (64) | records ... | zeros up to a multiple of 512
//! ```
//!
//! Every frame starts on a sector of its own, so writing one never touches a sector of another, and is written only after
//! the one before it was synced. The checksum of a frame's header also covers the node and the segment, so a frame copied
//! or left over from anywhere else does not parse. `zero_sectors` is how many sectors of the frame are all zero when
//! it is complete: after a power cut a torn frame has more, a rotten one has not. That tells the two apart.

use uuid::Uuid;

/// A sector: what a disk writes whole or not at all.
pub const SECTOR: u64 = 512;
/// Size of a segment's header.
pub const SEGMENT_HEADER: u64 = SECTOR;
/// Size of a frame's header.
pub const HEADER: usize = 64;
/// Version of the format, in the segment header.
pub const VERSION: u32 = 1;

const SEGMENT_MAGIC: [u8; 8] = *b"LETHEWAL";
const FRAME_MAGIC: [u8; 4] = *b"LFRM";

/// Bytes rounded up to whole sectors.
pub fn padded(bytes: u64) -> u64 {
    bytes.next_multiple_of(SECTOR)
}

/// What stands at the start of a segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Format version.
    pub version: u32,
    /// The node that writes it.
    pub node: Uuid,
    /// Number of the segment, 1 for the first of a log.
    pub segment: u64,
    /// Size of the file.
    pub bytes: u64,
}

impl SegmentHeader {
    /// The header's sector.
    pub fn encode(&self) -> [u8; SEGMENT_HEADER as usize] {
        let mut out = [0; SEGMENT_HEADER as usize];
        out[0..8].copy_from_slice(&SEGMENT_MAGIC);
        out[12..16].copy_from_slice(&self.version.to_le_bytes());
        out[16..32].copy_from_slice(self.node.as_bytes());
        out[32..40].copy_from_slice(&self.segment.to_le_bytes());
        out[40..48].copy_from_slice(&self.bytes.to_le_bytes());
        let crc = crc32fast::hash(&out[12..48]);
        out[8..12].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a header; `None` when these bytes are not one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..48)?;
        if bytes[..8] != SEGMENT_MAGIC || crc32fast::hash(&bytes[12..48]) != u32_at(bytes, 8) {
            return None;
        }
        Some(Self {
            version: u32_at(bytes, 12),
            node: Uuid::from_bytes(bytes[16..32].try_into().ok()?),
            segment: u64_at(bytes, 32),
            bytes: u64_at(bytes, 40),
        })
    }
}

/// What a frame's checksum is bound to besides its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The node.
    pub node: Uuid,
    /// The segment.
    pub segment: u64,
}

impl Place {
    fn crc(&self, header: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(self.node.as_bytes());
        hasher.update(&self.segment.to_le_bytes());
        hasher.update(header);
        hasher.finalize()
    }
}

/// What stands at the start of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Number of the frame over the whole log; the next frame has one more.
    pub batch: u64,
    /// Offset in this segment up to which everything was durable when this frame was written.
    pub synced_upto: u64,
    /// Bytes of the records.
    pub body_bytes: u32,
    /// Checksum of the records.
    pub body_crc: u32,
    /// Sectors of the whole frame that are all zero.
    pub zero_sectors: u32,
    /// This frame is the first of its segment and begins with a checkpoint of every group.
    pub opens_segment: bool,
}

impl Header {
    /// Reads a header; `None` when these bytes are not one of a frame in this place.
    pub fn decode(bytes: &[u8], place: Place) -> Option<Self> {
        let bytes = bytes.get(..HEADER)?;
        if bytes[..4] != FRAME_MAGIC || place.crc(&bytes[8..]) != u32_at(bytes, 4) {
            return None;
        }
        Some(Self {
            batch: u64_at(bytes, 8),
            synced_upto: u64_at(bytes, 24),
            body_bytes: u32_at(bytes, 32),
            body_crc: u32_at(bytes, 36),
            zero_sectors: u32_at(bytes, 40),
            opens_segment: u32_at(bytes, 44) & 1 == 1,
        })
    }

    fn encode(&self, place: Place, out: &mut [u8]) {
        out[..4].copy_from_slice(&FRAME_MAGIC);
        out[8..16].copy_from_slice(&self.batch.to_le_bytes());
        out[16..24].copy_from_slice(&place.segment.to_le_bytes());
        out[24..32].copy_from_slice(&self.synced_upto.to_le_bytes());
        out[32..36].copy_from_slice(&self.body_bytes.to_le_bytes());
        out[36..40].copy_from_slice(&self.body_crc.to_le_bytes());
        out[40..44].copy_from_slice(&self.zero_sectors.to_le_bytes());
        out[44..48].copy_from_slice(&u32::from(self.opens_segment).to_le_bytes());
        let crc = place.crc(&out[8..HEADER]);
        out[4..8].copy_from_slice(&crc.to_le_bytes());
    }

    /// Bytes the frame takes in the segment.
    pub fn extent(&self) -> u64 {
        padded(HEADER as u64 + u64::from(self.body_bytes))
    }
}

/// Completes a frame in place: `buffer` holds `HEADER` unused bytes, then the records.
pub fn seal(buffer: &mut Vec<u8>, place: Place, batch: u64, synced_upto: u64, opens_segment: bool) {
    let body = &buffer[HEADER..];
    let mut header = Header {
        batch,
        synced_upto,
        body_bytes: body.len() as u32,
        body_crc: crc32fast::hash(body),
        zero_sectors: 0,
        opens_segment,
    };
    buffer.resize(header.extent() as usize, 0);
    header.zero_sectors = zero_sectors(&buffer[SECTOR as usize..]);
    header.encode(place, &mut buffer[..HEADER]);
}

/// How many whole sectors of `bytes` hold nothing but zeros.
pub fn zero_sectors(bytes: &[u8]) -> u32 {
    bytes.chunks_exact(SECTOR as usize).filter(|sector| is_zero(sector)).count() as u32
}

/// Whether all bytes are zero.
pub fn is_zero(bytes: &[u8]) -> bool {
    const ZEROS: [u8; SECTOR as usize] = [0; SECTOR as usize];
    bytes.chunks(ZEROS.len()).all(|part| part == &ZEROS[..part.len()])
}

/// What stands at an offset where a frame could begin.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// A complete frame.
    Frame(Header),
    /// Nothing: the first sector is all zero, or there is no room for one.
    End,
    /// A frame of which some sectors never reached the disk.
    Torn,
    /// Neither: something that no power cut leaves behind.
    Rotten(&'static str),
}

/// Looks for a frame at `offset` of a whole segment.
pub fn at(segment: &[u8], offset: u64, place: Place) -> Found {
    let rest = &segment[offset as usize..];
    if rest.len() < SECTOR as usize || is_zero(&rest[..SECTOR as usize]) {
        return Found::End;
    }
    let Some(header) = Header::decode(rest, place) else {
        return Found::Rotten("a sector that should begin with a frame header holds something else");
    };
    let Some(frame) = rest.get(..header.extent() as usize) else {
        return Found::Rotten("a frame reaches over the end of its segment");
    };
    let body = &frame[HEADER..HEADER + header.body_bytes as usize];
    if crc32fast::hash(body) == header.body_crc {
        return Found::Frame(header);
    }
    if zero_sectors(&frame[SECTOR as usize..]) > header.zero_sectors {
        return Found::Torn;
    }
    Found::Rotten("the records of a complete frame do not match their checksum")
}

/// Offset of the first sector at or after `from` that holds the header of a frame of this segment.
pub fn find(segment: &[u8], from: u64, place: Place) -> Option<(u64, Header)> {
    (from..segment.len() as u64)
        .step_by(SECTOR as usize)
        .find_map(|offset| Header::decode(&segment[offset as usize..], place).map(|header| (offset, header)))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
