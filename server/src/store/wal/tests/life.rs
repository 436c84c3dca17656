//! Groups that are created, destroyed and created again, and everybody who did not hear of it.

use super::{
    model::{Step, dir, script},
    *,
};
use crate::store::vfs::FaultVfs;

fn create(wal: &Wal, id: u32, incarnation: u64) -> Result<GroupLog, Error> {
    let (done, answer) = done();
    let log = wal.create(GroupId(id), incarnation, done);
    answer.recv_timeout(DEADLINE).expect("the log answers").map(|()| log)
}

fn destroy(wal: &Wal, id: u32, incarnation: u64) -> Result<(), Error> {
    wait(|done| wal.destroy(GroupId(id), incarnation, done))
}

fn life(wal: &Wal, id: u32) -> Option<Life> {
    wal.groups().get(&GroupId(id)).copied()
}

fn reopen(vfs: &FaultVfs) -> Wal {
    open(Arc::new(vfs.clone()), &dir())
}

#[test]
fn a_created_group_is_there_before_anything_is_written_to_it_and_a_destroyed_one_stays_destroyed() {
    let vfs = FaultVfs::new();
    let wal = reopen(&vfs);
    assert_eq!(wal.groups().len(), 0);
    create(&wal, 1, 7).unwrap();
    create(&wal, 2, 0).unwrap();
    destroy(&wal, 3, 5).unwrap();
    let wal = reopen(&vfs.power_cut(1));
    let expected = [(1, Life::Lives(7)), (2, Life::Lives(0)), (3, Life::Destroyed(5))];
    assert_eq!(wal.groups().into_iter().map(|(id, life)| (id.0, life)).collect::<Vec<_>>(), expected);
    assert_eq!(group(&wal, 1).incarnation(), 7);
}

#[test]
fn only_a_higher_incarnation_follows_a_destroyed_one() {
    let vfs = FaultVfs::new();
    let wal = reopen(&vfs);
    let log = create(&wal, 1, 7).unwrap();
    append(&log, entries(1, 0..3, 1, 10)).unwrap();
    create(&wal, 1, 7).unwrap();
    assert_eq!(log.read(0..9).unwrap().len(), 3, "a repeated creation changes nothing");
    for other in [6, 8] {
        let error = create(&wal, 1, other).unwrap_err();
        assert!(matches!(error, Error::Life { life: Life::Lives(7), .. }), "{error}");
    }
    assert!(matches!(destroy(&wal, 1, 6).unwrap_err(), Error::Life { life: Life::Lives(7), .. }));
    assert_eq!(log.read(0..9).unwrap().len(), 3, "an older life was meant");

    destroy(&wal, 1, 7).unwrap();
    destroy(&wal, 1, 7).unwrap();
    destroy(&wal, 1, 3).unwrap();
    assert_eq!(life(&wal, 1), Some(Life::Destroyed(7)));
    for other in [0, 6, 7] {
        assert!(matches!(create(&wal, 1, other).unwrap_err(), Error::Life { life: Life::Destroyed(7), .. }));
    }
    destroy(&wal, 1, 9).unwrap();
    assert!(create(&wal, 1, 9).is_err());
    let log = create(&wal, 1, 10).unwrap();
    assert_eq!(log.read(0..9).unwrap(), []);
    wal.close();
    assert_eq!(life(&reopen(&vfs), 1), Some(Life::Lives(10)));
}

#[test]
fn a_group_that_was_never_created_counts_as_incarnation_zero() {
    let vfs = FaultVfs::new();
    let wal = reopen(&vfs);
    append(&group(&wal, 1), entries(1, 0..3, 1, 10)).unwrap();
    assert_eq!(life(&wal, 1), Some(Life::Implied));
    assert!(create(&wal, 1, 4).is_err());
    destroy(&wal, 1, 0).unwrap();
    assert!(create(&wal, 1, 0).is_err());
    create(&wal, 1, 1).unwrap();
}

#[test]
fn handles_of_a_destroyed_life_change_and_read_nothing_of_the_next() {
    let vfs = FaultVfs::new();
    let wal = reopen(&vfs);
    let old = create(&wal, 1, 1).unwrap();
    append(&old, entries(1, 0..3, 1, 10)).unwrap();
    wait(|done| old.save_vote(text("9"), done)).unwrap();
    old.save_committed(Some(text("old")));
    wait(|done| old.destroy(done)).unwrap();
    for is_reborn in [false, true] {
        if is_reborn {
            let new = create(&wal, 1, 2).unwrap();
            append(&new, entries(1, 5..8, 1, 10)).unwrap();
        }
        let refused = [
            append(&old, entries(1, 3..4, 1, 10)),
            append(&old, entries(1, 8..9, 1, 10)),
            wait(|done| old.save_vote(text("9"), done)),
            wait(|done| old.truncate_after(None, done)),
            wait(|done| old.purge(2, text("p"), done)),
        ];
        old.save_committed(Some(text("late")));
        for result in refused {
            assert!(matches!(result, Err(Error::Life { incarnation: 1, .. })), "{result:?}");
        }
        assert_eq!(old.state(), Default::default());
        assert_eq!(old.read(0..99).unwrap(), []);
    }
    append(&group(&wal, 2), entries(2, 0..1, 1, 10)).unwrap();
    let wal = reopen(&vfs.power_cut(3));
    let state = group(&wal, 1).state();
    assert_eq!((state.life, state.vote, state.committed), (Life::Lives(2), None, None));
    assert_eq!(group(&wal, 1).read(0..99).unwrap(), entries(1, 5..8, 1, 10));
}

#[test]
fn entries_of_a_destroyed_group_keep_no_segment_and_its_tombstone_outlives_them() {
    let vfs = FaultVfs::new();
    let wal = reopen(&vfs);
    let (cold, hot) = (create(&wal, 1, 3).unwrap(), group(&wal, 2));
    append(&cold, entries(1, 0..8, 1, 1000)).unwrap();
    for start in (0..200).step_by(4) {
        append(&hot, entries(2, start..start + 4, 1, 1500)).unwrap();
        wait(|done| hot.purge(start + 3, text("p"), done)).unwrap();
    }
    wal.settle();
    let pinned = wal.stats().segments;
    assert!(pinned > 10, "the cold group keeps {pinned} segments");
    destroy(&wal, 1, 3).unwrap();
    wal.settle();
    assert!(wal.stats().segments <= 2, "{:?}", wal.stats());
    wal.close();
    let wal = reopen(&vfs);
    assert_eq!(life(&wal, 1), Some(Life::Destroyed(3)));
}

#[test]
fn destroyed_groups_count_as_groups_once_however_often_they_came_and_went() {
    let vfs = FaultVfs::new();
    let wal = reopen(&vfs);
    let max = config().groups_max;
    for round in 1..20 {
        for id in 0..max {
            create(&wal, id, round).unwrap();
            destroy(&wal, id, round).unwrap();
        }
    }
    assert!(matches!(create(&wal, max, 1).unwrap_err(), Error::TooManyGroups { .. }));
    assert_eq!(wal.groups().len(), max as usize, "a refused group takes no place");
    create(&wal, 0, 20).unwrap();
}

#[test]
fn a_power_cut_at_any_io_neither_revives_a_group_nor_loses_a_later_life() {
    let mut steps = Vec::new();
    for round in 0..6 {
        steps.push(Step::Append { group: 1, count: 5, term_step: 0, bytes: 900 });
        steps.push(Step::Append { group: 2, count: 3, term_step: 0, bytes: 300 });
        steps.push(Step::Vote { group: 1 });
        steps.push(Step::Committed { group: 1 });
        steps.push(Step::Destroy { group: 1 });
        steps.push(Step::Create { group: 1 });
        steps.extend(script(40 + round, 6));
        steps.push(Step::Settle);
    }
    for window in [0, 5] {
        super::power::cut_everywhere(&WalConfig { compact_segments: 2, ..config() }, &steps, window);
    }
}
