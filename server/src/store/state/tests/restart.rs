//! What is there after a restart: clean, after a crash, and with damage.

use super::*;
use crate::store::state::memtable::Memtable;
use crate::store::state::tree::Tree;

/// The first key of a family, and its framed value.
fn first(tree: &Tree, family: u8) -> (Vec<u8>, Vec<u8>) {
    let (key, value) = tree.prefix(&[family]).next().unwrap().unwrap();
    (key.to_vec(), value.to_vec())
}

#[test]
fn a_reclaim_that_was_cut_short_goes_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (store, group) = open(dir.path(), true);
        create(&group, 1);
        change(&group, 1, |txn, actor| {
            for key in 0..=255u8 {
                let mut id = [key; 16];
                id[0] = 1;
                txn.put(actor, RecordId(id), b"name", &[0; CHUNK_BYTES + 1]).unwrap();
            }
        });
        destroy(&group, 1);
        assert!(group.reclaim().unwrap());
        drop(group);
        store.close().unwrap();
    }
    let (_store, group) = open(dir.path(), false);
    assert_eq!(group.reclaim_backlog(), 1);
    while group.reclaim().unwrap() {}
    assert_eq!(keys(&group), 2, "mark and tombstone");
}

#[test]
fn state_survives_a_clean_stop_and_is_checked_after_any_other() {
    let dir = tempfile::tempdir().unwrap();
    let mark = {
        let (store, group) = open(dir.path(), true);
        create(&group, 1);
        put(&group, 1, 7, b"value");
        let mark = group.mark();
        drop(group);
        store.close().unwrap();
        mark
    };
    for clean in [true, false] {
        let (store, group) = open(dir.path(), clean);
        assert_eq!(group.mark(), mark);
        assert_eq!(group.value(id(1), life(1), record(7)).unwrap(), Some(Bytes::from_static(b"value")));
        drop(group);
        store.close().unwrap();
    }
}

#[test]
fn after_a_crash_a_group_is_what_it_was_when_it_was_last_written_out() {
    let dir = tempfile::tempdir().unwrap();
    let mark = {
        let (_store, group) = open(dir.path(), true);
        create(&group, 1);
        put(&group, 1, 7, b"value");
        group.flush().unwrap();
        let mark = group.mark();
        put(&group, 1, 7, b"later");
        put(&group, 1, 8, b"later");
        assert!(group.unwritten_bytes() > 0);
        mark
    };
    let (_store, group) = open(dir.path(), false);
    assert_eq!(group.mark(), mark);
    assert_eq!(group.names(id(1), life(1)).unwrap(), vec![(record(7), Bytes::copy_from_slice(&[7]))]);
    assert_eq!(group.value(id(1), life(1), record(7)).unwrap(), Some(Bytes::from_static(b"value")));
}

#[test]
fn entries_that_change_nothing_count_as_applied_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (store, group) = open(dir.path(), true);
        create(&group, 1);
        group.flush().unwrap();
        group.begin().commit(position(9), Some(Bytes::from_static(b"members"))).unwrap();
        drop(group);
        store.close().unwrap();
    }
    let (_store, group) = open(dir.path(), false);
    assert_eq!((group.mark().index(), group.mark().membership), (Some(9), Bytes::from_static(b"members")));
}

#[test]
fn what_could_not_be_written_out_is_still_there_and_written_out_later() {
    let dir = tempfile::tempdir().unwrap();
    let (store, group) = open(dir.path(), true);
    create(&group, 1);
    let tree = std::fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
    let away = dir.path().join("away");
    std::fs::rename(&tree, &away).unwrap();
    group.flush().unwrap_err();
    put(&group, 1, 7, b"value");
    // Its files can be written, but not the list of them: a directory has that name.
    std::fs::create_dir_all(tree.join("tables")).unwrap();
    (0..9).for_each(|n| std::fs::create_dir(tree.join(format!("v{n}"))).unwrap());
    group.flush().unwrap_err();
    assert_eq!(std::fs::read_dir(tree.join("tables")).unwrap().count(), 0, "nothing that was begun is left");
    std::fs::remove_dir_all(&tree).unwrap();
    assert_eq!(group.value(id(1), life(1), record(7)).unwrap(), Some(Bytes::from_static(b"value")));
    std::fs::rename(&away, &tree).unwrap();
    group.flush().unwrap();
    let mark = group.mark();
    drop((store, group));
    let (_store, group) = open(dir.path(), false);
    assert_eq!(group.mark(), mark);
    assert_eq!(group.value(id(1), life(1), record(7)).unwrap(), Some(Bytes::from_static(b"value")));
}

#[test]
fn a_lost_record_a_changed_one_and_a_lost_header_are_noticed_after_an_unclean_stop() {
    type Damage = fn(&Tree);
    let damages: [Damage; 3] = [
        |tree| tree.apply([(first(tree, 4).0, None)]),
        |tree| {
            let (key, mut value) = first(tree, 3);
            *value.last_mut().unwrap() ^= 1;
            tree.apply([(key, Some(value.into()))]);
        },
        |tree| tree.apply([(first(tree, 1).0, None)]),
    ];
    for (n, damage) in damages.iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let (store, group) = open(dir.path(), true);
        create(&group, 1);
        put(&group, 1, 7, b"value");
        damage(&group.settled(&FAMILIES).tree);
        drop(group);
        store.close().unwrap();
        let (_store, group) = open(dir.path(), false);
        assert_eq!(group.mark(), Mark::default(), "damage {n}");
        assert_eq!(group.header(id(1)).unwrap(), None, "damage {n}");
    }
}

#[test]
fn records_of_the_destroyed_are_left_out_of_the_check_wherever_they_stand() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (store, group) = open(dir.path(), true);
        for n in 1..=5 {
            create(&group, n);
            (0..n).for_each(|key| put(&group, n, key, b"value"));
        }
        [1, 3, 5].iter().for_each(|n| destroy(&group, *n));
        change(&group, 4, |txn, actor| txn.delete_all(actor));
        put(&group, 4, 9, b"after");
        drop(group);
        store.close().unwrap();
    }
    let (_store, group) = open(dir.path(), false);
    assert_eq!(group.reclaim_backlog(), 4);
    assert_eq!(group.value(id(2), life(2), record(1)).unwrap(), Some(Bytes::from_static(b"value")));
    assert_eq!(group.value(id(4), life(4), record(9)).unwrap(), Some(Bytes::from_static(b"after")));
}

#[test]
fn a_damaged_value_is_an_error_and_never_another_value() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, group) = open(dir.path(), true);
    create(&group, 1);
    put(&group, 1, 7, b"value");
    group.flush().unwrap();
    group.live.write().memtable = Memtable::default();
    let tree = group.live.read().tree.clone();
    let (key, mut value) = first(&tree, 4);
    *value.last_mut().unwrap() ^= 1;
    tree.apply([(key, Some(value.into()))]);
    let error = group.value(id(1), life(1), record(7)).unwrap_err();
    assert_eq!(error.to_string(), "state of group 3 is damaged: a value does not fit its checksum");
}

#[test]
fn the_state_of_another_incarnation_is_dropped_even_if_it_was_removed_in_vain() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (store, group) = open(dir.path(), true);
        create(&group, 1);
        drop(group);
        store.close().unwrap();
    }
    let store = Store::open(dir.path(), true, Config::default());
    let next = store.group(GROUP, LIFE + 1).unwrap();
    assert_eq!(next.mark(), Mark::default());
    create(&next, 2);
    let (mark, content) = scan(&next);
    let loader = Loader::begin(&next).unwrap();
    loader.push(content.clone()).unwrap();
    loader.finish(mark.clone()).unwrap();
    drop(next);
    let next = store.group(GROUP, LIFE + 1).unwrap();
    assert_eq!(scan(&next), (mark, content), "its own state is kept, also when it was replaced as a whole");
    drop(next);
    assert_eq!(store.group(GROUP, LIFE).unwrap().mark(), Mark::default(), "the first one is gone for good");
}

#[test]
fn a_directory_that_cannot_be_opened_is_wiped() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (store, group) = open(dir.path(), true);
        create(&group, 1);
        drop(group);
        store.close().unwrap();
    }
    let tree = std::fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
    for file in std::fs::read_dir(tree).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            std::fs::write(path, [0x5a; 4096]).unwrap();
        }
    }
    let (_store, group) = open(dir.path(), true);
    assert_eq!(group.mark(), Mark::default());
    create(&group, 1);
    assert_eq!(group.mark().index(), Some(1));
}

#[test]
fn a_load_that_was_cut_short_leaves_the_old_content() {
    let dir = tempfile::tempdir().unwrap();
    let before = {
        let (store, group) = open(dir.path(), true);
        create(&group, 1);
        let before = scan(&group);
        let loader = Loader::begin(&group).unwrap();
        loader.push(before.1.clone()).unwrap();
        drop((loader, group));
        store.close().unwrap();
        before
    };
    let (_store, group) = open(dir.path(), true);
    assert_eq!(scan(&group), before);
}

#[test]
fn damage_of_the_registry_is_noticed_after_an_unclean_stop() {
    for family in [8u8, 9, 10] {
        for lost in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let (store, group) = open(dir.path(), true);
            register(&group, b"name", &[7; 40_000]);
            let tree = group.settled(&FAMILIES).tree.clone();
            let (key, mut value) = first(&tree, family);
            match lost {
                true => tree.apply([(key, None)]),
                false => {
                    *value.last_mut().unwrap() ^= 1;
                    tree.apply([(key, Some(value.into()))]);
                }
            }
            drop((tree, group));
            store.close().unwrap();
            let (_store, group) = open(dir.path(), false);
            assert_eq!(group.mark(), Mark::default(), "family {family}, lost: {lost}");
            assert_eq!(group.registry_get(b"name").unwrap(), None);
        }
    }
}
