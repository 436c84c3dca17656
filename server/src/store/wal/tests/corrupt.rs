//! Damaged files: what was durable and is damaged is refused by name and offset, a torn end is cut.

use std::path::PathBuf;

use super::{
    model::{self, dir},
    *,
};
use crate::store::{
    vfs::FaultVfs,
    wal::{
        frame::{self, Found, Place, SECTOR, SEGMENT_HEADER},
        segment,
    },
};

/// Three segments and a bit, with two groups; gives the disk and what is on it.
fn written() -> (FaultVfs, model::State) {
    let vfs = FaultVfs::new();
    let wal = open(Arc::new(vfs.clone()), &dir());
    let (one, two) = (group(&wal, 1), group(&wal, 2));
    for start in (0..30).step_by(3) {
        append(&one, entries(1, start..start + 3, 1, 900)).unwrap();
        append(&two, entries(2, start..start + 3, 2, 700)).unwrap();
    }
    wait(|done| one.save_vote(text("vote"), done)).unwrap();
    wait(|done| two.purge(3, text("purged"), done)).unwrap();
    wal.settle();
    let state = model::observe(&wal);
    wal.close();
    (vfs, state)
}

fn path(number: u64) -> PathBuf {
    segment::path(&dir(), number)
}

fn place(segment: u64) -> Place {
    Place { node: NODE, segment }
}

/// Where the frames of a segment stand.
fn frames(vfs: &FaultVfs, number: u64) -> Vec<(u64, frame::Header)> {
    let bytes = vfs.contents(&path(number));
    let mut found = Vec::new();
    let mut offset = SEGMENT_HEADER;
    while let Found::Frame(header) = frame::at(&bytes, offset, place(number)) {
        found.push((offset, header));
        offset += header.extent();
    }
    found
}

/// The last segment with frames.
fn last_segment(vfs: &FaultVfs) -> u64 {
    (1..).take_while(|number| !frames(vfs, *number).is_empty()).last().expect("there are frames")
}

fn reopen(vfs: &FaultVfs) -> Result<Wal, Error> {
    Wal::open(Arc::new(vfs.clone()), dir(), config()).map(|(wal, _)| wal)
}

/// A copy with one damage.
fn damaged(vfs: &FaultVfs, number: u64, damage: impl FnOnce(&mut Vec<u8>)) -> FaultVfs {
    let copy = vfs.power_cut(0);
    copy.edit(&path(number), damage);
    copy
}

#[track_caller]
fn refused(vfs: &FaultVfs, number: u64, reason: &str) -> u64 {
    match reopen(vfs) {
        Err(Error::Corrupt { path: found, offset, reason: said }) => {
            assert!(found == path(number) && said.contains(reason), "{}: {said}", found.display());
            offset
        }
        other => panic!("expected {reason:?}, got {other:?}"),
    }
}

#[test]
fn a_flipped_bit_anywhere_is_refused_or_changes_nothing() {
    let (vfs, state) = written();
    let mut refusals = 0;
    for number in 1..=last_segment(&vfs) {
        for at in (0..config().segment_bytes as usize).step_by(37) {
            let copy = damaged(&vfs, number, |bytes| bytes[at] ^= 1 << (at % 8));
            match reopen(&copy) {
                Ok(wal) => assert_eq!(model::observe(&wal), state, "a bit at {at} of segment {number}"),
                Err(Error::Corrupt { path: found, .. }) => {
                    assert_eq!(found, path(number));
                    refusals += 1;
                }
                Err(error) => panic!("a bit at {at} of segment {number}: {error}"),
            }
        }
    }
    assert!(refusals > 500, "{refusals}");
}

#[test]
fn a_frame_in_the_middle_that_became_zeros_is_refused_because_a_later_one_shows_it_was_durable() {
    let (vfs, _) = written();
    for (offset, header) in &frames(&vfs, 1)[..frames(&vfs, 1).len() - 1] {
        let range = *offset as usize..(*offset + header.extent()) as usize;
        let copy = damaged(&vfs, 1, |bytes| bytes[range].fill(0));
        assert_eq!(refused(&copy, 1, "before the one at"), *offset);
    }
}

#[test]
fn a_torn_frame_in_the_middle_is_refused_because_a_later_one_shows_it_was_durable() {
    let (vfs, _) = written();
    let (offset, header) = frames(&vfs, 1)[1];
    let last = (offset + header.extent() - 2 * SECTOR) as usize;
    let copy = damaged(&vfs, 1, |bytes| bytes[last..last + SECTOR as usize].fill(0));
    assert_eq!(refused(&copy, 1, "before the one at"), offset);
}

#[test]
fn the_last_frame_of_a_full_segment_that_became_zeros_is_refused_because_the_next_segment_was_begun() {
    let (vfs, _) = written();
    let (offset, header) = *frames(&vfs, 1).last().unwrap();
    let range = offset as usize..(offset + header.extent()) as usize;
    let copy = damaged(&vfs, 1, |bytes| bytes[range.clone()].fill(0));
    assert_eq!(refused(&copy, 2, "stands where frame"), SEGMENT_HEADER);
    let body = offset as usize + SECTOR as usize..range.end;
    let copy = damaged(&vfs, 1, |bytes| bytes[body].fill(0));
    assert_eq!(refused(&copy, 2, "is torn at"), SEGMENT_HEADER);
}

#[test]
fn a_torn_last_frame_is_cut_and_the_log_goes_on_before_it() {
    let (vfs, state) = written();
    let number = last_segment(&vfs);
    let wal = reopen(&vfs).unwrap();
    append(&group(&wal, 3), entries(3, 5..7, 1, 1000)).unwrap();
    let vfs = vfs.power_cut(0);
    let (offset, header) = *frames(&vfs, last_segment(&vfs)).last().unwrap();
    assert_eq!((last_segment(&vfs), header.extent() > 2 * SECTOR), (number, true));
    for lost in (offset..offset + header.extent()).step_by(SECTOR as usize) {
        let at = lost as usize;
        let copy = damaged(&vfs, number, |bytes| bytes[at..at + SECTOR as usize].fill(0));
        let (wal, summary) = Wal::open(Arc::new(copy.clone()), dir(), config()).unwrap();
        let cut = summary.cut.expect("a cut is reported");
        assert_eq!((cut.path, cut.offset), (path(number), offset));
        assert_eq!(model::observe(&wal), state, "sector {lost}");
        append(&group(&wal, 3), entries(3, 0..1, 9, 10)).unwrap();
        wal.close();
        assert_eq!(group(&reopen(&copy).unwrap(), 3).read(0..9).unwrap(), entries(3, 0..1, 9, 10));
    }
}

#[test]
fn a_rotten_last_frame_is_refused_because_it_may_have_been_acknowledged() {
    let (vfs, _) = written();
    let wal = reopen(&vfs).unwrap();
    append(&group(&wal, 3), entries(3, 5..7, 1, 100)).unwrap();
    let vfs = vfs.power_cut(0);
    let number = last_segment(&vfs);
    let (offset, _) = *frames(&vfs, number).last().unwrap();
    let copy = damaged(&vfs, number, |bytes| bytes[offset as usize + 70] ^= 1);
    assert_eq!(refused(&copy, number, "do not match their checksum"), offset);
    let copy = damaged(&vfs, number, |bytes| bytes[offset as usize + 3] ^= 1);
    assert_eq!(refused(&copy, number, "should begin with a frame header"), offset);
}

#[test]
fn damage_to_the_last_frame_of_a_log_that_was_closed_is_never_taken_for_a_torn_end() {
    let (vfs, _) = written();
    let number = last_segment(&vfs);
    let all = frames(&vfs, number);
    let [.., (offset, header), (_, mark)] = &all[..] else { panic!("{} frames", all.len()) };
    assert_eq!(mark.body_bytes, 0);
    let sectors = (*offset..offset + header.extent()).step_by(SECTOR as usize);
    for sector in sectors.map(|sector| sector as usize) {
        let copy = damaged(&vfs, number, |bytes| bytes[sector..sector + SECTOR as usize].fill(0));
        assert_eq!(refused(&copy, number, "before the one at"), *offset);
    }
}

#[test]
fn a_shortened_or_lengthened_segment_is_refused() {
    let (vfs, _) = written();
    for length in [SEGMENT_HEADER, 600, 9000, config().segment_bytes - 1] {
        refused(&damaged(&vfs, 1, |bytes| bytes.truncate(length as usize)), 1, "its header says");
    }
    let number = last_segment(&vfs);
    refused(&damaged(&vfs, number, |bytes| bytes.truncate(2000)), number, "its header says");
    refused(&damaged(&vfs, number, Vec::clear), number, "header is damaged");
    refused(&damaged(&vfs, 1, |bytes| bytes.push(0)), 1, "longer than the configured");
}

#[test]
fn a_missing_segment_is_refused() {
    let (vfs, _) = written();
    let copy = vfs.power_cut(0);
    copy.remove(&path(2)).unwrap();
    refused(&copy, 3, "segment 2 is missing");
    let copy = vfs.power_cut(0);
    copy.remove(&path(1)).unwrap();
    refused(&copy, 2, "there is a hole in the log");
}

#[test]
fn a_segment_of_another_node_or_another_place_is_refused() {
    let (vfs, _) = written();
    let other = FaultVfs::new();
    let config = WalConfig { node: Uuid::from_u128(7), ..config() };
    Wal::open(Arc::new(other.clone()), dir(), config).unwrap().0.close();
    let foreign = other.contents(&path(1));
    let error = reopen(&damaged(&vfs, 2, |bytes| *bytes = foreign)).unwrap_err();
    assert!(matches!(&error, Error::Foreign { path: found, .. } if *found == path(2)), "{error}");
    let first = vfs.contents(&path(1));
    refused(&damaged(&vfs, 2, |bytes| *bytes = first), 2, "segment 1 under another name");
}

#[test]
fn frames_of_another_segment_left_behind_the_end_are_cleaned_and_never_read() {
    let (vfs, state) = written();
    let number = last_segment(&vfs);
    let (offset, header) = *frames(&vfs, number).last().unwrap();
    let end = (offset + header.extent()) as usize;
    let old = vfs.contents(&path(1));
    let stale = &old[SEGMENT_HEADER as usize..SEGMENT_HEADER as usize + 2048];
    let copy = damaged(&vfs, number, |bytes| bytes[end + 512..end + 512 + 2048].copy_from_slice(stale));
    let wal = reopen(&copy).unwrap();
    assert_eq!(model::observe(&wal), state);
    wal.close();
    assert!(frame::is_zero(&copy.contents(&path(number))[end..]));
}

#[test]
fn a_segment_of_a_newer_format_is_refused() {
    let (vfs, _) = written();
    let header = frame::SegmentHeader { version: 2, node: NODE, segment: 1, bytes: config().segment_bytes };
    let copy = damaged(&vfs, 1, |bytes| bytes[..512].copy_from_slice(&header.encode()));
    assert!(matches!(reopen(&copy), Err(Error::Version { found: 2, known: 1, .. })));
}

#[test]
fn a_log_made_with_another_segment_size_is_refused_by_name() {
    let (vfs, _) = written();
    let config = WalConfig { segment_bytes: 32 << 10, ..config() };
    let error = Wal::open(Arc::new(vfs), dir(), config).unwrap_err();
    assert!(matches!(&error, Error::Config(text) if text.contains("16384")), "{error}");
}

#[test]
fn votes_that_go_back_in_the_log_are_refused() {
    let vfs = FaultVfs::new();
    let wal = Wal::open(Arc::new(vfs.clone()), dir(), WalConfig { vote_order: None, ..config() }).unwrap().0;
    for vote in ["2", "1"] {
        wait(|done| group(&wal, 1).save_vote(text(vote), done)).unwrap();
    }
    wal.close();
    refused(&vfs, 1, "the vote of group 1 goes back");
}

#[test]
fn an_entry_damaged_while_the_log_is_open_is_not_returned() {
    let (vfs, _) = written();
    let wal = reopen(&vfs).unwrap();
    let log = group(&wal, 1);
    let bytes = vfs.contents(&path(1));
    let at = bytes.windows(6).position(|window| window == b"1/2/1/").expect("the entry is in the segment");
    vfs.edit(&path(1), |bytes| bytes[at + 20] ^= 1);
    let error = log.read(2..3).unwrap_err();
    assert!(matches!(&error, Error::Corrupt { path: found, .. } if *found == path(1)), "{error}");
    assert_eq!(log.read(1..2).unwrap(), entries(1, 1..2, 1, 900));
}
