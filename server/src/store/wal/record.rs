//! What a frame is made of. One enum names every kind of record; kinds that this version does not know are refused.
//!
//! ```text
//! record    kind u8 | 0 u8 | 0 u16 | group u32 | bytes u32 | payload
//! Entries   first index u64 | count u32 | count times (term u64 | bytes u32 | crc u32 | data)
//! ```

use bytes::{Buf, Bytes};

use super::{GroupId, Life, track::Slot};

/// Bytes of a record's header.
pub const HEADER: u64 = 12;
/// Bytes of an `Entries` record before the first entry.
pub const ENTRIES_HEADER: u64 = HEADER + 12;
/// Bytes in front of each entry's data.
pub const ENTRY_HEADER: u64 = 16;
/// The most that framing adds to one entry or one opaque value, in a frame of its own.
pub const OVERHEAD_BYTES_MAX: u64 = super::frame::HEADER as u64 + ENTRIES_HEADER + ENTRY_HEADER + 16;
/// Bytes of a checkpoint without the opaque values.
pub const CHECKPOINT_BYTES: u64 = HEADER + 9 + 3 * 4 + 8 + 25;

const ENTRIES: u8 = 1;
const VOTE: u8 = 2;
const TRUNCATE_AFTER: u8 = 3;
const PURGE: u8 = 4;
const COMMITTED: u8 = 5;
const CHECKPOINT: u8 = 6;
const REWRITTEN: u8 = 7;
const DESTROYED: u8 = 8;
const CREATED: u8 = 9;
const CHECKPOINT_OF_LIFE: u8 = 10;

/// First byte of a checkpointed life.
const LIVES: u8 = 1;
const IS_DESTROYED: u8 = 2;

/// Length that stands for an absent value.
const ABSENT: u32 = u32::MAX;

/// A change of one group, in the order of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Entries behind the last one.
    Entries {
        /// Index of the first.
        first: u64,
        /// Where they stand.
        slots: Vec<Slot>,
    },
    /// Entries that stood in an older segment, once more.
    Rewritten {
        /// Index of the first.
        first: u64,
        /// Where they stand now.
        slots: Vec<Slot>,
    },
    /// A new vote.
    Vote(Bytes),
    /// Entries above the index are gone; `None`: all are.
    TruncateAfter(Option<u64>),
    /// Entries up to the index, inclusive, are gone.
    Purge {
        /// The last index that is gone.
        upto: u64,
        /// Opaque log id.
        log_id: Bytes,
    },
    /// What is known to be committed.
    Committed(Option<Bytes>),
    /// Everything about a group at the start of a segment.
    Checkpoint(Checkpoint),
    /// The group begins, empty, as this incarnation.
    Created(u64),
    /// The group ended with everything in it; no life up to this incarnation comes back.
    Destroyed(u64),
}

/// Everything about a group but its entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Whether it exists.
    pub life: Life,
    /// Last vote.
    pub vote: Option<Bytes>,
    /// Last committed log id.
    pub committed: Option<Bytes>,
    /// Last purge.
    pub purged: Option<(u64, Bytes)>,
    /// First index, last index and last term of the entries, if there are any.
    pub live: Option<(u64, u64, u64)>,
}

/// Appends the header of a record whose payload has a known size.
fn header(out: &mut Vec<u8>, kind: u8, group: GroupId, bytes: u64) {
    out.extend_from_slice(&[kind, 0, 0, 0]);
    out.extend_from_slice(&group.0.to_le_bytes());
    out.extend_from_slice(&(bytes as u32).to_le_bytes());
}

/// Appends a record to a frame. `Entries` and `Rewritten` are written with [`entries`] instead.
pub fn encode(out: &mut Vec<u8>, group: GroupId, record: &Record) {
    let start = out.len();
    header(out, 0, group, 0);
    let kind = match record {
        Record::Entries { .. } | Record::Rewritten { .. } => unreachable!("entries are written with their data"),
        Record::Vote(vote) => {
            out.extend_from_slice(vote);
            VOTE
        }
        Record::TruncateAfter(index) => {
            out.push(u8::from(index.is_some()));
            out.extend_from_slice(&index.unwrap_or(0).to_le_bytes());
            TRUNCATE_AFTER
        }
        Record::Purge { upto, log_id } => {
            out.extend_from_slice(&upto.to_le_bytes());
            out.extend_from_slice(log_id);
            PURGE
        }
        Record::Committed(log_id) => {
            optional(out, log_id.as_ref());
            COMMITTED
        }
        Record::Checkpoint(checkpoint) => {
            let kind = encode_life(out, checkpoint.life);
            checkpoint.encode(out);
            kind
        }
        Record::Created(incarnation) => {
            out.extend_from_slice(&incarnation.to_le_bytes());
            CREATED
        }
        Record::Destroyed(incarnation) => {
            out.extend_from_slice(&incarnation.to_le_bytes());
            DESTROYED
        }
    };
    out[start] = kind;
    let bytes = (out.len() - start) as u64 - HEADER;
    out[start + 8..start + 12].copy_from_slice(&(bytes as u32).to_le_bytes());
}

/// One entry as it is written.
pub struct EntryRef<'a> {
    /// Its term.
    pub term: u64,
    /// Checksum of its data.
    pub crc: u32,
    /// Its data.
    pub data: &'a [u8],
}

/// Bytes an `Entries` record of these entries takes.
pub fn entries_bytes(data_bytes: impl Iterator<Item = u64>) -> u64 {
    ENTRIES_HEADER + data_bytes.map(|bytes| ENTRY_HEADER + bytes).sum::<u64>()
}

/// Appends an `Entries` (or `Rewritten`) record to a frame that will stand at `frame_offset` of `segment`, and says where
/// each entry's data will be.
pub fn entries<'a>(
    out: &mut Vec<u8>,
    group: GroupId,
    first: u64,
    rewritten: bool,
    list: impl ExactSizeIterator<Item = EntryRef<'a>> + Clone,
    (segment, frame_offset): (u64, u64),
) -> Vec<Slot> {
    let kind = if rewritten { REWRITTEN } else { ENTRIES };
    header(out, kind, group, entries_bytes(list.clone().map(|entry| entry.data.len() as u64)) - HEADER);
    out.extend_from_slice(&first.to_le_bytes());
    out.extend_from_slice(&(list.len() as u32).to_le_bytes());
    list.map(|entry| {
        out.extend_from_slice(&entry.term.to_le_bytes());
        out.extend_from_slice(&(entry.data.len() as u32).to_le_bytes());
        out.extend_from_slice(&entry.crc.to_le_bytes());
        let offset = (frame_offset + out.len() as u64) as u32;
        out.extend_from_slice(entry.data);
        Slot { term: entry.term, segment, offset, bytes: entry.data.len() as u32, crc: entry.crc }
    })
    .collect()
}

/// Appends what a checkpoint begins with, and says of which kind it is. Groups that were never created have the kind that
/// had no life yet.
fn encode_life(out: &mut Vec<u8>, life: Life) -> u8 {
    let (tag, incarnation) = match life {
        Life::Implied => return CHECKPOINT,
        Life::Lives(incarnation) => (LIVES, incarnation),
        Life::Destroyed(incarnation) => (IS_DESTROYED, incarnation),
    };
    out.push(tag);
    out.extend_from_slice(&incarnation.to_le_bytes());
    CHECKPOINT_OF_LIFE
}

fn take_life(from: &mut Bytes) -> Option<Life> {
    match (from.try_get_u8().ok()?, from.try_get_u64_le().ok()?) {
        (LIVES, incarnation) => Some(Life::Lives(incarnation)),
        (IS_DESTROYED, incarnation) => Some(Life::Destroyed(incarnation)),
        _ => None,
    }
}

impl Checkpoint {
    fn encode(&self, out: &mut Vec<u8>) {
        optional(out, self.vote.as_ref());
        optional(out, self.committed.as_ref());
        optional(out, self.purged.as_ref().map(|(_, log_id)| log_id));
        out.extend_from_slice(&self.purged.as_ref().map_or(0, |(upto, _)| *upto).to_le_bytes());
        out.push(u8::from(self.live.is_some()));
        let (first, last, term) = self.live.unwrap_or_default();
        for value in [first, last, term] {
            out.extend_from_slice(&value.to_le_bytes());
        }
    }

    fn decode(from: &mut Bytes, life: Life) -> Option<Self> {
        let vote = take_optional(from)?;
        let committed = take_optional(from)?;
        let purged_id = take_optional(from)?;
        let upto = from.try_get_u64_le().ok()?;
        let has_live = from.try_get_u8().ok()? == 1;
        let live = (from.try_get_u64_le().ok()?, from.try_get_u64_le().ok()?, from.try_get_u64_le().ok()?);
        let purged = purged_id.map(|log_id| (upto, log_id));
        Some(Self { life, vote, committed, purged, live: has_live.then_some(live) })
    }
}

fn optional(out: &mut Vec<u8>, value: Option<&Bytes>) {
    match value {
        None => out.extend_from_slice(&ABSENT.to_le_bytes()),
        Some(value) => {
            out.extend_from_slice(&(value.len() as u32).to_le_bytes());
            out.extend_from_slice(value);
        }
    }
}

fn take_optional(from: &mut Bytes) -> Option<Option<Bytes>> {
    match from.try_get_u32_le().ok()? {
        ABSENT => Some(None),
        bytes => take(from, bytes as usize).map(Some),
    }
}

fn take(from: &mut Bytes, bytes: usize) -> Option<Bytes> {
    (from.len() >= bytes).then(|| from.split_to(bytes))
}

/// Reads the records of a frame's body that stands at `body_offset` of `segment`. The error says what is wrong.
pub fn decode(mut body: Bytes, segment: u64, body_offset: u64) -> Result<Vec<(GroupId, Record)>, String> {
    let whole = body.len() as u64;
    let mut records = Vec::new();
    while !body.is_empty() {
        let at = body_offset + whole - body.len() as u64;
        let (kind, group, payload) = split(&mut body).ok_or_else(|| format!("the record at {at} is cut off"))?;
        let payload_offset = at + HEADER;
        let record = match kind {
            ENTRIES => {
                decode_entries(payload, segment, payload_offset).map(|(first, slots)| Record::Entries { first, slots })
            }
            REWRITTEN => decode_entries(payload, segment, payload_offset)
                .map(|(first, slots)| Record::Rewritten { first, slots }),
            VOTE => Some(Record::Vote(payload)),
            TRUNCATE_AFTER => decode_truncate(payload),
            PURGE => decode_purge(payload),
            COMMITTED => take_optional(&mut { payload }).map(Record::Committed),
            CHECKPOINT => Checkpoint::decode(&mut { payload }, Life::Implied).map(Record::Checkpoint),
            CHECKPOINT_OF_LIFE => decode_living(payload),
            CREATED => decode_u64(payload).map(Record::Created),
            DESTROYED => decode_u64(payload).map(Record::Destroyed),
            unknown => return Err(format!("the record at {at} is of kind {unknown}, written by a newer version")),
        };
        records.push((group, record.ok_or_else(|| format!("the record of kind {kind} at {at} does not parse"))?));
    }
    Ok(records)
}

fn split(body: &mut Bytes) -> Option<(u8, GroupId, Bytes)> {
    let kind = body.try_get_u32_le().ok()?;
    let group = GroupId(body.try_get_u32_le().ok()?);
    let bytes = body.try_get_u32_le().ok()? as usize;
    Some((u8::try_from(kind).ok()?, group, take(body, bytes)?))
}

fn decode_living(mut payload: Bytes) -> Option<Record> {
    let life = take_life(&mut payload)?;
    Checkpoint::decode(&mut payload, life).map(Record::Checkpoint)
}

fn decode_u64(mut payload: Bytes) -> Option<u64> {
    let value = payload.try_get_u64_le().ok()?;
    payload.is_empty().then_some(value)
}

fn decode_truncate(mut payload: Bytes) -> Option<Record> {
    let some = payload.try_get_u8().ok()? == 1;
    let index = payload.try_get_u64_le().ok()?;
    Some(Record::TruncateAfter(some.then_some(index)))
}

fn decode_purge(mut payload: Bytes) -> Option<Record> {
    let upto = payload.try_get_u64_le().ok()?;
    Some(Record::Purge { upto, log_id: payload })
}

fn decode_entries(mut payload: Bytes, segment: u64, offset: u64) -> Option<(u64, Vec<Slot>)> {
    let whole = payload.len() as u64;
    let first = payload.try_get_u64_le().ok()?;
    let count = payload.try_get_u32_le().ok()?;
    let mut slots = Vec::new();
    for _ in 0..count {
        let term = payload.try_get_u64_le().ok()?;
        let bytes = payload.try_get_u32_le().ok()?;
        let crc = payload.try_get_u32_le().ok()?;
        let at = offset + whole - payload.len() as u64;
        take(&mut payload, bytes as usize)?;
        slots.push(Slot { term, segment, offset: at as u32, bytes, crc });
    }
    payload.is_empty().then_some((first, slots))
}

/// Bytes a record other than entries takes in a frame, rounded up a little.
pub fn control_bytes(record: &Record) -> u64 {
    let payload = match record {
        Record::Entries { .. } | Record::Rewritten { .. } => unreachable!("entries are measured with their data"),
        Record::Vote(vote) => vote.len() as u64,
        Record::TruncateAfter(_) => 9,
        Record::Created(_) | Record::Destroyed(_) => 8,
        Record::Purge { log_id, .. } => 8 + log_id.len() as u64,
        Record::Committed(log_id) => 4 + log_id.as_ref().map_or(0, |log_id| log_id.len() as u64),
        Record::Checkpoint(_) => unreachable!("checkpoints are bounded by the configuration"),
    };
    HEADER + payload
}
