//! What the handles, the writer and the keeper share: the queue, the groups, the segments, and how much room is left.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::PathBuf,
    sync::Arc,
};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::{
    Done, Error, GroupId, WalConfig, WalEntry,
    frame::{self, SEGMENT_HEADER},
    front::{Front, Ticket},
    record::Record,
    segment::Segment,
    track::Track,
};
use crate::store::vfs::{Lock, Vfs};

/// Added to the cost of a request for each frame it may be split over.
const SPLIT_COST: u64 = 2 * frame::SECTOR;

/// A change that waits for the disk.
pub enum Op {
    /// Entries with their checksums, the first at this index.
    Append {
        /// Index of the first one that is left.
        first: u64,
        /// The entries.
        entries: VecDeque<(WalEntry, u32)>,
    },
    /// Any other change.
    Record(Record),
    /// No change; only its turn to be answered.
    Nothing,
}

/// A change of one group and who waits for it.
pub struct Request {
    /// Its number.
    pub ticket: Ticket,
    /// The group.
    pub group: GroupId,
    /// The change.
    pub op: Op,
    /// Room that is set aside for it.
    pub cost: u64,
    /// Told when it is durable.
    pub done: Done,
}

/// Why no new segment can be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// There are as many as there may be. Room comes as soon as something is purged.
    #[error("all segments together may take {0} bytes")]
    Log(u64),
    /// The disk took no other.
    #[error("{0}")]
    Disk(String),
}

/// Counters since the log was opened, and sizes now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Group commits: one write and one sync each.
    pub syncs: u64,
    /// Entries written.
    pub entries: u64,
    /// Bytes written, padding included.
    pub bytes: u64,
    /// Entries written again to free old segments.
    pub rewritten: u64,
    /// Segments in use.
    pub segments: u64,
    /// Segments ready for use.
    pub spares: u64,
    /// Bytes that appends may still take before new segments are needed.
    pub free_bytes: u64,
    /// Why no new segment can be made, while that is so.
    pub full: Option<Full>,
}

/// Everything behind the lock.
#[derive(Default)]
pub struct State {
    /// Changes that wait for the writer.
    pub queue: VecDeque<Request>,
    /// Room set aside for what waits or is being written.
    pub reserved: u64,
    /// Number of the last request that is durable.
    pub durable: Ticket,
    /// Number of the last request.
    pub last_ticket: Ticket,
    /// Groups as callers see them.
    pub fronts: BTreeMap<GroupId, Front>,
    /// Groups whose committed log id the writer has not taken.
    pub dirty: BTreeSet<GroupId>,
    /// Groups as they are on disk.
    pub track: Track,
    /// Segments in use, then spares.
    pub segments: BTreeMap<u64, Arc<Segment>>,
    /// Number of the segment in use.
    pub active: u64,
    /// Where its next frame begins.
    pub offset: u64,
    /// Somebody waits for a segment, whether it would be due or not.
    pub starved: bool,
    /// Why no segment can be made.
    pub full: Option<Full>,
    /// The log has failed.
    pub failed: Option<Error>,
    /// The log shall end.
    pub closing: bool,
    /// The writer has nothing to do.
    pub writer_rests: bool,
    /// The keeper has nothing to do, or cannot do it now.
    pub keeper_rests: bool,
    /// The writer has ended.
    pub written_out: bool,
    /// Counters.
    pub stats: Stats,
}

/// The log behind its handles.
pub struct Shared {
    /// Limits.
    pub config: WalConfig,
    /// Files.
    pub vfs: Arc<dyn Vfs>,
    /// Directory of the segments.
    pub dir: PathBuf,
    /// The state.
    pub state: Mutex<State>,
    /// Wakes the writer.
    pub work: Condvar,
    /// Wakes the keeper.
    pub upkeep: Condvar,
    /// Wakes callers that wait for room, and the writer when it waits for a segment.
    pub room: Condvar,
    /// Tells those who wait for rest.
    pub idle: Condvar,
    /// Held while the log is open.
    pub lock: Mutex<Option<Lock>>,
}

impl State {
    /// Segments that are ready for use.
    pub fn spares(&self) -> u64 {
        self.segments.range(self.active + 1..).count() as u64
    }

    /// The oldest segment, taken off the list, if nothing lives in it.
    pub fn deletable(&mut self) -> Option<Arc<Segment>> {
        let number = *self.segments.first_key_value()?.0;
        // The checkpoint at the start of the segment in use must be durable before anything older goes.
        let is_needed = number >= self.active || self.offset == SEGMENT_HEADER;
        if is_needed || self.track.live(number).entries > 0 {
            return None;
        }
        self.segments.remove(&number)
    }

    /// Whether another segment is to be made.
    pub fn needs_spare(&self, config: &WalConfig) -> bool {
        let wanted = if self.starved { u64::from(config.spare_segments) } else { config.spares_wanted(self.offset) };
        self.spares() < wanted
    }

    /// Whether neither thread has anything to do.
    pub fn rests(&self) -> bool {
        self.queue.is_empty() && self.writer_rests && self.keeper_rests
    }

    /// Bytes that can surely be written into the segments that exist.
    pub fn usable(&self, config: &WalConfig) -> u64 {
        let checkpoint = frame::padded(frame::HEADER as u64 + config.checkpoint_bytes_max(self.fronts.len() as u32));
        let lost = config.piece_bytes_max();
        let fresh = if self.offset == SEGMENT_HEADER { checkpoint } else { 0 };
        let active = (config.segment_bytes - self.offset).saturating_sub(lost + fresh);
        active + self.spares() * config.segment_bytes.saturating_sub(SEGMENT_HEADER + checkpoint + lost)
    }

    /// Bytes that can be promised to one more request.
    pub fn free(&self, config: &WalConfig) -> u64 {
        self.usable(config).saturating_sub(self.reserved)
    }

    /// Why nothing more is taken, if so.
    pub fn refuse(&self) -> Result<(), Error> {
        match &self.failed {
            Some(error) => Err(Error::Failed(Arc::new(error.clone()))),
            None if self.closing => Err(Error::Closed),
            None => Ok(()),
        }
    }
}

impl Shared {
    /// Room a request of so many record bytes may need in the worst case.
    pub fn cost(&self, record_bytes: u64) -> u64 {
        let frames = record_bytes / self.config.frame_bytes_max + 1;
        frame::padded(frame::HEADER as u64 + record_bytes) + frames * SPLIT_COST
    }

    /// Makes a change of a group in memory and queues it for the disk, both or neither. `done` gets the reason at once when
    /// it is neither. `keep` bytes stay free behind it.
    pub fn queue(
        &self,
        id: GroupId,
        record_bytes: u64,
        keep: u64,
        done: Done,
        change: impl FnOnce(&mut Front, &State, Ticket) -> Result<Op, Error>,
    ) {
        let cost = self.cost(record_bytes);
        let mut state = self.state.lock();
        let queued = self.admit(&mut state, cost, keep).and_then(|()| {
            let max = self.config.groups_max;
            if !state.fronts.contains_key(&id) && state.fronts.len() >= max as usize {
                return Err(Error::TooManyGroups { max });
            }
            let ticket = state.last_ticket + 1;
            let known = state.fronts.remove(&id);
            let is_known = known.is_some();
            let mut front = known.unwrap_or_default();
            let op = change(&mut front, &state, ticket);
            if is_known || op.is_ok() {
                state.fronts.insert(id, front);
            }
            op.map(|op| (ticket, op))
        });
        match queued {
            Ok((ticket, op)) => {
                if let Op::Record(Record::Created(_) | Record::Destroyed(_)) = op {
                    // What the life before had committed must not be written into the one after.
                    state.dirty.remove(&id);
                }
                state.last_ticket = ticket;
                state.reserved += cost;
                state.queue.push_back(Request { ticket, group: id, op, cost, done });
                drop(state);
                self.work.notify_one();
            }
            Err(error) => {
                drop(state);
                done(Err(error));
            }
        }
    }

    /// Waits until there is room for a request. `keep` bytes must stay free behind it.
    pub fn admit(&self, state: &mut MutexGuard<'_, State>, cost: u64, keep: u64) -> Result<(), Error> {
        let config = &self.config;
        let max = config.request_bytes_max().saturating_sub(keep);
        if cost > max {
            return Err(Error::TooLarge { what: "an append", bytes: cost, max });
        }
        loop {
            state.refuse()?;
            let free = state.free(config).saturating_sub(keep);
            let crowded = state.reserved > 0 && state.reserved + cost > config.queue_bytes_max;
            if cost <= free && !crowded {
                return Ok(());
            }
            if let Some(reason) = state.full.as_ref().filter(|_| cost > free) {
                let error = Error::Full { needed: cost, free, reason: reason.to_string() };
                self.upkeep.notify_all();
                return Err(error);
            }
            if cost > free {
                state.starved = true;
                self.upkeep.notify_all();
            }
            self.room.wait(state);
        }
    }

    /// Ends the log after an I/O error: nothing is taken any more, and everybody who waits is told, `first` before others.
    pub fn fail(&self, error: Error, first: Vec<Done>) {
        let (queue, is_first) = {
            let mut state = self.state.lock();
            let is_first = state.failed.is_none();
            state.failed.get_or_insert_with(|| error.clone());
            (std::mem::take(&mut state.queue), is_first)
        };
        for condition in [&self.work, &self.upkeep, &self.room, &self.idle] {
            condition.notify_all();
        }
        if is_first {
            (self.config.on_fatal)(&error);
        }
        let failed = Error::Failed(Arc::new(error));
        for done in first.into_iter().chain(queue.into_iter().map(|request| request.done)) {
            done(Err(failed.clone()));
        }
    }
}
