//! The registry against a `BTreeMap`: the same rules, whatever the log holds, across batches, restarts and snapshots.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::EntryPayload;
use proptest::prelude::*;

use super::world::*;
use crate::shard::machine::Machine;
use crate::shard::types::{Entry, Leader, LogId, Proposal};
use crate::shard::{Applied, Command, Expect, NodeId, REGISTER_OPS_MAX, RegistryLimit, RegistryOp, Rejection, codec};
use crate::store::snapshot;
use crate::store::state::{self, Group, Loader, NAME_BYTES_MAX, RegistryEntry, Scan, Store, VALUE_BYTES_MAX};
use crate::store::vfs::StdVfs;

fn open(dir: &Path, clean: bool) -> (Store, Machine) {
    let store = Store::open(&dir.join("state"), clean, state::Config::default());
    let group = store.group(0, 1).unwrap();
    let snapshots = snapshot::Dir::open(Arc::new(StdVfs), &dir.join("snapshots")).unwrap();
    let wait = Duration::from_secs(60);
    (store, Machine::new(NodeId::from(1), group, snapshots, Arc::new(Erased::default()), None, wait))
}

/// Applies commands as the next entries, in one batch.
fn apply(machine: &Machine, commands: &[Command]) -> Vec<Applied> {
    let first = machine.group().mark().index().unwrap_or(0) + 1;
    let entry = |(index, command): (u64, &Command)| Entry {
        log_id: LogId::new(Leader { term: 1, node_id: NodeId::from(1) }, index),
        payload: EntryPayload::Normal(Proposal { bytes: codec::encode_command(command) }),
    };
    let entries = (first..).zip(commands).map(entry).collect();
    machine.apply_batch(entries).unwrap().into_iter().flat_map(|outcome| outcome.0).collect()
}

fn key(n: u8) -> Bytes {
    // Names that are prefixes of each other, some long, some with zeros.
    match n % 4 {
        0 => Bytes::from(vec![n + 1]),
        1 => Bytes::from(vec![n, n]),
        2 => Bytes::from(vec![n; NAME_BYTES_MAX]),
        _ => Bytes::from(vec![n, 0, n]),
    }
}

fn put(key: Bytes, value: &[u8]) -> RegistryOp {
    RegistryOp::Put { key, value: Bytes::copy_from_slice(value) }
}

fn register(ops: Vec<RegistryOp>) -> Command {
    Command::Register { expect: Vec::new(), ops }
}

#[derive(Clone, Debug)]
enum Step {
    /// What to expect of which key (0: that it is missing, 1: what it is, 2: an old revision), and what to do.
    Register(Vec<(u8, u8)>, Vec<(u8, Option<usize>)>),
    /// Closes the batch.
    Cut,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let expect = prop::collection::vec((0..6u8, prop_oneof![1 => Just(0u8), 6 => Just(1), 1 => Just(2)]), 0..3);
    let size = prop_oneof![3 => 0..40usize, 2 => 16_000..17_000usize, 1 => 30_000..70_000usize];
    let op = (0..6u8, prop::option::weighted(0.75, size));
    let ops = prop::collection::vec(op, 0..4);
    let step = prop_oneof![4 => (expect, ops).prop_map(|(e, o)| Step::Register(e, o)), 1 => Just(Step::Cut)];
    prop::collection::vec(step, 1..25)
}

type Model = BTreeMap<Bytes, (u64, Bytes)>;

/// The command of a step, and what it must do to the model.
fn command(model: &mut Model, index: u64, expects: &[(u8, u8)], ops: &[(u8, Option<usize>)]) -> (Command, Applied) {
    let is = |model: &Model, key: &Bytes| model.get(key).map(|(revision, _)| *revision);
    let expect: Vec<_> = expects
        .iter()
        .map(|(n, kind)| {
            let key = key(*n);
            let revision = match kind {
                0 => None,
                1 => is(model, &key),
                _ => Some(is(model, &key).unwrap_or(1) - 1),
            };
            Expect { key, revision }
        })
        .collect();
    let value = |n: u8, size: usize| Bytes::from(vec![n ^ index as u8; size]);
    let ops: Vec<_> = ops
        .iter()
        .map(|(n, size)| match size {
            Some(size) => RegistryOp::Put { key: key(*n), value: value(*n, *size) },
            None => RegistryOp::Delete { key: key(*n) },
        })
        .collect();
    let command = Command::Register { expect: expect.clone(), ops: ops.clone() };
    if let Some(wrong) = expect.iter().find(|expect| is(model, &expect.key) != expect.revision) {
        return (command, Applied::Rejected(Rejection::Conflict { key: wrong.key.clone() }));
    }
    for op in ops {
        match op {
            RegistryOp::Put { key, value } => drop(model.insert(key, (index, value))),
            RegistryOp::Delete { key } => drop(model.remove(&key)),
        }
    }
    (command, Applied::Registered { revision: index })
}

fn entries(model: &Model, prefix: &[u8]) -> Vec<RegistryEntry> {
    let of = |(name, (revision, value)): (&Bytes, &(u64, Bytes))| RegistryEntry {
        name: name.clone(),
        revision: *revision,
        value: value.clone(),
    };
    model.iter().filter(|(name, _)| name.starts_with(prefix)).map(of).collect()
}

/// Everything with a prefix, read in pages of two.
fn paged(group: &Group, prefix: &[u8]) -> Vec<RegistryEntry> {
    let mut all: Vec<RegistryEntry> = Vec::new();
    loop {
        let after = all.last().map(|entry| entry.name.clone());
        let page = group.registry_range(prefix, after.as_deref(), 2).unwrap();
        assert!(page.entries.len() <= 2);
        all.extend(page.entries);
        if !page.more {
            return all;
        }
    }
}

fn assert_is(group: &Group, model: &Model, revision: u64) {
    for prefix in [&[][..], &[1], &[1, 1], &[2], &[7], &[0xff, 0xff]] {
        assert_eq!(paged(group, prefix), entries(model, prefix), "prefix {prefix:?}");
    }
    for n in 0..6 {
        assert_eq!(group.registry_get(&key(n)).unwrap(), model.get(&key(n)).cloned());
    }
    assert_eq!(*group.registry_changed().borrow(), revision);
    assert_eq!(group.registry_range(&[], None, 1).unwrap().revision, revision);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_registry_is_a_map_with_revisions(steps in steps(), clean: bool) {
        let dir = tempfile::tempdir().unwrap();
        let (store, machine) = open(dir.path(), true);
        let mut model = Model::new();
        let (mut index, mut newest) = (0, 0);
        let (mut batch, mut answers) = (Vec::new(), Vec::new());
        for step in steps.iter().chain([&Step::Cut]) {
            match step {
                Step::Register(expects, ops) => {
                    index += 1;
                    let (command, answer) = command(&mut model, index, expects, ops);
                    if let Applied::Registered { revision } = answer {
                        newest = revision;
                    }
                    batch.push(command);
                    answers.push(answer);
                }
                Step::Cut => prop_assert_eq!(apply(&machine, &std::mem::take(&mut batch)), std::mem::take(&mut answers)),
            }
        }
        assert_is(machine.group(), &model, newest);
        let mark = machine.group().mark();

        let other = tempfile::tempdir().unwrap();
        let (_other_store, copy) = open(other.path(), true);
        let mut told = copy.group().registry_changed();
        let mut scan = Scan::begin(machine.group()).unwrap().unwrap();
        let loader = Loader::begin(copy.group()).unwrap();
        while let Some(slice) = scan.next_slice().unwrap() {
            loader.push(slice).unwrap();
        }
        drop(scan);
        loader.finish(mark.clone()).unwrap();
        prop_assert!(told.has_changed().unwrap());
        prop_assert_eq!(*told.borrow_and_update(), newest);
        assert_is(copy.group(), &model, newest);

        drop(machine);
        store.close().unwrap();
        let (_store, machine) = open(dir.path(), clean);
        prop_assert_eq!(machine.group().mark(), mark);
        assert_is(machine.group(), &model, newest);
    }
}

#[test]
fn a_conflict_anywhere_changes_nothing_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, machine) = open(dir.path(), true);
    apply(&machine, &[register(vec![put(key(0), b"zero"), put(key(1), b"one")])]);
    let before = machine.group().mark().digest;
    let expect = vec![Expect { key: key(0), revision: Some(1) }, Expect { key: key(1), revision: Some(7) }];
    let ops = vec![put(key(0), b"changed"), RegistryOp::Delete { key: key(1) }];
    let answers = apply(&machine, &[Command::Register { expect, ops }]);
    assert_eq!(answers, [Applied::Rejected(Rejection::Conflict { key: key(1) })]);
    assert_eq!(machine.group().mark().digest, before);
    assert_eq!(*machine.group().registry_changed().borrow(), 1);
    assert_eq!(machine.group().registry_get(&key(0)).unwrap(), Some((1, Bytes::from_static(b"zero"))));
}

#[test]
fn a_change_over_a_limit_is_rejected_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, machine) = open(dir.path(), true);
    let large = vec![0; VALUE_BYTES_MAX + 1];
    let name = |len: usize| Bytes::from(vec![1; len]);
    let over = [
        (vec![put(name(0), b"")], RegistryLimit::NameBytes),
        (vec![put(name(NAME_BYTES_MAX + 1), b"")], RegistryLimit::NameBytes),
        (vec![RegistryOp::Delete { key: name(NAME_BYTES_MAX + 1) }], RegistryLimit::NameBytes),
        (vec![put(name(1), &large)], RegistryLimit::ValueBytes),
        (vec![RegistryOp::Delete { key: name(1) }; REGISTER_OPS_MAX + 1], RegistryLimit::Ops),
    ];
    for (mut ops, limit) in over {
        ops.insert(0, put(key(3), b"first"));
        assert_eq!(apply(&machine, &[register(ops)]), [Applied::Rejected(Rejection::RegistryLimit(limit))]);
    }
    assert_eq!(paged(machine.group(), &[]), []);

    let ops = vec![put(name(NAME_BYTES_MAX), &large[1..]), put(name(1), b"")];
    assert_eq!(apply(&machine, &[register(ops)]), [Applied::Registered { revision: 6 }]);
    assert_eq!(machine.group().registry_get(&name(NAME_BYTES_MAX)).unwrap().unwrap().1.len(), VALUE_BYTES_MAX);
}

#[tokio::test]
async fn who_registered_sees_the_revision_come_even_if_no_name_changed() {
    let world = World::new(1);
    let shards = world.start().await;
    let shard = shards.all().remove(0);
    let mut changed = shard.registry_changed();
    for ops in [vec![put(key(0), b"v")], vec![RegistryOp::Delete { key: key(1) }], vec![]] {
        let Applied::Registered { revision } = done(&shard, register(ops)).await else { panic!() };
        assert!(*changed.borrow_and_update() >= revision, "it is visible before it is answered");
    }
    let (revision, value) = shard.registry_get(key(0)).await.unwrap().unwrap();
    assert_eq!(value, "v");
    let page = shard.registry_range(Bytes::new(), None, 10).await.unwrap();
    assert_eq!(page.entries, [RegistryEntry { name: key(0), revision, value }]);
    assert!(!page.more);
    shards.shutdown().await.unwrap();
}
