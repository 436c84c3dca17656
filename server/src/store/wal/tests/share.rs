//! What many users of one log get: shared syncs, answers in order, readers that are never in the way.

use std::sync::{Mutex, atomic::AtomicBool, atomic::Ordering};

use super::{model::dir, *};
use crate::store::{
    vfs::{FaultVfs, fault::Op},
    wal::Pin,
};

fn open_with(vfs: &FaultVfs, config: WalConfig) -> Wal {
    Wal::open(Arc::new(vfs.clone()), dir(), config).expect("the log opens").0
}

/// Keeps the writer busy until the sender is used or dropped.
fn hold_writer(log: &GroupLog) -> mpsc::Sender<()> {
    let (release, released) = mpsc::channel();
    let (held, is_held) = mpsc::channel();
    log.save_vote(
        text("0"),
        Box::new(move |_| {
            held.send(()).ok();
            released.recv().ok();
        }),
    );
    is_held.recv_timeout(DEADLINE).expect("the writer answers");
    release
}

#[test]
fn everything_that_waits_shares_one_sync_and_is_answered_in_order() {
    let vfs = FaultVfs::new();
    let config = WalConfig { frame_bytes_max: 16 << 10, queue_bytes_max: 1 << 20, spare_segments: 8, ..config() };
    let wal = open_with(&vfs, config);
    wal.settle();
    let release = hold_writer(&group(&wal, 5));
    let count =
        |op| vfs.past().iter().filter(|past| past.op == op && past.path.ends_with("0000000000000001.wal")).count();
    let (syncs, writes) = (count(Op::Sync), count(Op::Write));
    let order = Arc::new(Mutex::new(Vec::new()));
    for number in 0..40 {
        let order = order.clone();
        let done: Done = Box::new(move |result| {
            result.unwrap();
            order.lock().unwrap().push(number);
        });
        let id = number as u32 % 4;
        let log = group(&wal, id);
        match number / 4 % 5 {
            0 => log.save_vote(text("1"), done),
            1 => log.truncate_after(None, done),
            _ => log.append(entries(id, log.state().last.map_or(0, |(last, _)| last + 1)..number + 1, 1, 10), done),
        }
    }
    drop(release);
    wal.settle();
    assert_eq!((count(Op::Sync) - syncs, count(Op::Write) - writes), (1, 1));
    assert_eq!(*order.lock().unwrap(), (0..40).collect::<Vec<_>>());
}

#[test]
fn a_committed_log_id_alone_causes_no_io_and_is_durable_with_the_next_change_of_any_group() {
    let vfs = FaultVfs::new();
    let wal = open_with(&vfs, config());
    let (one, two) = (group(&wal, 1), group(&wal, 2));
    append(&one, entries(1, 0..1, 1, 1)).unwrap();
    wal.settle();
    let ops = vfs.ops();
    one.save_committed(Some(text("c1")));
    wal.settle();
    assert_eq!(vfs.ops(), ops);
    append(&two, entries(2, 0..1, 1, 1)).unwrap();
    let wal = open(Arc::new(vfs.power_cut(0)), &dir());
    assert_eq!(group(&wal, 1).state().committed, Some(text("c1")));
}

#[test]
fn a_caller_waits_when_the_queue_is_full_and_goes_on_when_the_disk_has_caught_up() {
    let vfs = FaultVfs::new();
    let wal = open_with(&vfs, config());
    wal.settle();
    let log = group(&wal, 1);
    let release = hold_writer(&group(&wal, 2));
    let queued = Arc::new(AtomicBool::new(false));
    let (log_2, queued_2) = (log.clone(), queued.clone());
    let (finished, is_finished) = mpsc::channel();
    let caller = std::thread::spawn(move || {
        for index in 0..100 {
            if index == 10 {
                queued_2.store(true, Ordering::SeqCst);
            }
            log_2.append(entries(1, index..index + 1, 1, 1000), Box::new(|result| result.unwrap()));
        }
        finished.send(()).unwrap();
    });
    let deadline = std::time::Instant::now() + DEADLINE;
    while !queued.load(Ordering::SeqCst) {
        assert!(std::time::Instant::now() < deadline);
        std::thread::yield_now();
    }
    assert!(is_finished.recv_timeout(Duration::from_millis(50)).is_err(), "100 entries were queued in 32 KiB");
    drop(release);
    is_finished.recv_timeout(DEADLINE).expect("the caller goes on");
    caller.join().unwrap();
    assert_eq!(log.read(0..1000).unwrap(), entries(1, 0..100, 1, 1000));
}

#[test]
fn readers_see_every_live_entry_while_segments_are_written_copied_and_deleted() {
    let vfs = FaultVfs::new();
    let wal = open_with(&vfs, WalConfig { compact_segments: 2, tail_bytes_max: 0, ..config() });
    let (quiet, busy) = (group(&wal, 1), group(&wal, 2));
    append(&quiet, entries(1, 0..8, 1, 100)).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let (reader, stopped) = (quiet.clone(), stop.clone());
    let reader = std::thread::spawn(move || {
        let mut reads = 0;
        while !stopped.load(Ordering::SeqCst) {
            assert_eq!(reader.read(0..100).unwrap(), entries(1, 0..8, 1, 100));
            reads += 1;
        }
        reads
    });
    for start in (0..400).step_by(4) {
        append(&busy, entries(2, start..start + 4, 1, 1500)).unwrap();
        assert_eq!(busy.read(start..start + 4).unwrap(), entries(2, start..start + 4, 1, 1500));
        wait(|done| busy.purge(start + 2, text("p"), done)).unwrap();
    }
    wal.settle();
    stop.store(true, Ordering::SeqCst);
    assert!(reader.join().unwrap() > 0);
    let stats = wal.stats();
    assert!(stats.rewritten >= 8 && stats.segments <= 4, "{stats:?}");
}

#[test]
fn a_group_that_fills_the_oldest_segment_is_named_so_that_it_can_be_purged() {
    let vfs = FaultVfs::new();
    let wal = open_with(&vfs, WalConfig { compact_segments: 2, ..config() });
    let (one, two) = (group(&wal, 1), group(&wal, 2));
    append(&one, entries(1, 0..7, 1, 1500)).unwrap();
    assert_eq!(wal.pins(), []);
    for start in (0..40).step_by(5) {
        append(&two, entries(2, start..start + 5, 1, 1500)).unwrap();
    }
    wait(|done| two.purge(39, text("p"), done)).unwrap();
    wal.settle();
    assert_eq!(wal.pins(), [Pin { group: GroupId(1), entries: 7, bytes: 7 * 1500, upto: 6 }]);
    let before = wal.stats().segments;
    wait(|done| one.purge(6, text("p"), done)).unwrap();
    wal.settle();
    assert_eq!(wal.pins(), []);
    assert!(wal.stats().segments < before);
}

#[test]
fn more_groups_than_allowed_are_refused() {
    let wal = open_with(&FaultVfs::new(), config());
    for id in 0..8 {
        wait(|done| group(&wal, id).save_vote(text("v"), done)).unwrap();
    }
    let refused = wait(|done| group(&wal, 8).save_vote(text("v"), done));
    assert!(matches!(refused, Err(Error::TooManyGroups { max: 8 })), "{refused:?}");
    wait(|done| group(&wal, 7).save_vote(text("w"), done)).unwrap();
}

#[test]
fn an_entry_can_be_read_in_portions() {
    let wal = open_with(&FaultVfs::new(), config());
    let log = group(&wal, 1);
    append(&log, entries(1, 3..10, 1, 100)).unwrap();
    assert_eq!(log.read_up_to(0..100, 250).unwrap(), entries(1, 3..5, 1, 100));
    assert_eq!(log.read_up_to(5..100, 1).unwrap(), entries(1, 5..6, 1, 100));
    assert_eq!(log.read_up_to(8..100, 1000).unwrap(), entries(1, 8..10, 1, 100));
}

#[test]
fn the_last_handle_may_be_dropped_by_an_answer() {
    let vfs = FaultVfs::new();
    let wal = open_with(&vfs, config());
    let log = group(&wal, 1);
    let (sender, receiver) = mpsc::channel();
    let kept = Mutex::new(Some(log.clone()));
    let done: Done = Box::new(move |result| {
        drop(kept.lock().unwrap().take());
        sender.send(result).unwrap();
    });
    log.append(entries(1, 0..1, 1, 1), done);
    drop((log, wal));
    receiver.recv_timeout(DEADLINE).expect("the log answers").unwrap();
    let deadline = std::time::Instant::now() + DEADLINE;
    let wal = loop {
        match Wal::open(Arc::new(vfs.clone()), dir(), config()) {
            Ok((wal, _)) => break wal,
            Err(error) => assert!(matches!(error, Error::Locked { .. }) && std::time::Instant::now() < deadline),
        }
    };
    assert_eq!(group(&wal, 1).read(0..9).unwrap(), entries(1, 0..1, 1, 1));
}

#[test]
fn a_log_that_is_hardly_used_has_one_segment_and_gets_more_as_it_fills() {
    let vfs = FaultVfs::new();
    let wal = open_with(&vfs, config());
    let log = group(&wal, 1);
    append(&log, entries(1, 0..1, 1, 2000)).unwrap();
    wal.settle();
    assert_eq!(vfs.used(), config().segment_bytes);
    append(&log, entries(1, 1..3, 1, 2000)).unwrap();
    wal.settle();
    assert_eq!(vfs.used(), 2 * config().segment_bytes);
    append(&log, entries(1, 3..5, 1, 2000)).unwrap();
    wal.settle();
    assert_eq!(vfs.used(), 3 * config().segment_bytes);
}
