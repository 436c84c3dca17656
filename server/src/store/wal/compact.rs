//! Compaction: when old segments pile up because a few entries live in the oldest, those entries are written once more, so
//! that it can be deleted. Done by the writer, a slice after each group commit, so that nobody waits long for it.
//!
//! An oldest segment that holds more than a quarter of live data is left alone: copying it would not pay. The owner then
//! has to snapshot and purge the groups that [`Wal::pins`](super::Wal::pins) names.

use super::{
    Error, GroupId, WalConfig, WalEntry, group::read_slots, record, segment::Segment, shared::State, track::Slot,
};

/// Most bytes that one slice copies.
const SLICE_BYTES_MAX: u64 = 256 << 10;
/// The most that framing adds to one entry.
const FRAMING_BYTES_MAX: u64 = record::ENTRIES_HEADER + record::ENTRY_HEADER;

/// A group that keeps the oldest segment from being deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The group.
    pub group: GroupId,
    /// Its entries there.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The highest index there: purging up to it frees the segment from this group.
    pub upto: u64,
}

/// Entries of one group that follow each other and stand in the oldest segment.
#[derive(Debug)]
pub struct Run {
    /// The group.
    pub group: GroupId,
    /// Index of the first.
    pub first: u64,
    /// Where they stand.
    pub slots: Vec<Slot>,
}

/// The oldest segment, when more than so many are in use.
fn crowded(state: &State, segments_max: u32) -> Option<u64> {
    let in_use = state.segments.range(..=state.active).count();
    let oldest = *state.segments.first_key_value()?.0;
    (in_use > segments_max as usize && oldest < state.active).then_some(oldest)
}

/// Who keeps the oldest segment, when there are too many and copying will not free it.
pub fn pins(state: &State, config: &WalConfig) -> Vec<Pin> {
    let Some(oldest) = crowded(state, config.pin_segments) else { return Vec::new() };
    if crowded(state, config.compact_segments).is_some() && pays(state, config, oldest) {
        return Vec::new();
    }
    let mut pins = Vec::new();
    for (id, group) in &state.track.groups {
        let mut pin = Pin { group: *id, entries: 0, bytes: 0, upto: 0 };
        for (index, slot) in (group.first..).zip(&group.slots).filter(|(_, slot)| slot.segment == oldest) {
            pin.entries += 1;
            pin.bytes += u64::from(slot.bytes);
            pin.upto = index;
        }
        if pin.entries > 0 {
            pins.push(pin);
        }
    }
    pins
}

/// Whether the live entries of the oldest segment are few enough to be copied, and there is room for them.
fn pays(state: &State, config: &WalConfig, oldest: u64) -> bool {
    let live = state.track.live(oldest);
    let room = state.free(config).saturating_sub(config.reserve_bytes);
    let framing = live.entries * FRAMING_BYTES_MAX;
    let needed = (live.bytes + framing).min(SLICE_BYTES_MAX + config.entry_bytes_max) + config.piece_bytes_max();
    live.entries > 0 && live.bytes <= config.segment_bytes / 4 && room >= needed
}

/// The next slice to copy and the segment it stands in, if copying is due, pays, and there is room for it.
pub fn plan(state: &State, config: &WalConfig) -> Option<(Segment, Vec<Run>)> {
    let oldest = crowded(state, config.compact_segments).filter(|oldest| pays(state, config, *oldest))?;
    let mut runs: Vec<Run> = Vec::new();
    let mut bytes = 0;
    for (id, group) in &state.track.groups {
        for (index, slot) in (group.first..).zip(&group.slots).filter(|(_, slot)| slot.segment == oldest) {
            if bytes >= SLICE_BYTES_MAX {
                break;
            }
            bytes += u64::from(slot.bytes) + FRAMING_BYTES_MAX;
            match runs.last_mut().filter(|run| run.group == *id && run.first + run.slots.len() as u64 == index) {
                Some(run) => run.slots.push(*slot),
                None => runs.push(Run { group: *id, first: index, slots: vec![*slot] }),
            }
        }
    }
    Some((Segment::clone(state.segments.get(&oldest)?), runs))
}

/// Reads a run's entries with their checksums.
pub fn read(segment: &Segment, run: &Run) -> Result<Vec<(WalEntry, u32)>, Error> {
    let mut entries = Vec::with_capacity(run.slots.len());
    let mut first = run.first;
    // A run may stand in several records, with other things between them.
    for part in run.slots.chunk_by(|one, two| one.end() + record::ENTRY_HEADER == u64::from(two.offset)) {
        read_slots(first, part, segment, &mut entries)?;
        first += part.len() as u64;
    }
    Ok(entries.into_iter().zip(run.slots.iter().map(|slot| slot.crc)).collect())
}
