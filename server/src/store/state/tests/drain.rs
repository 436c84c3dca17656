//! What changed and what the tree has, seen as one: by readers during drains, after crashes, and within bounds.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::*;

/// Whether a reader in order would have to drain.
fn is_changed(group: &Group) -> bool {
    group.live.read().memtable.is_changed()
}

/// Stops the others when a test ends, also when it fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn readers_see_each_key_once_and_whole_batches_while_it_drains() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, group) = open(dir.path(), true);
    create(&group, 1);
    let keys: Vec<u8> = (0..8).collect();
    let batch = |round: u8| {
        change(&group, 1, |txn, actor| {
            for key in &keys {
                txn.put(actor, record(*key), &[*key], &[round; 40]).unwrap();
            }
            // One comes and goes.
            match round % 2 {
                0 => txn.put(actor, record(9), &[9], &[round]).unwrap(),
                _ => txn.delete(actor, record(9)).unwrap(),
            }
        });
    };
    batch(0);
    let (ended, rounds) = (AtomicBool::new(false), [const { AtomicU32::new(0) }; 3]);
    let names = || {
        let names = group.names(id(1), life(1)).unwrap();
        let ids: Vec<_> = names.iter().map(|(id, _)| *id).filter(|id| *id != record(9)).collect();
        assert_eq!(ids, keys.iter().map(|key| record(*key)).collect::<Vec<_>>());
    };
    let values = || {
        let (_, content) = scan(&group);
        let mut values: Vec<_> = content.iter().filter(|(key, _)| key[0] == 4).collect();
        values.retain(|(key, _)| key[key.len() - 3] != 9);
        assert_eq!(values.len(), keys.len());
        assert!(values.iter().all(|(_, framed)| framed.last() == values[0].1.last()), "half a batch");
    };
    let flush = || {
        group.flush().unwrap();
        assert_eq!(group.value(id(1), life(1), record(3)).unwrap().map(|value| value.len()), Some(40));
    };
    let readers: [&(dyn Fn() + Sync); 3] = [&names, &values, &flush];
    std::thread::scope(|scope| {
        let _ends = Ends(&ended);
        for (read, rounds) in readers.into_iter().zip(&rounds) {
            let ended = &ended;
            scope.spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    read();
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let deadline = Instant::now() + Duration::from_secs(30);
        let all_read = || rounds.iter().all(|rounds| rounds.load(Ordering::Relaxed) >= 20);
        for round in (1..=200u8).cycle() {
            batch(round);
            if all_read() || Instant::now() > deadline {
                break;
            }
        }
        assert!(all_read(), "{rounds:?}");
    });
}

#[test]
fn a_crash_between_a_drain_and_a_flush_loses_what_was_drained_and_nothing_before() {
    let dir = tempfile::tempdir().unwrap();
    let before = {
        let (_store, group) = open(dir.path(), true);
        create(&group, 1);
        put(&group, 1, 7, b"value");
        group.flush().unwrap();
        let before = scan(&group);
        put(&group, 1, 7, b"later");
        put(&group, 1, 8, b"later");
        assert_eq!(group.names(id(1), life(1)).unwrap().len(), 2);
        assert!(!is_changed(&group), "who lists names drains");
        assert!(group.unwritten_bytes() > 0, "what is drained is not written");
        put(&group, 1, 9, b"after the drain");
        before
    };
    let (_store, group) = open(dir.path(), false);
    assert_eq!(scan(&group), before);
}

#[test]
fn overwrites_are_not_drained_by_the_start_of_an_actor() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, group) = open(dir.path(), true);
    (1..=2).for_each(|n| create(&group, n));
    (1..=2).for_each(|n| put(&group, n, 7, b"value"));
    assert_eq!(group.names(id(2), life(2)).unwrap().len(), 1);
    put(&group, 1, 7, b"other");
    assert_eq!(group.names(id(2), life(2)).unwrap().len(), 1);
    assert!(is_changed(&group), "no name changed");
    assert_eq!(group.value(id(1), life(1), record(7)).unwrap(), Some(Bytes::from_static(b"other")));
    put(&group, 1, 8, b"new");
    assert_eq!(group.names(id(1), life(1)).unwrap().len(), 2);
    assert!(!is_changed(&group));
}

#[test]
fn overwriting_one_key_counts_as_unwritten_until_it_is_flushed() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, group) = open(dir.path(), true);
    create(&group, 1);
    let mut puts = 0;
    while group.unwritten_bytes() < 1 << 20 {
        put(&group, 1, 7, b"");
        puts += 1;
        assert!(puts < 10_000, "a restart would apply all of them again");
    }
    group.flush().unwrap();
    assert_eq!(group.unwritten_bytes(), 0);
}

#[test]
fn a_load_clears_what_was_changed_and_kept() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_store_a, from) = open(a.path(), true);
    let (_store_b, to) = open(b.path(), true);
    for group in [&from, &to] {
        create(group, 1);
        put(group, 1, 7, b"value");
    }
    put(&to, 1, 7, b"kept");
    put(&to, 1, 8, b"kept");
    to.flush().unwrap();
    put(&to, 1, 8, b"changed");
    let (mark, content) = scan(&from);
    let loader = Loader::begin(&to).unwrap();
    loader.push(content.clone()).unwrap();
    loader.finish(mark.clone()).unwrap();
    assert_eq!(to.unwritten_bytes(), 0);
    assert_eq!(to.value(id(1), life(1), record(7)).unwrap(), Some(Bytes::from_static(b"value")));
    assert_eq!(to.value(id(1), life(1), record(8)).unwrap(), None);
    assert_eq!(scan(&to), (mark, content));
}

#[test]
fn a_reclaimed_key_can_be_written_again_by_a_later_load_of_the_same_set() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, group) = open(dir.path(), true);
    create(&group, 1);
    put(&group, 1, 7, b"value");
    let saved = scan(&group);
    change(&group, 1, |txn, actor| txn.delete_all(actor));
    assert!(is_changed(&group));
    while group.reclaim().unwrap() {}
    assert_eq!(group.reclaim_backlog(), 0);
    assert_eq!(scan(&group).1.len(), 1, "only the header is left");
    let loader = Loader::begin(&group).unwrap();
    loader.push(saved.1.clone()).unwrap();
    loader.finish(saved.0.clone()).unwrap();
    assert_eq!(group.value(id(1), life(1), record(7)).unwrap(), Some(Bytes::from_static(b"value")));
    assert_eq!(scan(&group), saved);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Where and how often it was drained, flushed, loaded or opened again is not seen, and the digest is the same: that
    /// of a group that was never drained.
    #[test]
    fn drains_flushes_and_restarts_are_not_seen(steps in prop::collection::vec((super::steps(), 0..4u8), 1..6)) {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (mut store, mut group) = open(dir.path(), true);
        let (_other_store, plain) = open(other.path(), true);
        let (mut model, mut same) = (Model::new(), Model::new());
        for n in 0..4 {
            create(&group, n);
            create(&plain, n);
            model.insert(n, BTreeMap::new());
            same.insert(n, BTreeMap::new());
        }
        for (steps, between) in steps {
            for step in &steps {
                apply(&group, &mut model, step);
                if !matches!(step, Step::Flush | Step::Reclaim) {
                    apply(&plain, &mut same, step);
                }
            }
            prop_assert_eq!(group.mark(), plain.mark());
            match between {
                0 => drop(group.names(id(0), life(0)).unwrap()),
                1 => drop(scan(&group)),
                2 => group.flush().unwrap(),
                _ => {
                    drop(group);
                    store.close().unwrap();
                    (store, group) = open(dir.path(), false);
                }
            }
            assert_is(&group, &model);
            prop_assert_eq!(group.mark(), plain.mark());
        }
        prop_assert!(!plain.is_crowded());
        prop_assert_eq!(scan(&group), scan(&plain));
    }
}
