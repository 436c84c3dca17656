//! Snapshot files: whole ones come back, all others are refused.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::store::state::{Error, Mark, Position, Slice};
use crate::store::vfs::StdVfs;

mod transfer;

fn head(group: u32, index: u64) -> Head {
    let position = Position { index, log_id: Bytes::from_static(b"log id") };
    let mark = Mark { applied: Some(position), membership: Bytes::from_static(b"members"), ..Mark::default() };
    Head { node: Uuid::from_u128(5), group, mark }
}

fn content(entries: usize, bytes: usize) -> Slice {
    (0..entries).map(|i| (format!("key {i:08}").into_bytes(), vec![i as u8; bytes])).collect()
}

fn open(dir: &TempDir) -> Dir {
    Dir::open(Arc::new(StdVfs), dir.path()).unwrap()
}

fn write(dir: &Dir, head: Head, content: &Slice) -> Found {
    let mut writer = dir.writer(head).unwrap();
    for slice in content.chunks(100) {
        writer.push(slice.to_vec()).unwrap();
    }
    writer.finish().unwrap()
}

fn read(path: &std::path::Path) -> Result<(Head, Slice), Error> {
    let mut reader = Reader::open(&StdVfs, path)?;
    let mut all = Slice::new();
    while let Some(block) = reader.next_block()? {
        all.extend(block);
    }
    Ok((reader.head().clone(), all))
}

#[test]
fn what_was_written_comes_back() {
    let temp = tempfile::tempdir().unwrap();
    let dir = open(&temp);
    for (index, content) in [content(0, 0), content(1, 0), content(5000, 300), content(3, 1 << 20)].iter().enumerate() {
        let found = write(&dir, head(1, index as u64), content);
        assert_eq!(read(&found.path).unwrap(), (head(1, index as u64), content.clone()));
        assert_eq!(found.bytes, std::fs::metadata(&found.path).unwrap().len());
    }
}

#[test]
fn any_changed_byte_and_any_cut_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let dir = open(&temp);
    let found = write(&dir, head(1, 1), &content(6, 20));
    let whole = std::fs::read(&found.path).unwrap();
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0x10;
        std::fs::write(&found.path, &changed).unwrap();
        assert!(matches!(read(&found.path), Err(Error::Damaged { .. })), "byte {at} of {}", whole.len());
        std::fs::write(&found.path, &whole[..at]).unwrap();
        assert!(matches!(read(&found.path), Err(Error::Damaged { .. })), "{at} bytes of {}", whole.len());
    }
    std::fs::write(&found.path, [&whole[..], &[0]].concat()).unwrap();
    assert!(matches!(read(&found.path), Err(Error::Damaged { .. })), "a byte more");
}

#[test]
fn a_lost_and_a_repeated_block_are_refused() {
    let temp = tempfile::tempdir().unwrap();
    let dir = open(&temp);
    let found = write(&dir, head(1, 1), &content(5000, 300));
    let whole = std::fs::read(&found.path).unwrap();
    let mut blocks = vec![format::HEAD_FIXED + format::u32_at(&whole, 12) as usize + 4];
    while format::u32_at(&whole, *blocks.last().unwrap()) != 0 {
        let at = *blocks.last().unwrap();
        blocks.push(at + format::BLOCK_FIXED + format::u32_at(&whole, at) as usize);
    }
    assert!(blocks.len() > 4, "{} blocks", blocks.len());
    let lost = [&whole[..blocks[1]], &whole[blocks[2]..]].concat();
    let repeated = [&whole[..blocks[2]], &whole[blocks[1]..]].concat();
    let swapped =
        [&whole[..blocks[1]], &whole[blocks[2]..blocks[3]], &whole[blocks[1]..blocks[2]], &whole[blocks[3]..]].concat();
    for (what, bytes) in [("lost", lost), ("repeated", repeated), ("swapped", swapped)] {
        std::fs::write(&found.path, bytes).unwrap();
        assert!(matches!(read(&found.path), Err(Error::Damaged { .. })), "{what}");
    }
}

#[test]
fn the_head_and_the_foot_have_these_bytes() {
    let golden = "4c65746865536e70 01000000 24000000 10 00000000000000000000000000000005 01 01 09 06 6c6f67206964 07 \
                  6d656d62657273 00";
    let bytes = format::encode_head(&head(1, 9));
    assert_eq!(hex::encode(&bytes[..bytes.len() - 4]), golden.replace(' ', ""));
    let totals = format::Totals { blocks: 1, entries: 2, bytes: 3, ..Default::default() };
    let foot = format::encode_foot(&totals);
    let golden = "00000000 4c65746865456e64 0100000000000000 0200000000000000 0300000000000000 \
                  00000000000000000000000000000000";
    assert_eq!(hex::encode(&foot[..foot.len() - 4]), golden.replace(' ', ""));
}

#[test]
fn snapshots_are_listed_newest_first_and_only_so_many_are_kept() {
    let temp = tempfile::tempdir().unwrap();
    let dir = open(&temp);
    let mut paths = Vec::<PathBuf>::new();
    for index in [3, 20, 100] {
        paths.insert(0, write(&dir, head(1, index), &content(2, 2)).path);
    }
    let other = write(&dir, head(2, 7), &content(1, 1));
    let listed = |group| dir.list(group).unwrap().into_iter().map(|found| found.path).collect::<Vec<_>>();
    assert_eq!(listed(1), paths);
    dir.retain(1, 2).unwrap();
    assert_eq!(listed(1), paths[..2]);
    assert_eq!(listed(2), vec![other.path]);
}

#[test]
fn an_unfinished_snapshot_is_no_snapshot_and_is_removed() {
    let temp = tempfile::tempdir().unwrap();
    let dir = open(&temp);
    let mut writer = dir.writer(head(1, 1)).unwrap();
    writer.push(content(5000, 300)).unwrap();
    assert_eq!(dir.list(1).unwrap(), vec![]);
    std::mem::forget(writer);
    assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 1);
    let dir = open(&temp);
    assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
    drop(dir.writer(head(1, 1)).unwrap());
    assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0, "a dropped writer removes its file");
}

#[test]
fn a_second_snapshot_of_a_position_stands_beside_the_first() {
    let temp = tempfile::tempdir().unwrap();
    let dir = open(&temp);
    let first = write(&dir, head(1, 5), &content(10, 10));
    let second = write(&dir, head(1, 5), &content(10, 10));
    let third = write(&dir, head(1, 5), &content(10, 10));
    assert_ne!(first.path, second.path);
    assert_eq!(second, third, "there are at most two");
    assert_eq!(dir.list(1).unwrap().len(), 2);
    assert_eq!(dir.adopt(&StdVfs, &second.path).unwrap(), second);
    std::fs::write(&first.path, b"damaged").unwrap();
    assert_eq!(dir.list(1).unwrap(), std::slice::from_ref(&second));
    dir.retain(1, 2).unwrap();
    assert_eq!(write(&dir, head(1, 5), &content(10, 10)), first);
    write(&dir, head(1, 8), &content(10, 10));
    dir.retain(1, 2).unwrap();
    assert_eq!(
        dir.list(1).unwrap().iter().map(|found| found.head.mark.index()).collect::<Vec<_>>(),
        [Some(8), Some(5)]
    );
    dir.forget(1).unwrap();
    assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
}

#[test]
fn all_files_of_a_forgotten_group_are_gone_and_no_others() {
    let temp = tempfile::tempdir().unwrap();
    let dir = open(&temp);
    for group in [1, 2] {
        write(&dir, head(group, 5), &content(10, 10));
        write(&dir, head(group, 9), &content(10, 10));
    }
    std::fs::write(temp.path().join("group-00000001-0000000000000003.snapshot"), b"damaged").unwrap();
    std::mem::forget(dir.writer(head(1, 12)).unwrap());
    dir.forget(1).unwrap();
    assert_eq!(dir.list(1).unwrap(), []);
    assert_eq!(dir.list(2).unwrap().len(), 2);
    assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 2, "nothing of the first group is left");
    dir.forget(1).unwrap();
}

#[test]
fn a_snapshot_under_the_name_of_another_is_not_listed() {
    let temp = tempfile::tempdir().unwrap();
    let dir = open(&temp);
    let (a, b) = (write(&dir, head(1, 1), &content(1, 1)), write(&dir, head(1, 2), &content(2, 2)));
    std::fs::copy(&a.path, &b.path).unwrap();
    assert_eq!(dir.list(1).unwrap().into_iter().map(|found| found.path).collect::<Vec<_>>(), vec![a.path]);
}

#[test]
fn a_snapshot_of_another_node_is_adopted_whole_or_not_at_all() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (ours, theirs) = (open(&here), open(&there));
    let content = content(5000, 300);
    let sent = write(&theirs, head(1, 9), &content);
    let adopted = ours.adopt(&StdVfs, &sent.path).unwrap();
    assert_eq!(read(&adopted.path).unwrap(), (head(1, 9), content));
    assert_eq!(ours.adopt(&StdVfs, &adopted.path).unwrap(), adopted, "adopting one's own changes nothing");

    let sent = write(&theirs, head(1, 10), &self::content(5000, 300));
    let mut bytes = std::fs::read(&sent.path).unwrap();
    let at = bytes.len() - 1000;
    bytes[at] ^= 1;
    std::fs::write(&sent.path, bytes).unwrap();
    assert!(ours.adopt(&StdVfs, &sent.path).is_err());
    assert_eq!(ours.list(1).unwrap(), vec![adopted]);
}
