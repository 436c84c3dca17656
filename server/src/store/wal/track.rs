//! The log as it stands on disk: for each group its vote, marks and the place of every live entry.
//!
//! Changes are applied strictly in the order of the log, by recovery while it reads and by the writer after each sync, so
//! both build the same thing. A segment may be deleted when no live entry is in it, because every segment begins with a
//! checkpoint of everything else.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::{
    GroupId, Life,
    record::{Checkpoint, Record},
};

/// Most live entries of one group that a checkpoint may claim.
const LIVE_MAX: usize = 1 << 28;

/// Where an entry's data stands. Segment 0 means: not seen yet (only while recovering).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Term of the entry.
    pub term: u64,
    /// Segment that holds it.
    pub segment: u64,
    /// Offset of the data in the segment.
    pub offset: u32,
    /// Length of the data.
    pub bytes: u32,
    /// Checksum of the data.
    pub crc: u32,
}

impl Slot {
    const UNSEEN: Self = Self { term: 0, segment: 0, offset: 0, bytes: 0, crc: 0 };

    /// Offset behind the data.
    pub fn end(&self) -> u64 {
        u64::from(self.offset) + u64::from(self.bytes)
    }
}

/// Live entries in one segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// How many.
    pub entries: u64,
    /// Their data.
    pub bytes: u64,
}

/// One group on disk.
#[derive(Debug, Default)]
pub struct Group {
    /// Whether it exists.
    pub life: Life,
    /// Last vote.
    pub vote: Option<Bytes>,
    /// Last committed log id.
    pub committed: Option<Bytes>,
    /// Last purge.
    pub purged: Option<(u64, Bytes)>,
    /// Index of the first slot; without slots it says nothing.
    pub first: u64,
    /// The live entries, without a hole.
    pub slots: VecDeque<Slot>,
}

impl Group {
    /// Index and term of the last entry.
    pub fn last(&self) -> Option<(u64, u64)> {
        self.slots.back().map(|slot| (self.first + self.slots.len() as u64 - 1, slot.term))
    }

    /// The place of an entry.
    pub fn slot(&self, index: u64) -> Option<&Slot> {
        self.slots.get(usize::try_from(index.checked_sub(self.first)?).ok()?)
    }

    /// Everything but the entries.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            life: self.life,
            vote: self.vote.clone(),
            committed: self.committed.clone(),
            purged: self.purged.clone(),
            live: self.last().map(|(last, term)| (self.first, last, term)),
        }
    }

    /// Index the next entry must have, if only one fits.
    pub fn expected(&self) -> Option<u64> {
        match self.last() {
            Some((last, _)) => last.checked_add(1),
            None => self.purged.as_ref().and_then(|(upto, _)| upto.checked_add(1)),
        }
    }
}

/// All groups on disk, and what lives in which segment.
#[derive(Debug, Default)]
pub struct Track {
    /// The groups.
    pub groups: BTreeMap<GroupId, Group>,
    live: BTreeMap<u64, Live>,
}

impl Track {
    /// What lives in a segment.
    pub fn live(&self, segment: u64) -> Live {
        self.live.get(&segment).copied().unwrap_or_default()
    }

    /// Applies the next change of the log. The error says why it cannot follow what came before.
    pub fn apply(&mut self, id: GroupId, record: Record) -> Result<(), String> {
        let group = self.groups.entry(id).or_default();
        if let Life::Destroyed(_) = group.life
            && !matches!(record, Record::Created(_) | Record::Destroyed(_))
        {
            return Err(format!("group {id} is changed, but it {}", group.life));
        }
        match record {
            Record::Created(incarnation) => begin(group, id, incarnation)?,
            Record::Destroyed(incarnation) => end(group, &mut self.live, id, incarnation)?,
            Record::Vote(vote) => group.vote = Some(vote),
            Record::Committed(log_id) => group.committed = log_id,
            Record::Entries { first, slots } => append(group, &mut self.live, first, slots)?,
            Record::Rewritten { first, slots } => rewrite(group, &mut self.live, first, slots)?,
            Record::TruncateAfter(index) => {
                while group.last().is_some_and(|(last, _)| index.is_none_or(|index| last > index)) {
                    drop_slot(&mut self.live, group.slots.pop_back());
                }
            }
            Record::Purge { upto, log_id } => {
                if group.purged.as_ref().is_some_and(|(purged, _)| *purged >= upto) {
                    return Err(format!("group {id} is purged up to {upto} after it was purged further"));
                }
                while !group.slots.is_empty() && group.first <= upto {
                    drop_slot(&mut self.live, group.slots.pop_front());
                    group.first += 1;
                }
                group.purged = Some((upto, log_id));
            }
            Record::Checkpoint(_) => return Err("a checkpoint stands behind other records".into()),
        }
        Ok(())
    }

    /// Starts from the checkpoint of the oldest segment: its entries are known to exist and not seen yet.
    pub fn start(&mut self, id: GroupId, checkpoint: Checkpoint) -> Result<(), String> {
        let Checkpoint { life, vote, committed, purged, live } = checkpoint;
        let mut group = Group { life, vote, committed, purged, ..Group::default() };
        if let Some((first, last, term)) = live {
            let count =
                last.checked_sub(first).filter(|_| last < u64::MAX).and_then(|count| usize::try_from(count).ok());
            let count =
                count.filter(|count| *count < LIVE_MAX).ok_or("a checkpoint has an impossible range of entries")?;
            group.first = first;
            group.slots = vec![Slot::UNSEEN; count + 1].into();
            if let Some(slot) = group.slots.back_mut() {
                slot.term = term;
            }
        }
        match self.groups.insert(id, group) {
            None => Ok(()),
            Some(_) => Err(format!("group {id} has two checkpoints in one segment")),
        }
    }

    /// Checks that every live entry was seen, and that terms never fall. The error names the group.
    pub fn check_complete(&self) -> Result<(), String> {
        for (id, group) in &self.groups {
            let mut term = 0;
            for (index, slot) in (group.first..).zip(&group.slots) {
                if slot.segment == 0 {
                    return Err(format!("entry {index} of group {id} is missing: there is a hole in the log"));
                }
                if slot.term < term {
                    return Err(format!(
                        "entry {index} of group {id} has term {}, the one before has {term}",
                        slot.term
                    ));
                }
                term = slot.term;
            }
        }
        Ok(())
    }
}

fn begin(group: &mut Group, id: GroupId, incarnation: u64) -> Result<(), String> {
    let is_blank = group.checkpoint() == Checkpoint::default();
    if group.life.create(incarnation, is_blank) != Some(true) {
        return Err(format!("group {id} is created as incarnation {incarnation}, but it {}", group.life));
    }
    *group = Group { life: Life::Lives(incarnation), ..Group::default() };
    Ok(())
}

fn end(group: &mut Group, live: &mut BTreeMap<u64, Live>, id: GroupId, incarnation: u64) -> Result<(), String> {
    if group.life.destroy(incarnation) != Some(true) {
        return Err(format!("group {id} is destroyed up to incarnation {incarnation}, but it {}", group.life));
    }
    for slot in group.slots.drain(..) {
        drop_slot(live, Some(slot));
    }
    *group = Group { life: Life::Destroyed(incarnation), ..Group::default() };
    Ok(())
}

/// Refuses entries whose last index would not be a number.
fn check_range(first: u64, slots: &[Slot]) -> Result<(), String> {
    match first.checked_add(slots.len() as u64) {
        Some(_) => Ok(()),
        None => Err(format!("{} entries cannot begin at {first}", slots.len())),
    }
}

fn append(group: &mut Group, live: &mut BTreeMap<u64, Live>, first: u64, slots: Vec<Slot>) -> Result<(), String> {
    check_range(first, &slots)?;
    match group.expected() {
        Some(expected) if expected != first => {
            return Err(format!("entries begin at {first} where {expected} must follow: there is a hole in the log"));
        }
        _ if group.slots.is_empty() => group.first = first,
        _ => {}
    }
    for slot in slots {
        if let Some((last, term)) = group.last().filter(|(_, term)| *term > slot.term) {
            return Err(format!("entry {} has term {}, the one before has {term}", last + 1, slot.term));
        }
        add_slot(live, &slot);
        group.slots.push_back(slot);
    }
    Ok(())
}

fn rewrite(group: &mut Group, live: &mut BTreeMap<u64, Live>, first: u64, slots: Vec<Slot>) -> Result<(), String> {
    check_range(first, &slots)?;
    for (index, slot) in (first..).zip(slots) {
        let at = index.checked_sub(group.first).and_then(|at| usize::try_from(at).ok());
        let Some(old) = at.and_then(|at| group.slots.get_mut(at)) else {
            return Err(format!("entry {index} was rewritten but is not live"));
        };
        if old.segment != 0 && (old.term, old.bytes, old.crc) != (slot.term, slot.bytes, slot.crc) {
            return Err(format!("entry {index} was rewritten with other contents"));
        }
        drop_slot(live, Some(*old));
        add_slot(live, &slot);
        *old = slot;
    }
    Ok(())
}

fn add_slot(live: &mut BTreeMap<u64, Live>, slot: &Slot) {
    let live = live.entry(slot.segment).or_default();
    live.entries += 1;
    live.bytes += u64::from(slot.bytes);
}

fn drop_slot(live: &mut BTreeMap<u64, Live>, slot: Option<Slot>) {
    let Some(slot) = slot else { return };
    if let Some(in_segment) = live.get_mut(&slot.segment) {
        in_segment.entries -= 1;
        in_segment.bytes -= u64::from(slot.bytes);
        if in_segment.entries == 0 {
            live.remove(&slot.segment);
        }
    }
}
