//! Tests of the faulty disk itself: one that forgives too much would make every test behind it worthless.

use std::collections::BTreeSet;

use super::*;

fn dir() -> &'static Path {
    Path::new("/d")
}

fn path() -> &'static Path {
    Path::new("/d/f")
}

/// Contents after a cut with each of many seeds; `None` where the file is gone.
fn outcomes(vfs: &FaultVfs) -> BTreeSet<Option<Vec<u8>>> {
    (0..200)
        .map(|seed| {
            let after = vfs.power_cut(seed);
            let file = after.open(path()).ok()?;
            Some(file.read_whole(1 << 20).unwrap())
        })
        .collect()
}

fn synced_file(bytes: &[u8]) -> (FaultVfs, Arc<dyn File>) {
    let vfs = FaultVfs::new();
    let file = vfs.create(path()).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file.sync_all().unwrap();
    vfs.sync_dir(dir()).unwrap();
    (vfs, file)
}

#[test]
fn synced_data_under_a_synced_name_always_survives() {
    let (vfs, _file) = synced_file(b"abc");
    assert_eq!(outcomes(&vfs), BTreeSet::from([Some(b"abc".to_vec())]));
}

#[test]
fn a_file_whose_name_was_not_synced_may_vanish() {
    let vfs = FaultVfs::new();
    let file = vfs.create(path()).unwrap();
    file.write_all_at(b"abc", 0).unwrap();
    file.sync_all().unwrap();
    assert_eq!(outcomes(&vfs), BTreeSet::from([None, Some(b"abc".to_vec())]));
}

#[test]
fn a_removal_that_was_not_synced_may_be_undone_and_a_synced_one_never() {
    let (vfs, _file) = synced_file(b"abc");
    vfs.remove(path()).unwrap();
    assert_eq!(outcomes(&vfs), BTreeSet::from([None, Some(b"abc".to_vec())]));
    let (vfs, _file) = synced_file(b"abc");
    vfs.remove(path()).unwrap();
    vfs.sync_dir(dir()).unwrap();
    assert_eq!(outcomes(&vfs), BTreeSet::from([None]));
}

#[test]
fn unsynced_writes_survive_by_sector_in_any_combination() {
    let (vfs, file) = synced_file(&[0; 3 * SECTOR]);
    file.write_all_at(&[1; 3 * SECTOR], 0).unwrap();
    let seen: BTreeSet<_> =
        outcomes(&vfs).into_iter().flatten().map(|bytes| [bytes[0], bytes[600], bytes[1100]]).collect();
    assert_eq!(seen.len(), 8, "{seen:?}");
    let (vfs, file) = synced_file(&[0; 3 * SECTOR]);
    file.write_all_at(&[1; 3 * SECTOR], 0).unwrap();
    for bytes in outcomes(&vfs).into_iter().flatten() {
        assert!(bytes.chunks(SECTOR).all(|sector| sector.iter().all(|byte| *byte == sector[0])), "a sector is torn");
    }
    drop(file);
}

#[test]
fn what_a_failed_sync_gave_up_is_readable_and_not_made_durable_by_the_next_sync() {
    let (vfs, file) = synced_file(b"old");
    file.write_all_at(b"new", 0).unwrap();
    vfs.inject(Fault { op: Op::Sync, path: "f".into(), skip: 0, times: 1, effect: Effect::Error(EIO) });
    assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(EIO));
    file.sync_data().unwrap();
    assert_eq!(vfs.contents(path()), b"new");
    assert_eq!(outcomes(&vfs), BTreeSet::from([Some(b"old".to_vec()), Some(b"new".to_vec())]));
}

#[test]
fn the_cut_operation_and_all_later_ones_fail() {
    let (vfs, file) = synced_file(b"old");
    vfs.cut_at(vfs.ops() + 2);
    file.write_all_at(b"new", 0).unwrap();
    assert!(file.sync_data().is_err());
    assert!(vfs.is_off());
    assert!(file.read_at(&mut [0], 0).is_err());
    assert!(vfs.open(path()).is_err());
    assert_eq!(outcomes(&vfs).len(), 2);
}

#[test]
fn a_process_crash_keeps_everything_readable_and_nothing_more_durable() {
    let (vfs, file) = synced_file(b"old");
    file.write_all_at(b"new", 0).unwrap();
    let after = vfs.process_crash();
    assert!(file.write_all_at(b"x", 0).is_err());
    assert_eq!(after.contents(path()), b"new");
    assert_eq!(outcomes(&after).len(), 2);
}

#[test]
fn short_writes_and_full_disks_behave_like_the_real_ones() {
    let (vfs, file) = synced_file(b"abc");
    vfs.inject(Fault { op: Op::Write, path: "f".into(), skip: 0, times: 1, effect: Effect::Short(2) });
    assert_eq!(file.write_at(b"12345", 0).unwrap(), 2);
    assert_eq!(vfs.contents(path()), b"12c");
    vfs.set_capacity(Some(4));
    assert_eq!(file.write_at(b"67", 3).unwrap_err().kind(), io::ErrorKind::StorageFull);
    file.write_all_at(b"6", 3).unwrap();
    file.write_all_at(b"7890", 0).unwrap();
    assert_eq!(vfs.contents(path()), b"7890");
}

#[test]
fn a_lock_is_held_by_one_at_a_time() {
    let vfs = FaultVfs::new();
    let held = vfs.lock(path()).unwrap();
    assert!(held.is_some() && vfs.lock(path()).unwrap().is_none());
    drop(held);
    assert!(vfs.lock(path()).unwrap().is_some());
}
