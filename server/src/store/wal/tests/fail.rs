//! Failing disks: an I/O error is final, a full disk is refused before anything is written.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use super::{model::dir, *};
use crate::store::vfs::{
    FaultVfs,
    fault::{EIO, Effect, Fault, Op},
};

fn fault(op: Op, effect: Effect) -> Fault {
    Fault { op, path: ".wal".into(), skip: 0, times: 1, effect }
}

fn open_with(vfs: &FaultVfs, config: WalConfig) -> Wal {
    Wal::open(Arc::new(vfs.clone()), dir(), config).expect("the log opens").0
}

#[test]
fn a_failed_write_or_sync_is_final_and_reported_once() {
    for op in [Op::Write, Op::Sync] {
        let vfs = FaultVfs::new();
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let on_fatal = Arc::new(move |_: &Error| {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let wal = open_with(&vfs, WalConfig { on_fatal, ..config() });
        let log = group(&wal, 1);
        append(&log, entries(1, 0..3, 1, 100)).unwrap();
        wal.settle();
        vfs.inject(fault(op, Effect::Error(EIO)));
        assert!(matches!(append(&log, entries(1, 3..5, 1, 100)), Err(Error::Failed(_))), "{op:?}");
        vfs.heal();
        let syncs = vfs.count(Op::Sync);
        assert!(matches!(append(&log, entries(1, 3..5, 1, 100)), Err(Error::Failed(_))));
        assert!(matches!(wait(|done| log.save_vote(text("v"), done)), Err(Error::Failed(_))));
        assert!(matches!(wait(|done| group(&wal, 2).purge(1, text("p"), done)), Err(Error::Failed(_))));
        assert!(matches!(log.read(0..9), Err(Error::Failed(_))));
        assert!(matches!(log.check_room(1), Err(Error::Failed(_))));
        wal.close();
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        assert_eq!(vfs.count(Op::Sync), syncs, "a failed sync was tried again");
        for seed in 0..20 {
            let wal = open(Arc::new(vfs.power_cut(seed)), &dir());
            let found = group(&wal, 1).read(0..9).unwrap();
            let all = entries(1, 0..5, 1, 100);
            assert!(found.len() >= 3 && found == all[..found.len()], "seed {seed}: {found:?}");
        }
    }
}

#[test]
fn everything_that_waits_behind_a_failure_fails_in_order() {
    let vfs = FaultVfs::new();
    let wal = open_with(&vfs, config());
    wal.settle();
    // Every sync fails, whoever asks for it first: the writer, or the keeper for a spare segment.
    vfs.inject(Fault { times: 1_000, ..fault(Op::Sync, Effect::Error(EIO)) });
    let answers = Arc::new(Mutex::new(Vec::new()));
    for number in 0..10 {
        let answers = answers.clone();
        let done: Done = Box::new(move |result| answers.lock().unwrap().push((number, result.is_err())));
        group(&wal, number % 3).save_vote(text("v"), done);
    }
    wal.close();
    let answers = answers.lock().unwrap();
    assert_eq!(answers.len(), 10);
    assert!(answers.iter().all(|(_, is_err)| *is_err), "{answers:?}");
}

#[test]
fn an_error_while_making_or_deleting_a_segment_is_final() {
    for op in [Op::Create, Op::Remove, Op::SyncDir] {
        let vfs = FaultVfs::new();
        let wal = open_with(&vfs, config());
        let log = group(&wal, 1);
        append(&log, entries(1, 0..1, 1, 100)).unwrap();
        wal.settle();
        vfs.inject(Fault { path: "/wal".into(), ..fault(op, Effect::Error(EIO)) });
        let mut failed = None;
        for index in 1..200 {
            let appended = append(&log, entries(1, index..index + 1, 1, 1500));
            if let Err(error) = appended.and_then(|()| wait(|done| log.purge(index, text("p"), done))) {
                failed = Some(error);
                break;
            }
        }
        assert!(matches!(failed, Some(Error::Failed(_))), "{op:?}: {failed:?}");
    }
}

#[test]
fn short_writes_and_reads_are_continued() {
    let vfs = FaultVfs::new();
    let wal = open_with(&vfs, config());
    wal.settle();
    vfs.inject(Fault { times: 5, ..fault(Op::Write, Effect::Short(100)) });
    let list = entries(1, 0..10, 1, 1000);
    append(&group(&wal, 1), list.clone()).unwrap();
    wal.close();
    vfs.inject(Fault { times: 50, ..fault(Op::Read, Effect::Short(77)) });
    let wal = open_with(&vfs, config());
    assert_eq!(group(&wal, 1).read(0..20).unwrap(), list);
}

#[test]
fn a_read_error_is_told_and_is_not_final() {
    let vfs = FaultVfs::new();
    let wal = open_with(&vfs, config());
    append(&group(&wal, 1), entries(1, 0..10, 1, 1000)).unwrap();
    wal.close();
    let wal = open_with(&vfs, config());
    let log = group(&wal, 1);
    vfs.inject(fault(Op::Read, Effect::Error(EIO)));
    assert!(matches!(log.read(0..5), Err(Error::Io { action: "read", .. })));
    assert_eq!(log.read(0..5).unwrap(), entries(1, 0..5, 1, 1000));
}

#[test]
fn a_full_disk_refuses_appends_still_takes_votes_and_recovers_when_space_returns() {
    let vfs = FaultVfs::new();
    vfs.set_capacity(Some(5 * config().segment_bytes));
    let wal = open_with(&vfs, config());
    let (log, other) = (group(&wal, 1), group(&wal, 2));
    let mut next = 0;
    let error = loop {
        match append(&log, entries(1, next..next + 1, 1, 1500)) {
            Ok(()) => next += 1,
            Err(error) => break error,
        }
        assert!(next < 1000, "the disk is never full");
    };
    assert!(matches!(error, Error::Full { .. }), "{error}");
    assert!(matches!(log.check_room(1500), Err(Error::Full { .. })));
    assert!(next > 30, "full after {next}");
    assert_eq!(log.read(0..1000).unwrap(), entries(1, 0..next, 1, 1500));
    wait(|done| other.save_vote(text("vote"), done)).unwrap();
    wait(|done| log.truncate_after(Some(next - 3), done)).unwrap();

    vfs.set_capacity(None);
    let deadline = std::time::Instant::now() + DEADLINE;
    while let Err(error) = append(&log, entries(1, next - 2..next, 1, 1500)) {
        assert!(matches!(error, Error::Full { .. }) && std::time::Instant::now() < deadline, "{error}");
        wal.settle();
    }
    for start in [next, next + 10, next + 20] {
        append(&log, entries(1, start..start + 10, 1, 1000)).unwrap();
    }
    wal.close();
    let wal = open_with(&vfs, config());
    let mut all = entries(1, 0..next, 1, 1500);
    all.extend(entries(1, next..next + 30, 1, 1000));
    assert_eq!(group(&wal, 1).read(0..1000).unwrap(), all);
    assert_eq!(group(&wal, 2).state().vote, Some(text("vote")));
}

#[test]
fn a_log_at_its_size_limit_refuses_appends_until_it_is_purged() {
    let vfs = FaultVfs::new();
    let wal = open_with(&vfs, WalConfig { total_bytes_max: 4 * config().segment_bytes, ..config() });
    let log = group(&wal, 1);
    for round in 0..5 {
        let start = log.state().purged.map_or(0, |(upto, _)| upto + 1);
        let mut next = start;
        let error = loop {
            match append(&log, entries(1, next..next + 1, 1, 1500)) {
                Ok(()) => next += 1,
                Err(error) => break error,
            }
            assert!(next < start + 1000, "the log is never full");
        };
        assert!(matches!(&error, Error::Full { reason, .. } if reason.contains("65536")), "{error}");
        assert!(vfs.used() <= 4 * config().segment_bytes);
        wait(|done| log.purge(next - 1, text("p"), done)).unwrap();
        wal.settle();
        assert!(next > start + 10, "round {round}: full after {}", next - start);
    }
}

#[test]
fn a_full_disk_at_the_first_start_is_an_error_that_leaves_nothing_behind() {
    let vfs = FaultVfs::new();
    vfs.set_capacity(Some(4096));
    let error = Wal::open(Arc::new(vfs.clone()), dir(), config()).unwrap_err();
    assert!(error.to_string().contains("make the first segment"), "{error}");
    vfs.set_capacity(None);
    append(&group(&open_with(&vfs, config()), 1), entries(1, 0..1, 1, 1)).unwrap();
}
