//! The writer thread: takes what waits, writes it as one frame, syncs once, answers everybody in order.
//!
//! There is no timer: while one sync runs, the next batch gathers. A frame is written only after the one before it was
//! synced, in a later segment too, so whatever is readable after a power cut is a prefix of what was written.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::MutexGuard;

use super::{
    Done, Error, GroupId, WalConfig, WalEntry,
    compact::{self, Run},
    frame::{self, Place, SEGMENT_HEADER},
    front::Ticket,
    record::{self, Checkpoint, EntryRef, Record},
    segment::Segment,
    shared::{Op, Shared, State},
};

/// Priority of the writer's thread; 0 is normal, lower is sooner.
#[cfg(target_os = "linux")]
const WRITER_NICENESS: i32 = -10;
/// A sync that takes longer is logged.
const SLOW_SYNC: Duration = Duration::from_millis(50);

/// Part of a frame.
enum Piece {
    Entries { group: GroupId, first: u64, entries: Vec<(WalEntry, u32)>, is_rewritten: bool },
    Record { group: GroupId, record: Record },
}

/// What one sync makes durable.
#[derive(Default)]
struct Batch {
    checkpoints: Vec<(GroupId, Checkpoint)>,
    pieces: Vec<Piece>,
    dones: Vec<Done>,
    ticket: Ticket,
    cost: u64,
}

/// Owns the segment in use and the place in it.
pub struct Writer {
    /// Segment in use.
    pub segment: Arc<Segment>,
    /// Where the next frame begins.
    pub offset: u64,
    /// Number of the next frame.
    pub batch: u64,
    /// The frame being built.
    pub buffer: Vec<u8>,
    /// Whether it is compaction's turn.
    pub may_compact: bool,
    /// Frames written since the log was opened.
    pub written: u64,
}

impl Writer {
    /// Runs until the log is closed or fails.
    pub fn run(mut self, shared: &Shared) {
        raise_priority();
        while self.turn(shared) {}
        if let Err(error) = self.mark_end(shared) {
            shared.fail(error, Vec::new());
        }
        shared.state.lock().written_out = true;
        shared.upkeep.notify_all();
    }

    /// Writes an empty frame when the log is closed in good order, so that the frames before it are known to have been
    /// durable: damage to the last of them is then not mistaken for a torn end.
    fn mark_end(&mut self, shared: &Shared) -> Result<(), Error> {
        let state = shared.state.lock();
        let fits = self.offset + frame::SECTOR <= shared.config.segment_bytes;
        if self.written == 0 || !fits || state.failed.is_some() {
            return Ok(());
        }
        let (mut batch, _) = self.begin(&shared.config, &state);
        drop(state);
        self.write(shared, &mut batch)
    }

    /// One group commit, one slice of compaction, or one change of segment; `false` when there will be no more.
    fn turn(&mut self, shared: &Shared) -> bool {
        let mut state = shared.state.lock();
        loop {
            state.writer_rests = false;
            if state.failed.is_some() {
                return false;
            }
            if !state.closing && (self.may_compact || state.queue.is_empty()) {
                self.may_compact = false;
                if let Some((segment, runs)) = compact::plan(&state, &shared.config) {
                    return self.compact(shared, state, &segment, runs);
                }
            }
            if !state.queue.is_empty() || state.closing {
                break;
            }
            state.writer_rests = true;
            shared.idle.notify_all();
            shared.work.wait(&mut state);
        }
        let mut batch = self.take(shared, &mut state);
        if batch.pieces.is_empty() && batch.dones.is_empty() {
            return !state.queue.is_empty() && self.roll(shared, state);
        }
        drop(state);
        let written = match batch.pieces.is_empty() {
            true => self.publish(shared, &batch, Vec::new()),
            false => self.write(shared, &mut batch),
        };
        match written {
            Ok(()) => batch.dones.into_iter().for_each(|done| done(Ok(()))),
            Err(error) => shared.fail(error, batch.dones),
        }
        self.may_compact = true;
        true
    }

    /// Writes entries of the oldest segment once more.
    fn compact(
        &mut self,
        shared: &Shared,
        mut state: MutexGuard<'_, State>,
        segment: &Segment,
        runs: Vec<Run>,
    ) -> bool {
        let (mut batch, mut budget) = self.begin(&shared.config, &state);
        let mut taken = Vec::new();
        for mut run in runs {
            let fits = run.slots.iter().enumerate().take_while(|(at, slot)| {
                let start = if *at == 0 { record::ENTRIES_HEADER } else { 0 };
                let bytes = start + record::ENTRY_HEADER + u64::from(slot.bytes);
                batch.cost += bytes;
                budget.take(bytes, taken.is_empty() && *at == 0)
            });
            let count = fits.count();
            let is_whole = count == run.slots.len();
            run.slots.truncate(count);
            if count > 0 {
                taken.push(run);
            }
            if !is_whole {
                break;
            }
        }
        if taken.is_empty() {
            return self.roll(shared, state);
        }
        batch.cost = shared.cost(batch.cost);
        state.reserved += batch.cost;
        drop(state);
        let written = taken.into_iter().try_for_each(|run| {
            let entries = compact::read(segment, &run)?;
            batch.pieces.push(Piece::Entries { group: run.group, first: run.first, entries, is_rewritten: true });
            Ok(())
        });
        if let Err(error) = written.and_then(|()| self.write(shared, &mut batch)) {
            shared.fail(error, Vec::new());
        }
        true
    }

    /// An empty frame, and how much it may take.
    fn begin(&self, config: &WalConfig, state: &State) -> (Batch, Budget) {
        let mut batch = Batch::default();
        let mut room = (config.segment_bytes - self.offset).saturating_sub(frame::HEADER as u64);
        if self.offset == SEGMENT_HEADER {
            batch.checkpoints = state.track.groups.iter().map(|(id, group)| (*id, group.checkpoint())).collect();
            room = room.saturating_sub(config.checkpoint_bytes_max(state.track.groups.len() as u32));
        }
        (batch, Budget { room, soft: config.frame_bytes_max })
    }

    /// Takes from the queue what fits into one frame.
    fn take(&self, shared: &Shared, state: &mut State) -> Batch {
        let config = &shared.config;
        let (mut batch, mut budget) = self.begin(config, state);
        while let Some(request) = state.queue.front_mut() {
            if !batch.add(request, &mut budget) {
                break;
            }
            if let Some(request) = state.queue.pop_front() {
                batch.ticket = request.ticket;
                batch.cost += request.cost;
                batch.dones.push(request.done);
            }
        }
        if state.queue.is_empty() && state.usable(config) >= state.reserved + config.reserve_bytes {
            batch.add_committed(state, &mut budget);
        }
        batch
    }

    fn write(&mut self, shared: &Shared, batch: &mut Batch) -> Result<(), Error> {
        let place = Place { node: shared.config.node, segment: self.segment.number };
        let opens_segment = self.offset == SEGMENT_HEADER;
        self.buffer.clear();
        self.buffer.resize(frame::HEADER, 0);
        for (group, checkpoint) in batch.checkpoints.drain(..) {
            record::encode(&mut self.buffer, group, &Record::Checkpoint(checkpoint));
        }
        let mut records = Vec::with_capacity(batch.pieces.len());
        for piece in batch.pieces.drain(..) {
            records.push(self.encode(piece));
        }
        frame::seal(&mut self.buffer, place, self.batch, self.offset, opens_segment);
        let file = &self.segment.file;
        file.write_all_at(&self.buffer, self.offset).map_err(Error::io("write", &self.segment.path))?;
        let sync = || file.sync_data();
        #[cfg(feature = "liar")]
        let skipped = crate::lies::is_told(crate::lies::Lie::SkipSync) && !self.batch.is_multiple_of(8);
        #[cfg(feature = "liar")]
        let sync = || if skipped { Ok(()) } else { sync() };
        let began = Instant::now();
        sync().map_err(Error::io("sync", &self.segment.path))?;
        if began.elapsed() > SLOW_SYNC {
            tracing::debug!(took = ?began.elapsed(), bytes = self.buffer.len(), "a sync of the log took long");
        }
        self.offset += self.buffer.len() as u64;
        self.batch += 1;
        self.written += 1;
        self.publish(shared, batch, records)
    }

    fn encode(&mut self, piece: Piece) -> (GroupId, Record) {
        match piece {
            Piece::Entries { group, first, entries, is_rewritten } => {
                let list =
                    entries.iter().map(|(entry, crc)| EntryRef { term: entry.term, crc: *crc, data: &entry.bytes });
                let place = (self.segment.number, self.offset);
                let slots = record::entries(&mut self.buffer, group, first, is_rewritten, list, place);
                match is_rewritten {
                    true => (group, Record::Rewritten { first, slots }),
                    false => (group, Record::Entries { first, slots }),
                }
            }
            Piece::Record { group, record } => {
                record::encode(&mut self.buffer, group, &record);
                (group, record)
            }
        }
    }

    /// Makes what was synced known to the other threads.
    fn publish(&self, shared: &Shared, batch: &Batch, records: Vec<(GroupId, Record)>) -> Result<(), Error> {
        let mut state = shared.state.lock();
        let state = &mut *state;
        let mut freed = false;
        if batch.ticket > 0 {
            state.durable = batch.ticket;
        }
        if !records.is_empty() {
            state.stats.syncs += 1;
            state.stats.bytes += self.buffer.len() as u64;
        }
        for (group, record) in records {
            match &record {
                Record::Entries { slots, .. } => state.stats.entries += slots.len() as u64,
                Record::Rewritten { slots, .. } => state.stats.rewritten += slots.len() as u64,
                _ => {}
            }
            freed |= matches!(
                record,
                Record::Purge { .. } | Record::TruncateAfter(_) | Record::Rewritten { .. } | Record::Destroyed(_)
            );
            let offset = state.offset;
            state.track.apply(group, record).map_err(|reason| Error::Corrupt {
                path: self.segment.path.clone(),
                offset,
                reason,
            })?;
            if let Some(front) = state.fronts.get_mut(&group) {
                front.evict(state.durable, shared.config.tail_bytes_max);
            }
        }
        state.offset = self.offset;
        state.reserved -= batch.cost;
        shared.room.notify_all();
        if freed || state.needs_spare(&shared.config) {
            shared.upkeep.notify_all();
        }
        Ok(())
    }

    /// Goes on in the next segment, and waits for it if it is not ready.
    fn roll(&mut self, shared: &Shared, mut state: MutexGuard<'_, State>) -> bool {
        loop {
            if state.failed.is_some() {
                return false;
            }
            let number = state.active + 1;
            if let Some(segment) = state.segments.get(&number).cloned() {
                state.active = number;
                state.offset = SEGMENT_HEADER;
                self.segment = segment;
                self.offset = SEGMENT_HEADER;
                shared.upkeep.notify_all();
                return true;
            }
            if state.closing
                && let Some(reason) = state.full.clone()
            {
                let queue = std::mem::take(&mut state.queue);
                drop(state);
                for request in queue {
                    (request.done)(Err(Error::Full { needed: request.cost, free: 0, reason: reason.to_string() }));
                }
                return false;
            }
            state.starved = true;
            shared.upkeep.notify_all();
            shared.room.wait(&mut state);
        }
    }
}

/// Lets this thread run before those that only compute: every acknowledgement of the node waits for it, and it uses little.
/// Without the right to do so it stays as it is.
fn raise_priority() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, WRITER_NICENESS) {
        tracing::debug!(%error, "the log's writer keeps the normal priority");
    }
}

/// Room left in the frame being filled.
struct Budget {
    /// Bytes left in the segment.
    room: u64,
    /// Bytes after which a frame is large enough; a single piece may go over it.
    soft: u64,
}

impl Budget {
    fn take(&mut self, bytes: u64, is_first: bool) -> bool {
        if bytes > self.room || (bytes > self.soft && !is_first) {
            return false;
        }
        self.room -= bytes;
        self.soft = self.soft.saturating_sub(bytes);
        true
    }
}

impl Batch {
    /// Moves a request into the frame; `false` when some of it is left.
    fn add(&mut self, request: &mut super::shared::Request, budget: &mut Budget) -> bool {
        let group = request.group;
        let Op::Append { first, entries } = &mut request.op else {
            let Op::Record(record) = &request.op else { return true };
            if !budget.take(record::control_bytes(record), self.pieces.is_empty()) {
                return false;
            }
            self.pieces.push(Piece::Record { group, record: record.clone() });
            return true;
        };
        let mut part = Vec::new();
        let part_first = *first;
        while let Some((entry, _)) = entries.front() {
            let start = if part.is_empty() { record::ENTRIES_HEADER } else { 0 };
            let bytes = start + record::ENTRY_HEADER + entry.bytes.len() as u64;
            if !budget.take(bytes, self.pieces.is_empty() && part.is_empty()) {
                break;
            }
            part.extend(entries.pop_front());
            *first += 1;
        }
        if !part.is_empty() {
            self.pieces.push(Piece::Entries { group, first: part_first, entries: part, is_rewritten: false });
        }
        entries.is_empty()
    }

    /// Adds committed log ids that changed. They ride along: nobody waits for them, and they cause no sync of their own.
    fn add_committed(&mut self, state: &mut State, budget: &mut Budget) {
        if self.pieces.is_empty() && !state.closing {
            return;
        }
        while let Some(group) = state.dirty.first().copied() {
            let committed: Option<Bytes> = state.fronts.get(&group).and_then(|front| front.committed().cloned());
            let record = Record::Committed(committed);
            if !budget.take(record::control_bytes(&record), self.pieces.is_empty()) {
                return;
            }
            state.dirty.remove(&group);
            self.pieces.push(Piece::Record { group, record });
        }
    }
}
