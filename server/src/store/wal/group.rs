//! `GroupLog`: what a Raft group does with the log.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;

use super::{
    Done, Error, GroupId, GroupState, Handle, WalEntry,
    front::Front,
    record::{self, Record},
    segment::Segment,
    shared::{Op, Shared, State},
    track::Slot,
};

/// A handle of one incarnation of a group. Clones are handles of the same one; when it is destroyed, they read nothing and
/// change nothing, whatever comes after it.
///
/// Changes of one group must not be made from two threads at once; the log would take them in either order.
#[derive(Clone)]
pub struct GroupLog {
    id: GroupId,
    incarnation: u64,
    handle: Arc<Handle>,
}

/// Where an entry is to be read from.
enum Source {
    Memory(WalEntry),
    Disk { index: u64, slot: Slot, segment: Arc<Segment> },
}

impl GroupLog {
    pub(super) fn of(id: GroupId, incarnation: u64, handle: Arc<Handle>) -> Self {
        Self { id, incarnation, handle }
    }

    /// The group.
    pub fn id(&self) -> GroupId {
        self.id
    }

    /// The incarnation; 0 if the group was never created.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Adds entries behind the last one. They are readable when this returns, durable when `done` is called with `Ok`.
    ///
    /// `done` gets `Full`, `Hole`, `Term` or `TooLarge` at once when nothing was taken. Waits while the disk is behind by
    /// more than `queue_bytes_max`, or while the next segment is being made.
    pub fn append(&self, entries: Vec<WalEntry>, done: Done) {
        let shared = self.shared();
        let limit = shared.config.entry_bytes_max;
        if let Some(entry) = entries.iter().find(|entry| entry.bytes.len() as u64 > limit) {
            return done(Err(Error::TooLarge { what: "an entry", bytes: entry.bytes.len() as u64, max: limit }));
        }
        let bytes = record::entries_bytes(entries.iter().map(|entry| entry.bytes.len() as u64));
        let checked = entries.into_iter().map(|entry| {
            let crc = crc32fast::hash(&entry.bytes);
            (entry, crc)
        });
        let checked: Vec<_> = checked.collect();
        self.change(bytes, shared.config.reserve_bytes, done, |front, _, ticket| {
            front.check_append(self.id, checked.iter().map(|(entry, _)| entry))?;
            front.append(checked.iter().map(|(entry, _)| entry), ticket);
            Ok(match checked.first() {
                Some((entry, _)) => Op::Append { first: entry.index, entries: checked.into() },
                None => Op::Nothing,
            })
        });
    }

    /// Saves a vote; `done` is called when it is durable.
    pub fn save_vote(&self, vote: Bytes, done: Done) {
        let order = self.shared().config.vote_order;
        if let Err(error) = self.check_meta("a vote", &vote) {
            return done(Err(error));
        }
        self.change(record::HEADER + vote.len() as u64, self.purge_reserve(), done, |front, _, _| {
            if let (Some(order), Some(old)) = (order, front.vote())
                && order(&vote, old).is_lt()
            {
                return Err(Error::Vote { group: self.id });
            }
            front.save_vote(vote.clone());
            Ok(Op::Record(Record::Vote(vote)))
        });
    }

    /// Drops the entries above `index`; `None`: all of them.
    pub fn truncate_after(&self, index: Option<u64>, done: Done) {
        self.change(record::HEADER + 9, self.purge_reserve(), done, |front, state, _| {
            let dropped = front.truncate_after(self.id, index, state.track.groups.get(&self.id))?;
            Ok(if dropped { Op::Record(Record::TruncateAfter(index)) } else { Op::Nothing })
        });
    }

    /// Drops the entries up to `upto`, inclusive, and remembers `log_id` with it. `upto` may lie behind the last entry: the
    /// log is empty then and goes on behind it. Segments in which nothing lives any more are deleted afterwards.
    pub fn purge(&self, upto: u64, log_id: Bytes, done: Done) {
        if let Err(error) = self.check_meta("a log id", &log_id) {
            return done(Err(error));
        }
        self.change(record::HEADER + 8 + log_id.len() as u64, 0, done, |front, _, _| {
            let purged = front.purge(upto, log_id.clone());
            Ok(if purged { Op::Record(Record::Purge { upto, log_id }) } else { Op::Nothing })
        });
    }

    /// Remembers what is committed. It becomes durable with the next change of any group or when the log is closed; one
    /// over the size limit is not remembered.
    pub fn save_committed(&self, log_id: Option<Bytes>) {
        if log_id.as_ref().is_some_and(|log_id| self.check_meta("a log id", log_id).is_err()) {
            tracing::error!(group = %self.id, "a committed log id is over the size limit and was not saved");
            return;
        }
        let mut state = self.shared().state.lock();
        if let Some(front) = state.fronts.get_mut(&self.id)
            && front.life().incarnation() == Some(self.incarnation)
            && front.committed() != log_id.as_ref()
        {
            front.save_committed(log_id);
            state.dirty.insert(self.id);
        }
    }

    /// The entries of the range that exist, in order.
    pub fn read(&self, range: Range<u64>) -> Result<Vec<WalEntry>, Error> {
        self.read_up_to(range, u64::MAX)
    }

    /// The first entries of the range that exist, at least one if there is one, at most about `bytes_max` bytes.
    pub fn read_up_to(&self, range: Range<u64>, bytes_max: u64) -> Result<Vec<WalEntry>, Error> {
        let sources = self.locate(range, bytes_max)?;
        let mut entries = Vec::with_capacity(sources.len());
        for part in sources.chunk_by(Source::is_followed_by) {
            match &part[0] {
                Source::Memory(entry) => entries.push(entry.clone()),
                Source::Disk { index, segment, .. } => {
                    let slots: Vec<Slot> = part.iter().filter_map(Source::slot).collect();
                    read_slots(*index, &slots, segment, &mut entries)?;
                }
            }
        }
        Ok(entries)
    }

    /// Everything but the entries.
    pub fn state(&self) -> GroupState {
        self.front(&self.shared().state.lock()).map(Front::state).unwrap_or_default()
    }

    /// Whether entries of so many bytes would be taken now. Ask before promising anything to a client: an `append` that is
    /// refused as `Full` is a Raft storage error.
    pub fn check_room(&self, bytes: u64) -> Result<(), Error> {
        let shared = self.shared();
        let state = shared.state.lock();
        state.refuse()?;
        let needed = 2 * shared.cost(bytes);
        let free = state.free(&shared.config).saturating_sub(shared.config.reserve_bytes);
        match &state.full {
            Some(reason) if needed > free => Err(Error::Full { needed, free, reason: reason.to_string() }),
            _ => Ok(()),
        }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.handle.shared
    }

    /// The group, if it lives as this incarnation.
    fn front<'s>(&self, state: &'s State) -> Option<&'s Front> {
        state.fronts.get(&self.id).filter(|front| front.life().incarnation() == Some(self.incarnation))
    }

    /// Room that everything but purging leaves, because purging is what makes room.
    fn purge_reserve(&self) -> u64 {
        self.shared().config.reserve_bytes / 2
    }

    fn check_meta(&self, what: &'static str, value: &Bytes) -> Result<(), Error> {
        let (bytes, max) = (value.len() as u64, self.shared().config.meta_bytes_max);
        if bytes > max { Err(Error::TooLarge { what, bytes, max }) } else { Ok(()) }
    }

    /// Makes a change of this incarnation.
    fn change(
        &self,
        record_bytes: u64,
        keep: u64,
        done: Done,
        change: impl FnOnce(&mut Front, &State, u64) -> Result<Op, Error>,
    ) {
        self.shared().queue(self.id, record_bytes, keep, done, |front, state, ticket| {
            match front.life().incarnation() == Some(self.incarnation) {
                true => change(front, state, ticket),
                false => {
                    let (group, incarnation, life) = (self.id, self.incarnation, front.life());
                    Err(Error::Life { group, incarnation, life })
                }
            }
        });
    }

    fn locate(&self, range: Range<u64>, bytes_max: u64) -> Result<Vec<Source>, Error> {
        let state = self.shared().state.lock();
        if let Some(error) = &state.failed {
            return Err(Error::Failed(Arc::new(error.clone())));
        }
        let Some((front, (first, last))) = self.front(&state).and_then(|front| Some((front, front.bounds()?))) else {
            return Ok(Vec::new());
        };
        let mut sources = Vec::new();
        let mut bytes = 0;
        for index in range.start.max(first)..range.end.min(last.saturating_add(1)) {
            let source = self.source(&state, front, index)?;
            bytes += match &source {
                Source::Memory(entry) => entry.bytes.len() as u64,
                Source::Disk { slot, .. } => u64::from(slot.bytes),
            };
            if bytes > bytes_max && !sources.is_empty() {
                break;
            }
            sources.push(source);
        }
        Ok(sources)
    }

    fn source(&self, state: &State, front: &Front, index: u64) -> Result<Source, Error> {
        if let Some(entry) = front.cached(index) {
            return Ok(Source::Memory(entry));
        }
        let slot = state.track.groups.get(&self.id).and_then(|group| group.slot(index)).copied();
        let found = slot.and_then(|slot| Some((slot, state.segments.get(&slot.segment)?.clone())));
        let (slot, segment) = found.ok_or_else(|| Error::Corrupt {
            path: self.shared().dir.clone(),
            offset: 0,
            reason: format!("entry {index} of group {} is neither in memory nor on disk", self.id),
        })?;
        Ok(Source::Disk { index, slot, segment })
    }
}

impl Source {
    fn slot(&self) -> Option<Slot> {
        match self {
            Self::Memory(_) => None,
            Self::Disk { slot, .. } => Some(*slot),
        }
    }

    /// Whether the other one stands right behind this one on disk, so that one read fetches both.
    fn is_followed_by(&self, other: &Self) -> bool {
        let (Some(one), Some(two)) = (self.slot(), other.slot()) else { return false };
        one.segment == two.segment && one.end() + record::ENTRY_HEADER == u64::from(two.offset)
    }
}

/// Reads entries that follow each other in one record, the first with this index, and checks them.
pub(super) fn read_slots(first: u64, slots: &[Slot], segment: &Segment, into: &mut Vec<WalEntry>) -> Result<(), Error> {
    let (Some(start), Some(end)) = (slots.first().map(|slot| u64::from(slot.offset)), slots.last().map(Slot::end))
    else {
        return Ok(());
    };
    let mut bytes = vec![0; (end - start) as usize];
    segment.file.read_exact_at(&mut bytes, start).map_err(Error::io("read", &segment.path))?;
    let bytes = Bytes::from(bytes);
    for (index, slot) in (first..).zip(slots) {
        let at = (u64::from(slot.offset) - start) as usize;
        let data = bytes.slice(at..at + slot.bytes as usize);
        if crc32fast::hash(&data) != slot.crc {
            let reason = format!("entry {index} does not match its checksum");
            return Err(Error::Corrupt { path: segment.path.clone(), offset: u64::from(slot.offset), reason });
        }
        into.push(WalEntry { index, term: slot.term, bytes: data });
    }
    Ok(())
}

impl std::fmt::Debug for GroupLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupLog").field("id", &self.id).finish_non_exhaustive()
    }
}
