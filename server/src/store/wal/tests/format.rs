//! The bytes on disk: they do not change unnoticed, every record comes back as it was, and no bytes make a reader panic.

use proptest::prelude::*;

use super::{model::dir, *};
use crate::store::vfs::FaultVfs;
use crate::store::wal::{
    frame::{self, Found, Header, Place, SegmentHeader},
    record::{self, Checkpoint, EntryRef, Record},
    track::{Slot, Track},
};

const PLACE: Place = Place { node: NODE, segment: 3 };
const OFFSET: u64 = 1024;

fn checkpoint() -> Checkpoint {
    let purged = Some((4, text("p")));
    Checkpoint { life: Life::Implied, vote: Some(text("v")), committed: None, purged, live: Some((5, 6, 2)) }
}

/// One record of every kind but entries.
fn controls() -> Vec<Record> {
    vec![
        Record::Checkpoint(checkpoint()),
        Record::Checkpoint(Checkpoint::default()),
        Record::Vote(text("vote")),
        Record::TruncateAfter(Some(6)),
        Record::TruncateAfter(None),
        Record::Purge { upto: 5, log_id: text("log id") },
        Record::Committed(Some(text("committed"))),
        Record::Committed(None),
    ]
}

/// A whole frame with every kind of record, and what stands in it.
fn whole() -> (Vec<u8>, Vec<(GroupId, Record)>) {
    let mut bytes = vec![0; frame::HEADER];
    let mut records = Vec::new();
    for (number, record) in (0..).zip(controls()) {
        record::encode(&mut bytes, GroupId(number), &record);
        records.push((GroupId(number), record));
    }
    for is_rewritten in [false, true] {
        let data = [&b"first"[..], b"", b"third"];
        let list = data.iter().map(|data| EntryRef { term: 2, crc: crc32fast::hash(data), data });
        let slots = record::entries(&mut bytes, GroupId(9), 7, is_rewritten, list, (3, OFFSET));
        let record =
            if is_rewritten { Record::Rewritten { first: 7, slots } } else { Record::Entries { first: 7, slots } };
        records.push((GroupId(9), record));
    }
    frame::seal(&mut bytes, PLACE, 77, OFFSET, true);
    (bytes, records)
}

#[test]
fn every_record_comes_back_as_it_was_written() {
    let (bytes, records) = whole();
    let mut segment = vec![0; OFFSET as usize];
    segment.extend_from_slice(&bytes);
    let Found::Frame(header) = frame::at(&segment, OFFSET, PLACE) else { panic!("the frame is not found") };
    assert_eq!((header.batch, header.synced_upto, header.opens_segment), (77, OFFSET, true));
    let start = OFFSET + frame::HEADER as u64;
    let body = Bytes::from(segment.clone()).slice(start as usize..start as usize + header.body_bytes as usize);
    assert_eq!(record::decode(body, 3, start).unwrap(), records);
    let Some((_, Record::Entries { slots, .. })) =
        records.iter().find(|(_, record)| matches!(record, Record::Entries { .. }))
    else {
        panic!("there are entries");
    };
    let found: Vec<_> = slots.iter().map(|slot| &segment[slot.offset as usize..slot.end() as usize]).collect();
    assert_eq!(found, [&b"first"[..], b"", b"third"]);
}

#[test]
fn the_bytes_of_a_segment_do_not_change_between_versions() {
    let header = SegmentHeader { version: 1, node: NODE, segment: 3, bytes: 65536 };
    assert_eq!(SegmentHeader::decode(&header.encode()), Some(header));
    assert_eq!(
        hex::encode(&header.encode()[..48]),
        "4c4554484557414c63794c0f0100000000000000000000000000000000001e7e03000000000000000000010000000000"
    );
    let (bytes, _) = whole();
    let golden = concat!(
        "4c46524d806dda574d000000000000000300000000000000000400000000000095010000a03a56a60000000001000000",
        "0000000000000000000000000000000006000000000000002f0000000100000076ffffffff0100000070040000000000",
        "00000105000000000000000600000000000000020000000000000006000000010000002d000000ffffffffffffffffff",
        "ffffff000000000000000000000000000000000000000000000000000000000000000000020000000200000004000000",
        "766f74650300000003000000090000000106000000000000000300000004000000090000000000000000000000000400",
        "0000050000000e00000005000000000000006c6f6720696405000000060000000d00000009000000636f6d6d69747465",
        "64050000000700000004000000ffffffff01000000090000004600000007000000000000000300000002000000000000",
        "000500000057ee7192666972737402000000000000000000000000000000020000000000000005000000642032247468",
        "69726407000000090000004600000007000000000000000300000002000000000000000500000057ee71926669727374",
        "02000000000000000000000000000000020000000000000005000000642032247468697264",
    );
    let (start, padding) = bytes.split_at(golden.len() / 2);
    assert_eq!(hex::encode(start), golden);
    assert!(frame::is_zero(padding) && bytes.len() == 512);
}

#[test]
fn records_of_a_groups_life_have_these_bytes() {
    let records = [
        (Record::Created(0x0102), "0900000005000000080000000201000000000000"),
        (Record::Destroyed(0x0304), "0800000005000000080000000403000000000000"),
        (
            Record::Checkpoint(Checkpoint { life: Life::Lives(0x0506), ..checkpoint() }),
            concat!(
                "0a00000005000000380000000106050000000000000100000076ffffffff010000007004000000000000000105000000",
                "0000000006000000000000000200000000000000"
            ),
        ),
        (
            Record::Checkpoint(Checkpoint { life: Life::Destroyed(0x0708), ..Checkpoint::default() }),
            concat!(
                "0a0000000500000036000000020807000000000000ffffffffffffffffffffffff000000000000000000000000000000",
                "000000000000000000000000000000000000"
            ),
        ),
    ];
    for (record, golden) in records {
        let mut bytes = Vec::new();
        record::encode(&mut bytes, GroupId(5), &record);
        assert_eq!(hex::encode(&bytes), golden, "{record:?}");
        let body = Bytes::from(bytes);
        assert_eq!(record::decode(body.clone(), 3, 512), Ok(vec![(GroupId(5), record)]));
        for len in 1..body.len() {
            assert!(record::decode(body.slice(..len), 3, 512).is_err(), "{len} bytes");
        }
    }
}

#[test]
fn a_frame_is_nothing_in_another_place() {
    let (bytes, _) = whole();
    let strangers = [
        Place { segment: 4, ..PLACE },
        Place { node: Uuid::from_u128(9), ..PLACE },
        Place { node: Uuid::nil(), segment: 0 },
    ];
    assert!(Header::decode(&bytes, PLACE).is_some());
    for place in strangers {
        assert_eq!(Header::decode(&bytes, place), None);
        assert!(matches!(frame::at(&bytes, 0, place), Found::Rotten(_)));
    }
}

#[test]
fn entries_whose_index_would_overflow_are_refused() {
    let slot = Slot { term: 1, segment: 1, offset: 0, bytes: 0, crc: 0 };
    let mut track = Track::default();
    let far = |count| Record::Entries { first: u64::MAX - 2, slots: vec![slot; count] };
    assert!(track.apply(GroupId(1), far(3)).is_err());
    assert!(track.apply(GroupId(1), far(2)).is_ok());
    let log = group(&open(Arc::new(FaultVfs::new()), &dir()), 1);
    assert!(matches!(append(&log, entries(1, u64::MAX - 1..u64::MAX, 1, 1)), Ok(())));
    let last = vec![WalEntry { index: u64::MAX, term: 1, bytes: text("") }];
    assert!(matches!(append(&log, last), Err(Error::Hole { index: u64::MAX, .. })));
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        record::decode(Bytes::from(bytes.clone()), 1, 64).ok();
        SegmentHeader::decode(&bytes);
        if !bytes.is_empty() {
            frame::at(&bytes, 0, PLACE);
        }
    }

    /// What a checksum would have to miss: the records are wrong, and are either refused or applied without a panic.
    #[test]
    fn damaged_records_are_refused_or_applied(
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let (mut bytes, _) = whole();
        let mut body = bytes.split_off(frame::HEADER);
        for (at, byte) in damage {
            let at = at.index(body.len());
            body[at] = byte;
        }
        let mut track = Track::default();
        for (id, record) in record::decode(body.into(), 3, OFFSET).unwrap_or_default() {
            match record {
                Record::Checkpoint(checkpoint) if checkpoint.live.is_none_or(|(first, last, _)| last.wrapping_sub(first) < 1 << 16) => {
                    track.start(id, checkpoint).ok();
                }
                record => drop(track.apply(id, record)),
            }
        }
        track.check_complete().ok();
    }
}
