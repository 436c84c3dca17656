//! The key table on a disk that loses power and fails: an acknowledged key is never lost, an erased one never comes back.

use std::collections::BTreeMap;

use super::*;
use crate::store::vfs::{
    FaultVfs,
    fault::{EIO, Effect, Fault, Op, Random},
};

const SEEDS: u64 = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// Its `insert` was not answered.
    Maybe,
    /// It was acknowledged and nobody tried to erase it.
    There,
    /// Its `erase` was not answered.
    MaybeErased,
    /// Its `erase` was acknowledged.
    Gone,
}

/// Every key that was ever made, and what must be true of it.
type Keys = BTreeMap<u8, (DataKey, Known)>;

fn dir() -> &'static Path {
    Path::new("/vault")
}

fn open(vfs: &FaultVfs) -> Result<KeyTable, Error> {
    KeyTable::open(Arc::new(vfs.clone()), dir(), TableConfig { slots_max: 64, ..config() })
}

/// Inserts and erases keys of a few actors until something fails.
fn script(vfs: &FaultVfs, seed: u64) -> Keys {
    let mut random = Random::new(seed);
    let mut keys = Keys::new();
    let Ok(table) = open(vfs) else { return keys };
    for number in 0..24 {
        let key = DataKey::generate().unwrap();
        keys.insert(number, (key.clone(), Known::Maybe));
        if table.insert(owner(number), &key).is_err() {
            break;
        }
        keys.entry(number).and_modify(|(_, known)| *known = Known::There);
        let victim = random.below(u64::from(number) + 1) as u8;
        if random.percent(40) && keys[&victim].1 == Known::There {
            keys.entry(victim).and_modify(|(_, known)| *known = Known::MaybeErased);
            match table.erase(owner(victim)) {
                Ok(existed) => assert!(existed),
                Err(_) => break,
            }
            keys.entry(victim).and_modify(|(_, known)| *known = Known::Gone);
        }
    }
    keys
}

fn check(vfs: &FaultVfs, keys: &Keys, what: &str) {
    let table = open(vfs).unwrap_or_else(|error| panic!("{what}: {error}"));
    let raw = vfs.contents(&dir().join("keys.table"));
    for (number, (key, known)) in keys {
        let found = table.get(owner(*number)).unwrap_or_else(|error| panic!("{what}, key {number}: {error}"));
        let is_raw = raw.windows(32).any(|window| window == key.bytes());
        match known {
            Known::There => assert_eq!(found.as_ref(), Some(key), "{what}: key {number} was acknowledged"),
            Known::Gone => assert!(found.is_none() && !is_raw, "{what}: key {number} was erased"),
            Known::Maybe | Known::MaybeErased => {
                assert!(found.is_none() || found.as_ref() == Some(key), "{what}: key {number} is another key");
            }
        }
    }
    let next = DataKey::generate().unwrap();
    table.insert(owner(200), &next).unwrap_or_else(|error| panic!("{what}, going on: {error}"));
    assert_eq!(table.get(owner(200)).unwrap(), Some(next));
}

#[test]
fn a_power_cut_at_any_io_loses_no_acknowledged_key_and_brings_no_erased_one_back() {
    for seed in 0..4 {
        println!("script {seed}");
        let mut cuts = 0;
        for cut in 1.. {
            let vfs = FaultVfs::new();
            vfs.cut_at(cut);
            let keys = script(&vfs, seed);
            if !vfs.is_off() {
                assert!(keys.values().any(|(_, known)| *known == Known::Gone));
                break;
            }
            cuts += 1;
            for remains in cut * SEEDS..(cut + 1) * SEEDS {
                check(&vfs.power_cut(remains), &keys, &format!("cut at {cut}, seed {remains}"));
            }
        }
        assert!(cuts > 60, "the script has only {cuts} I/Os");
    }
}

#[test]
fn a_power_cut_while_opening_after_a_process_crash_loses_nothing_either() {
    for cut in (10..70).step_by(3) {
        let vfs = FaultVfs::new();
        vfs.cut_at(cut);
        let keys = script(&vfs, 9);
        let crashed = vfs.process_crash();
        let seen: Vec<_> = open(&crashed).unwrap().iter();
        for remains in cut * SEEDS..(cut + 1) * SEEDS {
            let after = crashed.power_cut(remains);
            check(&after, &keys, &format!("crash at {cut}, seed {remains}"));
            let still = open(&after).unwrap();
            for owner in &seen {
                assert!(still.get(*owner).unwrap().is_some(), "a key that was seen is gone");
            }
        }
    }
}

#[test]
fn a_failed_sync_ends_writing_but_not_reading() {
    let vfs = FaultVfs::new();
    let table = open(&vfs).unwrap();
    let key = DataKey::generate().unwrap();
    table.insert(owner(1), &key).unwrap();
    for op in [Op::Sync, Op::Write] {
        vfs.inject(Fault { op, path: "keys".into(), skip: 0, times: 1, effect: Effect::Error(EIO) });
    }
    assert!(matches!(table.insert(owner(2), &key), Err(Error::Io { .. })));
    vfs.heal();
    assert!(matches!(table.insert(owner(3), &key), Err(Error::Failed(_))));
    assert!(matches!(table.erase(owner(1)), Err(Error::Failed(_))));
    assert_eq!(table.get(owner(1)).unwrap(), Some(key));
}

#[test]
fn an_erasure_that_does_not_read_back_as_zeros_is_an_error() {
    let vfs = FaultVfs::new();
    let table = open(&vfs).unwrap();
    table.insert(owner(1), &DataKey::generate().unwrap()).unwrap();
    vfs.inject(Fault { op: Op::Read, path: "keys".into(), skip: 0, times: 1, effect: Effect::Error(EIO) });
    assert!(matches!(table.erase(owner(1)), Err(Error::Io { action: "read back", .. })));
}

#[test]
fn a_full_disk_refuses_a_new_extent_and_changes_nothing() {
    let vfs = FaultVfs::new();
    let table = open(&vfs).unwrap();
    for number in 0..4 {
        table.insert(owner(number), &DataKey::generate().unwrap()).unwrap();
    }
    vfs.set_capacity(Some(vfs.used() + 100));
    let key = DataKey::generate().unwrap();
    assert!(matches!(table.insert(owner(4), &key), Err(Error::NoSpace { .. })));
    assert!(table.erase(owner(0)).unwrap());
    table.insert(owner(4), &key).unwrap();
    vfs.set_capacity(None);
    table.insert(owner(5), &key).unwrap();
    drop(table);
    assert_eq!(open(&vfs).unwrap().iter().len(), 5);
}

#[test]
fn many_threads_insert_and_erase_at_once() {
    let vfs = FaultVfs::new();
    let table = open(&vfs).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let table = &table;
            scope.spawn(move || {
                for number in 0..8 {
                    let owner = owner(thread * 8 + number);
                    let key = DataKey::generate().unwrap();
                    table.insert(owner, &key).unwrap();
                    assert_eq!(table.get(owner).unwrap(), Some(key));
                    assert!(number % 2 == 0 || table.erase(owner).unwrap());
                }
            });
        }
    });
    drop(table);
    assert_eq!(open(&vfs.power_cut(1)).unwrap().iter().len(), 24);
}
