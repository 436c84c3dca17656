//! The state store against a model, under scans, reclaims and loads.

mod drain;
mod restart;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use lethe_proto::ActorId;
use proptest::prelude::*;
use uuid::Uuid;

use super::key::FAMILIES;
use super::*;
use crate::store::{DestroyReason, Header, HeaderOrTombstone, RecordId, Tombstone};

const GROUP: u32 = 3;
const LIFE: u64 = 9;

fn id(n: u8) -> ActorId {
    ActorId([n; 32])
}

fn record(n: u8) -> RecordId {
    RecordId([n; 16])
}

fn life(n: u8) -> Uuid {
    Uuid::from_bytes([n; 16])
}

fn header(n: u8) -> Header {
    Header {
        actor: id(n),
        incarnation: life(n),
        namespace: "script/Class".to_owned(),
        activation: 1,
        seq: 0,
        created_at_ms: 12,
        sealed_name: None,
        records: 0,
        bytes: 0,
    }
}

fn tombstone(n: u8) -> Tombstone {
    Tombstone { actor: id(n), incarnation: Some(life(n)), destroyed_at_ms: 99, reason: DestroyReason::Operator }
}

fn position(index: u64) -> Position {
    Position { index, log_id: Bytes::copy_from_slice(&index.to_le_bytes()) }
}

/// Runs a change of one actor and commits it as the next entry.
fn change(group: &Group, n: u8, change: impl FnOnce(&mut Txn<'_>, &mut Actor)) {
    let index = group.mark().index().unwrap_or(0) + 1;
    let mut txn = group.begin();
    let mut actor = match txn.life(id(n)).unwrap() {
        Some(Life::Live(actor)) => actor,
        other => panic!("{other:?}"),
    };
    change(&mut txn, &mut actor);
    txn.set_actor(actor);
    txn.commit(position(index), None).unwrap();
}

fn create(group: &Group, n: u8) {
    let index = group.mark().index().unwrap_or(0) + 1;
    let mut txn = group.begin();
    txn.set_actor(Actor::new(header(n)));
    txn.commit(position(index), None).unwrap();
}

fn put(group: &Group, n: u8, key: u8, value: &[u8]) {
    change(group, n, |txn, actor| txn.put(actor, record(key), &[key], value).unwrap());
}

fn destroy(group: &Group, n: u8) {
    let index = group.mark().index().unwrap_or(0) + 1;
    let mut txn = group.begin();
    let actor = match txn.life(id(n)).unwrap() {
        Some(Life::Live(actor)) => Some(actor),
        _ => None,
    };
    txn.destroy(actor.as_ref(), tombstone(n));
    txn.commit(position(index), None).unwrap();
}

fn open(dir: &Path, clean: bool) -> (Store, Arc<Group>) {
    let store = Store::open(dir, clean, Config::default());
    let group = store.group(GROUP, LIFE).unwrap();
    (store, group)
}

/// How many keys there are, of whatever kind.
fn keys(group: &Group) -> usize {
    group.settled(&FAMILIES).tree.from(Bound::Unbounded).count()
}

/// Everything a snapshot would hold.
fn scan(group: &Arc<Group>) -> (Mark, Slice) {
    let mut scan = Scan::begin(group).unwrap().unwrap();
    let mut all = Vec::new();
    while let Some(slice) = scan.next_slice().unwrap() {
        all.extend(slice);
    }
    (scan.mark().clone(), all)
}

#[test]
fn small_and_large_values_come_back_and_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, group) = open(dir.path(), true);
    create(&group, 1);
    let sizes = [0, 1, CHUNK_BYTES - 5, CHUNK_BYTES - 4, CHUNK_BYTES - 3, CHUNK_BYTES, 2 * CHUNK_BYTES - 4, 300_000];
    for size in sizes.iter().chain(sizes.iter().rev()) {
        let value: Vec<u8> = (0..*size).map(|i| (i % 251) as u8).collect();
        put(&group, 1, 7, &value);
        assert_eq!(group.value(id(1), life(1), record(7)).unwrap(), Some(Bytes::from(value)), "{size} bytes");
        let Some(HeaderOrTombstone::Header(header)) = group.header(id(1)).unwrap() else { panic!() };
        assert_eq!((header.records, header.bytes), (1, 1 + *size as u64));
    }
    change(&group, 1, |txn, actor| txn.delete(actor, record(7)).unwrap());
    let Some(HeaderOrTombstone::Header(header)) = group.header(id(1)).unwrap() else { panic!() };
    assert_eq!((header.records, header.bytes), (0, 0));
    assert_eq!(group.value(id(1), life(1), record(7)).unwrap(), None);
    assert_eq!(scan(&group).1.len(), 1, "only the header is left");
}

#[test]
fn records_of_another_incarnation_are_not_seen() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, group) = open(dir.path(), true);
    create(&group, 1);
    put(&group, 1, 7, b"value");
    assert_eq!(group.value(id(1), life(2), record(7)).unwrap(), None);
    assert_eq!(group.names(id(1), life(2)).unwrap(), vec![]);
}

#[test]
fn destroyed_and_deleted_records_are_gone_at_once_and_reclaimed_in_steps() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, group) = open(dir.path(), true);
    create(&group, 1);
    create(&group, 2);
    for actor in [1, 2] {
        change(&group, actor, |txn, actor| {
            for key in 0..=255u8 {
                for high in 0..4 {
                    let mut id = [key; 16];
                    id[0] = high;
                    txn.put(actor, RecordId(id), b"name", b"value").unwrap();
                }
            }
        });
    }
    change(&group, 1, |txn, actor| {
        txn.delete_all(actor);
        txn.put(actor, record(9), b"after", b"new").unwrap();
    });
    destroy(&group, 2);
    assert_eq!(group.names(id(1), life(1)).unwrap(), vec![(record(9), Bytes::from_static(b"after"))]);
    assert_eq!(group.names(id(2), life(2)).unwrap(), vec![]);
    assert_eq!(group.reclaim_backlog(), 2);
    let (mark, before) = scan(&group);
    let mut steps = 0;
    while group.reclaim().unwrap() {
        steps += 1;
    }
    assert!(steps > 4, "2 * 2048 keys went in {steps} steps");
    assert_eq!(group.reclaim_backlog(), 0);
    assert_eq!(scan(&group), (mark, before), "a snapshot does not show what is to be reclaimed");
    assert_eq!(keys(&group), 4, "header, name, value, tombstone");
}

#[test]
fn actors_are_listed_in_order_in_pages() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, group) = open(dir.path(), true);
    for n in [5, 1, 4, 2, 3] {
        create(&group, n);
    }
    destroy(&group, 2);
    destroy(&group, 6);
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = group.actors(after, 2).unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.actor());
        seen.extend(page.iter().map(|entry| (entry.actor(), matches!(entry, HeaderOrTombstone::Header(_)))));
    }
    let expected = [(1, true), (2, false), (3, true), (4, true), (5, true), (6, false)];
    assert_eq!(seen, expected.map(|(n, lives)| (id(n), lives)));
}

#[test]
fn overwritten_values_do_not_stay_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, group) = open(dir.path(), true);
    create(&group, 1);
    for round in 0..40 {
        for key in 0..16 {
            put(&group, 1, key, &[round; CHUNK_BYTES / 2]);
        }
        group.flush().unwrap();
    }
    let live = 16 * CHUNK_BYTES as u64 / 2;
    assert!(group.disk_bytes() < 8 * live, "{} bytes for {live}", group.disk_bytes());
}

#[test]
fn a_wiped_group_is_empty_and_its_neighbours_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let (store, group) = open(dir.path(), true);
    let neighbour = store.group(GROUP + 1, LIFE).unwrap();
    for group in [&group, &neighbour] {
        create(group, 1);
        put(group, 1, 7, &[1; 100_000]);
    }
    drop(group);
    store.wipe(GROUP).unwrap();
    assert_eq!(store.group(GROUP, LIFE).unwrap().mark(), Mark::default());
    assert_eq!(neighbour.value(id(1), life(1), record(7)).unwrap().unwrap().len(), 100_000);
}

#[test]
fn a_load_replaces_everything_and_one_that_does_not_fit_its_digest_changes_nothing() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_store_a, from) = open(a.path(), true);
    let (store_b, to) = open(b.path(), true);
    create(&from, 1);
    put(&from, 1, 7, b"value");
    create(&to, 2);
    let (mark, content) = scan(&from);
    let before = scan(&to);

    let short = Loader::begin(&to).unwrap();
    short.push(content[..content.len() - 1].to_vec()).unwrap();
    short.finish(mark.clone()).unwrap_err();
    assert_eq!(scan(&to), before);

    let loader = Loader::begin(&to).unwrap();
    loader.push(content.clone()).unwrap();
    loader.finish(mark.clone()).unwrap();
    assert_eq!(scan(&to), (mark.clone(), content.clone()));
    assert_eq!(to.header(id(2)).unwrap(), None);

    drop(to);
    store_b.close().unwrap();
    let (_store_b, to) = open(b.path(), false);
    assert_eq!(scan(&to), (mark, content));
}

fn register(group: &Group, name: &[u8], value: &[u8]) {
    let index = group.mark().index().unwrap_or(0) + 1;
    let mut txn = group.begin();
    txn.registry_put(name, index, value).unwrap();
    txn.registry_advance(index).unwrap();
    txn.commit(position(index), None).unwrap();
}

#[test]
fn a_registry_has_room_for_so_many_bytes_and_gets_it_back() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, group) = open(dir.path(), true);
    register(&group, b"name", &[7; 40_000]);
    register(&group, b"name", &[7; 996]);
    let mut txn = group.begin();
    assert!(txn.registry_has_room(REGISTRY_BYTES_MAX - 1000).unwrap());
    assert!(!txn.registry_has_room(REGISTRY_BYTES_MAX - 999).unwrap());
    txn.registry_delete(b"name").unwrap();
    assert!(txn.registry_has_room(REGISTRY_BYTES_MAX).unwrap());
    assert!(!txn.registry_has_room(u64::MAX).unwrap());
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8, usize),
    Delete(u8, u8),
    DeleteAll(u8),
    Destroy(u8),
    Reclaim,
    Flush,
    Slice,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..4u8, 0..12u8, 0..40_000usize).prop_map(|(a, r, size)| Step::Put(a, r, size)),
        2 => (0..4u8, 0..12u8).prop_map(|(a, r)| Step::Delete(a, r)),
        1 => (0..4u8).prop_map(Step::DeleteAll),
        1 => (0..8u8).prop_map(Step::Destroy),
        1 => Just(Step::Reclaim),
        2 => Just(Step::Flush),
        2 => Just(Step::Slice),
    ];
    prop::collection::vec(step, 1..60)
}

type Model = BTreeMap<u8, BTreeMap<u8, Vec<u8>>>;

fn assert_is(group: &Group, model: &Model) {
    for n in 0..4 {
        let names = group.names(id(n), life(n)).unwrap();
        let records = model.get(&n).cloned().unwrap_or_default();
        let ids: Vec<_> = records.keys().map(|key| (record(*key), Bytes::copy_from_slice(&[*key]))).collect();
        assert_eq!(names, ids);
        for (key, value) in &records {
            let stored = group.value(id(n), life(n), record(*key)).unwrap();
            assert_eq!(stored.as_deref(), Some(&value[..]));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// A scan that runs among the steps shows the state at its beginning; loaded elsewhere it is that state.
    #[test]
    fn group_is_a_map_of_maps_and_a_scan_shows_one_position(before in steps(), during in steps()) {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (store, group) = open(dir.path(), true);
        let mut model = Model::new();
        for n in 0..4 {
            create(&group, n);
            model.insert(n, BTreeMap::new());
        }
        for step in &before {
            apply(&group, &mut model, step);
        }
        let at_scan = model.clone();
        let mut running = Scan::begin(&group).unwrap().unwrap();
        let mut content = Vec::new();
        for step in &during {
            match step {
                Step::Slice => content.extend(running.next_slice().unwrap().unwrap_or_default()),
                step => apply(&group, &mut model, step),
            }
        }
        while let Some(slice) = running.next_slice().unwrap() {
            content.extend(slice);
        }
        let mark = running.mark().clone();
        drop(running);
        assert_is(&group, &model);

        let (_other_store, copy) = open(other.path(), true);
        let loader = Loader::begin(&copy).unwrap();
        loader.push(content).unwrap();
        loader.finish(mark).unwrap();
        assert_is(&copy, &at_scan);

        let now = group.mark();
        drop(group);
        store.close().unwrap();
        let (_store, group) = open(dir.path(), false);
        prop_assert_eq!(group.mark(), now);
        assert_is(&group, &model);
    }
}

fn apply(group: &Group, model: &mut Model, step: &Step) {
    match step {
        Step::Put(n, key, size) => {
            let Some(records) = model.get_mut(n) else { return };
            let value = vec![*key ^ *size as u8; *size];
            put(group, *n, *key, &value);
            records.insert(*key, value);
        }
        Step::Delete(n, key) => {
            let Some(records) = model.get_mut(n) else { return };
            change(group, *n, |txn, actor| txn.delete(actor, record(*key)).unwrap());
            records.remove(key);
        }
        Step::DeleteAll(n) => {
            let Some(records) = model.get_mut(n) else { return };
            change(group, *n, |txn, actor| txn.delete_all(actor));
            records.clear();
        }
        Step::Destroy(n) => {
            destroy(group, *n);
            model.remove(n);
        }
        Step::Reclaim => drop(group.reclaim().unwrap()),
        Step::Flush => group.flush().unwrap(),
        Step::Slice => {}
    }
}
