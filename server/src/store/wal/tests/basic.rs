//! What the log does when nothing fails.

use std::io::{BufRead, BufReader};

use super::*;
use crate::store::{vfs::StdVfs, wal::GroupState};

fn vfs() -> Arc<dyn Vfs> {
    Arc::new(StdVfs)
}

#[test]
fn everything_acknowledged_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(vfs(), dir.path());
    let (one, two) = (group(&wal, 1), group(&wal, 2));
    wait(|done| one.save_vote(text("vote 1"), done)).unwrap();
    for start in (0..100).step_by(10) {
        append(&one, entries(1, start..start + 10, 1 + start / 50, 200)).unwrap();
        append(&two, entries(2, 7 + start..17 + start, 3, 50)).unwrap();
    }
    wait(|done| two.truncate_after(Some(99), done)).unwrap();
    append(&two, entries(2, 100..103, 4, 50)).unwrap();
    wait(|done| one.purge(41, text("purged 41"), done)).unwrap();
    one.save_committed(Some(text("committed 60")));
    let before = (one.state(), two.state(), one.read(0..1000).unwrap(), two.read(0..1000).unwrap());
    wal.close();

    let wal = open(vfs(), dir.path());
    let (one, two) = (group(&wal, 1), group(&wal, 2));
    assert_eq!((one.state(), two.state(), one.read(0..1000).unwrap(), two.read(0..1000).unwrap()), before);
    let expected = GroupState {
        life: Life::Implied,
        vote: Some(text("vote 1")),
        committed: Some(text("committed 60")),
        purged: Some((41, text("purged 41"))),
        first: Some(42),
        last: Some((99, 2)),
    };
    assert_eq!(one.state(), expected);
    let mut list = entries(2, 7..100, 3, 50);
    list.extend(entries(2, 100..103, 4, 50));
    assert_eq!(two.read(0..1000).unwrap(), list);
}

#[test]
fn entries_are_readable_when_append_returns() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(vfs(), dir.path());
    let log = group(&wal, 1);
    for index in 0..200 {
        let (done, _answer) = done();
        log.append(entries(1, index..index + 1, 1, 100), done);
        assert_eq!(log.read(index..index + 1).unwrap(), entries(1, index..index + 1, 1, 100));
    }
    assert_eq!(log.read(0..200).unwrap(), entries(1, 0..200, 1, 100));
}

#[test]
fn entries_that_do_not_follow_are_refused_and_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(vfs(), dir.path());
    let log = group(&wal, 1);
    append(&log, entries(1, 5..10, 3, 10)).unwrap();
    let before = (log.state(), log.read(0..100).unwrap());
    assert!(matches!(append(&log, entries(1, 11..12, 3, 10)), Err(Error::Hole { index: 11, expected: 10, .. })));
    assert!(matches!(append(&log, entries(1, 9..10, 3, 10)), Err(Error::Hole { index: 9, expected: 10, .. })));
    assert!(matches!(append(&log, entries(1, 10..11, 2, 10)), Err(Error::Term { index: 10, term: 2, last: 3, .. })));
    assert!(matches!(append(&log, entries(1, 10..11, 3, 4000)), Err(Error::TooLarge { bytes: 4000, .. })));
    assert_eq!((log.state(), log.read(0..100).unwrap()), before);
}

#[test]
fn purged_segments_are_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(vfs(), dir.path());
    let log = group(&wal, 1);
    append(&log, entries(1, 0..10, 1, 1000)).unwrap();
    for start in (10..200).step_by(10) {
        append(&log, entries(1, start..start + 10, 1, 1000)).unwrap();
    }
    let full = wal.stats().segments;
    assert!(full > 10, "{full} segments");
    wait(|done| log.purge(189, text("p"), done)).unwrap();
    wal.settle();
    assert!(wal.stats().segments <= 2, "{:?}", wal.stats());
    wal.close();
    let wal = open(vfs(), dir.path());
    assert_eq!(group(&wal, 1).read(0..1000).unwrap(), entries(1, 190..200, 1, 1000));
}

/// The child is this test again, with the directory in its environment.
#[test]
fn a_killed_process_loses_nothing_it_acknowledged_and_leaves_no_lock() {
    const DIR: &str = "LETHE_TEST_WAL_DIR";
    const NAME: &str = "store::wal::tests::basic::a_killed_process_loses_nothing_it_acknowledged_and_leaves_no_lock";
    if let Ok(dir) = std::env::var(DIR) {
        let wal = open(vfs(), Path::new(&dir));
        let log = group(&wal, 1);
        for index in 0.. {
            append(&log, entries(1, index..index + 1, 1, 700)).unwrap();
            println!("acknowledged {index}");
        }
    }
    for acknowledged_min in [20, 60] {
        let target = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args([NAME, "--exact", "--nocapture"])
            .env(DIR, target.path())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut numbers = lines.filter_map(|line| line.strip_prefix("acknowledged ")?.parse::<u64>().ok());
        let mut last = numbers.find(|number| *number == acknowledged_min).expect("the child writes");
        child.kill().unwrap();
        last = numbers.last().unwrap_or(last);
        child.wait().unwrap();
        let wal = open(vfs(), target.path());
        let found = group(&wal, 1).read(0..u64::MAX).unwrap();
        assert!(found.len() as u64 > last, "{} entries, {last} was acknowledged", found.len());
        assert_eq!(found, entries(1, 0..found.len() as u64, 1, 700));
    }
}

#[test]
fn a_second_opener_is_refused_until_the_first_has_closed() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(vfs(), dir.path());
    let second = Wal::open(vfs(), dir.path().to_path_buf(), config());
    assert!(matches!(second, Err(Error::Locked { .. })), "{second:?}");
    let log = group(&wal, 1);
    wal.close();
    assert!(matches!(append(&log, entries(1, 0..1, 1, 1)), Err(Error::Closed)));
    open(vfs(), dir.path());
}
