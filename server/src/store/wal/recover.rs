//! Opening a log: reads every segment, accepts a torn tail, refuses everything else that is not whole.
//!
//! A frame that is not there, or is damaged, is the end of the log only if nothing shows that it was durable once. It was,
//! if a later frame of the segment exists (frames are written after the one before is synced) or a later segment was
//! begun. The end is then made clean again: leftovers are zeroed, and all that was accepted is synced, because a
//! crashed process may have left it in memory only.

use std::{collections::BTreeMap, io, path::Path, sync::Arc};

use bytes::Bytes;

use super::{
    Error, WalConfig,
    frame::{self, Found, HEADER, Place, SECTOR, SEGMENT_HEADER, SegmentHeader, VERSION},
    record::{self, Record},
    segment::{self, Segment},
    summary::{Cut, Summary},
    track::{Group, Track},
};
use crate::store::vfs::Vfs;

/// What recovery found.
pub struct Recovered {
    /// Groups on disk.
    pub track: Track,
    /// Segments in use, then spares.
    pub segments: BTreeMap<u64, Arc<Segment>>,
    /// Segment in use.
    pub active: u64,
    /// Where its next frame begins.
    pub offset: u64,
    /// Number of the next frame.
    pub batch: u64,
    /// For the operator.
    pub summary: Summary,
}

/// Where the log ends so far.
#[derive(Clone, Copy)]
struct End {
    segment: u64,
    offset: u64,
    is_torn: bool,
}

struct Recovery<'a> {
    vfs: &'a dyn Vfs,
    config: &'a WalConfig,
    track: Track,
    /// Number of the next frame; `None` before the first.
    batch: Option<u64>,
    end: Option<End>,
    summary: Summary,
}

/// Reads the log in `dir`, which exists and is locked.
pub fn recover(vfs: &dyn Vfs, dir: &Path, config: &WalConfig) -> Result<Recovered, Error> {
    let found = list(vfs, dir)?;
    let mut recovery =
        Recovery { vfs, config, track: Track::default(), batch: None, end: None, summary: Summary::default() };
    let mut segments = BTreeMap::new();
    for (at, segment) in found.iter().enumerate() {
        if let Some(next) = found.get(at + 1).filter(|next| next.number != segment.number + 1) {
            let reason = format!("segment {} is missing before it", next.number - 1);
            return Err(Error::Corrupt { path: next.path.clone(), offset: 0, reason });
        }
        match recovery.read(segment, at + 1 == found.len())? {
            true => segments.insert(segment.number, Arc::new(segment.clone())),
            false => None,
        };
    }
    recovery.finish(dir, segments)
}

fn list(vfs: &dyn Vfs, dir: &Path) -> Result<Vec<Segment>, Error> {
    let mut found = Vec::new();
    for path in vfs.list(dir).map_err(Error::io("list", dir))? {
        if let Some(number) = segment::number(&path) {
            let file = vfs.open(&path).map_err(Error::io("open", &path))?;
            found.push(Segment { number, path, file });
        }
    }
    found.sort_by_key(|segment| segment.number);
    Ok(found)
}

impl Recovery<'_> {
    /// Reads one segment; `false` when it was never completely made, and is removed.
    fn read(&mut self, segment: &Segment, is_last: bool) -> Result<bool, Error> {
        if self.is_untouched(segment)? {
            return Ok(true);
        }
        let bytes = match segment.file.read_whole(self.config.segment_bytes) {
            Ok(bytes) => Bytes::from(bytes),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                return Err(corrupt(segment, 0, "the file is longer than the configured segment size"));
            }
            Err(error) => return Err(Error::io("read", &segment.path)(error)),
        };
        self.summary.bytes += bytes.len() as u64;
        let place = Place { node: self.config.node, segment: segment.number };
        if let Err(error) = self.check_header(segment, &bytes, bytes.len() as u64) {
            // Made only in part: the zeros are synced before the header is written, and both before the next is begun.
            if is_last && frame::is_zero(&bytes) {
                self.vfs.remove(&segment.path).map_err(Error::io("remove", &segment.path))?;
                return Ok(false);
            }
            return Err(error);
        }
        self.read_frames(segment, &bytes, place)?;
        Ok(true)
    }

    /// Whether a segment is a spare that was never written to. Only the one right behind the end can have been touched, by a
    /// frame that was not synced, so the others need not be read whole.
    fn is_untouched(&mut self, segment: &Segment) -> Result<bool, Error> {
        if self.end.is_none_or(|end| segment.number <= end.segment + 1) {
            return Ok(false);
        }
        let size = segment.file.size().map_err(Error::io("measure", &segment.path))?;
        let mut start = [0; (SEGMENT_HEADER + SECTOR) as usize];
        if size != self.config.segment_bytes {
            return Ok(false);
        }
        segment.file.read_exact_at(&mut start, 0).map_err(Error::io("read", &segment.path))?;
        self.summary.bytes += start.len() as u64;
        let (header, first) = start.split_at(SEGMENT_HEADER as usize);
        Ok(frame::is_zero(first) && self.check_header(segment, header, size).is_ok())
    }

    fn check_header(&self, segment: &Segment, bytes: &[u8], size: u64) -> Result<(), Error> {
        let Some(header) = SegmentHeader::decode(bytes) else {
            return Err(corrupt(segment, 0, "the segment header is damaged"));
        };
        if header.version != VERSION {
            return Err(Error::Version { path: segment.path.clone(), found: header.version, known: VERSION });
        }
        if header.node != self.config.node {
            let (found, expected) = (header.node, self.config.node);
            return Err(Error::Foreign { path: segment.path.clone(), found, expected });
        }
        if header.segment != segment.number {
            return Err(corrupt(segment, 0, format!("the file is segment {} under another name", header.segment)));
        }
        if header.bytes != size {
            let reason = format!("the file has {size} bytes, its header says {}", header.bytes);
            return Err(corrupt(segment, size, reason));
        }
        if header.bytes != self.config.segment_bytes {
            return Err(Error::Config(format!(
                "segment_bytes is {}, but {} was made with {}",
                self.config.segment_bytes,
                segment.path.display(),
                header.bytes
            )));
        }
        Ok(())
    }

    fn read_frames(&mut self, segment: &Segment, bytes: &Bytes, place: Place) -> Result<(), Error> {
        let mut offset = SEGMENT_HEADER;
        let is_torn = loop {
            match frame::at(bytes, offset, place) {
                Found::Frame(header) => {
                    self.read_frame(segment, bytes, offset, header)?;
                    offset += header.extent();
                }
                Found::End => break false,
                Found::Torn => break true,
                Found::Rotten(reason) => return Err(corrupt(segment, offset, reason)),
            }
        };
        if let Some((at, header)) = frame::find(bytes, offset + SECTOR.min(bytes.len() as u64 - offset), place)
            && header.synced_upto > offset
        {
            return Err(corrupt(segment, offset, format!("a frame is missing or damaged before the one at {at}")));
        }
        if offset > SEGMENT_HEADER || self.end.is_none() {
            self.end = Some(End { segment: segment.number, offset, is_torn });
        }
        self.clean(segment, bytes, offset)
    }

    /// Zeroes what a torn write left behind, so that it can never be taken for a frame.
    fn clean(&mut self, segment: &Segment, bytes: &Bytes, from: u64) -> Result<(), Error> {
        let mut cleaned = 0;
        for (offset, sector) in (from..).step_by(SECTOR as usize).zip(bytes[from as usize..].chunks(SECTOR as usize)) {
            if !frame::is_zero(sector) {
                let zeros = vec![0; sector.len()];
                segment.file.write_all_at(&zeros, offset).map_err(Error::io("clean", &segment.path))?;
                cleaned += sector.len() as u64;
            }
        }
        if cleaned > 0 {
            self.summary.cut = Some(Cut { path: segment.path.clone(), offset: from, bytes: cleaned });
        }
        segment.file.sync_data().map_err(Error::io("sync", &segment.path))
    }

    fn read_frame(
        &mut self,
        segment: &Segment,
        bytes: &Bytes,
        offset: u64,
        header: frame::Header,
    ) -> Result<(), Error> {
        if let Some(end) = self.end.filter(|end| end.is_torn) {
            let reason = format!("segment {} is torn at {}, but this later one was begun", end.segment, end.offset);
            return Err(corrupt(segment, offset, reason));
        }
        if self.batch.is_some_and(|batch| batch != header.batch) {
            let reason = format!("frame {} stands where frame {} must", header.batch, self.batch.unwrap_or(0));
            return Err(corrupt(segment, offset, reason));
        }
        if header.opens_segment != (offset == SEGMENT_HEADER) {
            return Err(corrupt(segment, offset, "a checkpoint is not at the start of its segment"));
        }
        let is_oldest = self.batch.is_none();
        self.batch = Some(header.batch + 1);
        let body_offset = offset + HEADER as u64;
        let body = bytes.slice(body_offset as usize..body_offset as usize + header.body_bytes as usize);
        let records = record::decode(body, segment.number, body_offset);
        let records = records.map_err(|reason| corrupt(segment, offset, reason))?;
        for (group, record) in records {
            self.apply(group, record, is_oldest, header.opens_segment)
                .map_err(|reason| corrupt(segment, offset, reason))?;
        }
        self.summary.frames += 1;
        Ok(())
    }

    fn apply(
        &mut self,
        id: super::GroupId,
        record: Record,
        is_oldest: bool,
        opens_segment: bool,
    ) -> Result<(), String> {
        match record {
            Record::Checkpoint(checkpoint) if is_oldest => self.track.start(id, checkpoint),
            Record::Checkpoint(checkpoint) if opens_segment => {
                let known = self.track.groups.get(&id).map(Group::checkpoint).unwrap_or_default();
                let is_seen =
                    self.track.groups.get(&id).and_then(|group| group.slots.back()).is_none_or(|slot| slot.segment > 0);
                if known != checkpoint && is_seen {
                    return Err(format!("the checkpoint of group {id} does not match the log before it"));
                }
                Ok(())
            }
            Record::Vote(vote) => {
                let old = self.track.groups.get(&id).and_then(|group| group.vote.as_ref());
                if let (Some(order), Some(old)) = (self.config.vote_order, old)
                    && order(&vote, old).is_lt()
                {
                    return Err(format!("the vote of group {id} goes back"));
                }
                self.track.apply(id, Record::Vote(vote))
            }
            record => self.track.apply(id, record),
        }
    }

    fn finish(mut self, dir: &Path, mut segments: BTreeMap<u64, Arc<Segment>>) -> Result<Recovered, Error> {
        self.vfs.sync_dir(dir).map_err(Error::io("sync", dir))?;
        if segments.is_empty() {
            let made = segment::make(self.vfs, dir, 1, self.config);
            let made = made.map_err(Error::io("make the first segment in", dir))?;
            segments.insert(1, Arc::new(made));
        }
        let first = segments.first_key_value().map_or(1, |(number, _)| *number);
        if first > 1 && self.batch.is_none() {
            let reason = "the oldest segment of a log that had older ones is empty".into();
            return Err(Error::Corrupt { path: segment::path(dir, first), offset: SEGMENT_HEADER, reason });
        }
        let (active, offset) = self.end.map_or((first, SEGMENT_HEADER), |end| (end.segment, end.offset));
        if let Err(reason) = self.track.check_complete() {
            let path = segment::path(dir, first);
            return Err(Error::Corrupt { path, offset: 0, reason });
        }
        self.summary.segments = segments.range(..=active).count() as u64;
        self.summary.groups =
            self.track.groups.iter().map(|(id, group)| (*id, super::front::Front::from_disk(group).state())).collect();
        Ok(Recovered {
            track: self.track,
            segments,
            active,
            offset,
            batch: self.batch.unwrap_or(1),
            summary: self.summary,
        })
    }
}

fn corrupt(segment: &Segment, offset: u64, reason: impl Into<String>) -> Error {
    Error::Corrupt { path: segment.path.clone(), offset, reason: reason.into() }
}
