//! Applying is a function: the same log gives the same answers and the same state, however it is cut into batches, and
//! no log whatsoever gets past the fences.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lethe_proto::ActorId;
use openraft::EntryPayload;
use proptest::prelude::*;
use tempfile::TempDir;
use uuid::Uuid;

use super::world::*;
use crate::shard::machine::Machine;
use crate::shard::types::{Entry, Leader, LogId, Proposal};
use crate::shard::{Applied, Command, Created, NodeId, RecordOp, Rejection, codec};
use crate::store::snapshot;
use crate::store::state::{self, Mark, Store};
use crate::store::vfs::StdVfs;

fn machine(dir: &TempDir, erased: Arc<Erased>) -> Machine {
    let group = Store::open(&dir.path().join("state"), true, state::Config::default()).group(0, 1).unwrap();
    let snapshots = snapshot::Dir::open(Arc::new(StdVfs), &dir.path().join("snapshots")).unwrap();
    Machine::new(NodeId::from(1), group, snapshots, erased, None, Duration::from_secs(60))
}

fn entries(commands: &[Command]) -> Vec<Entry> {
    let entry = |(index, command): (u64, &Command)| Entry {
        log_id: LogId::new(Leader { term: 1, node_id: NodeId::from(1) }, index),
        payload: EntryPayload::Normal(Proposal { bytes: codec::encode_command(command) }),
    };
    (1..).zip(commands).map(entry).collect()
}

/// The same commands, so many of them in each entry, in turn.
fn gathered(commands: &[Command], sizes: &[usize]) -> Vec<Entry> {
    let mut rest: Vec<_> = commands.iter().map(codec::encode_command).collect();
    let mut entries = Vec::new();
    for (index, size) in (1..).zip(sizes.iter().cycle()) {
        if rest.is_empty() {
            break;
        }
        let batch: Vec<_> = rest.drain(..rest.len().min(*size)).collect();
        let log_id = LogId::new(Leader { term: 1, node_id: NodeId::from(1) }, index);
        let proposal = Proposal { bytes: codec::encode_batch(batch.iter()) };
        entries.push(Entry { log_id, payload: EntryPayload::Normal(proposal) });
    }
    entries
}

/// Everything applying a log does: answers, state, keys made and keys erased.
type Outcome = (Vec<Applied>, Mark, Vec<Created>, Vec<(ActorId, Uuid)>);

/// Applies the log in batches of the given sizes, in turn.
fn run(commands: &[Command], sizes: &[usize]) -> Outcome {
    run_entries(entries(commands), sizes)
}

fn run_entries(mut rest: Vec<Entry>, sizes: &[usize]) -> Outcome {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let erased = Arc::new(Erased::default());
    let machine = machine(&dir, erased.clone());
    let mut answers = Vec::new();
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let batch = rest.drain(..rest.len().min(*size)).collect();
        answers.extend(machine.apply_batch(batch).unwrap().into_iter().flat_map(|outcome| outcome.0));
    }
    let (ended, created) = (erased.0.lock().clone(), erased.1.lock().clone());
    (answers, machine.group().mark(), created, ended)
}

#[test]
fn actors_that_end_in_one_batch_are_erased_together_and_so_are_those_of_a_snapshot() {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let erased = Arc::new(Erased::default());
    let machine = machine(&dir, erased.clone());
    let commands: Vec<_> = (1..=100).map(create).chain((1..=100).map(|n| destroy(n, None))).collect();
    machine.apply_batch(entries(&commands)).unwrap();
    let seen = || (erased.0.lock().len(), erased.2.load(Ordering::Relaxed));
    assert_eq!(seen(), (100, 1));
    machine.repeat_effects().unwrap();
    assert_eq!(seen(), (200, 2));
}

fn ops() -> impl Strategy<Value = Vec<RecordOp>> {
    let op = prop_oneof![
        4 => (0..4u8, 0..40_000usize).prop_map(|(key, size)| put(key, &vec![key; size])),
        2 => (0..4u8).prop_map(|key| RecordOp::Delete { id: record(key) }),
        1 => Just(RecordOp::DeleteAll),
    ];
    prop::collection::vec(op, 0..4)
}

fn commands() -> impl Strategy<Value = Vec<Command>> {
    let command = prop_oneof![
        3 => (1..4u8, prop::option::weighted(0.7, 1..4u8)).prop_map(|(n, create)| activation(n, create)),
        8 => (1..4u8, 1..4u64, 1..7u64, ops()).prop_map(|(n, activation, seq, ops)| write(n, activation, seq, ops)),
        1 => (1..4u8, prop::option::of(1..4u8)).prop_map(|(n, expected)| destroy(n, expected)),
    ];
    prop::collection::vec(command, 1..80)
}

/// What the fences promise, told from the answers alone.
#[derive(Default)]
struct Fences {
    activation: u64,
    seq: u64,
    exists: bool,
    destroyed: bool,
}

fn check(commands: &[Command], (answers, _, created, _): &Outcome) {
    let mut fences = BTreeMap::<_, Fences>::new();
    for (command, answer) in commands.iter().zip(answers) {
        let fence = fences.entry(command.actor().unwrap()).or_default();
        match (command, answer) {
            (Command::Activate { .. }, Applied::Activated(header)) => {
                assert!(!fence.destroyed, "a destroyed actor was activated");
                assert_eq!(header.activation, fence.activation + 1);
                assert_eq!(header.seq, fence.seq);
                fence.activation = header.activation;
                fence.exists = true;
            }
            (Command::Write { activation, seq, .. }, Applied::Written) => {
                assert!(fence.exists && !fence.destroyed);
                assert_eq!((*activation, *seq), (fence.activation, fence.seq + 1));
                fence.seq = *seq;
            }
            (Command::Destroy { .. }, Applied::Destroyed { already, .. }) => {
                assert_eq!(*already, fence.destroyed);
                fence.destroyed = true;
            }
            (Command::Activate { .. } | Command::Write { .. }, Applied::Rejected(Rejection::Destroyed)) => {
                assert!(fence.destroyed);
            }
            (_, Applied::Rejected(_)) => {}
            (command, answer) => panic!("{command:?} was answered with {answer:?}"),
        }
    }
    let begun: Vec<_> = created.iter().map(|created| created.actor).collect();
    let lived: BTreeSet<_> = fences.iter().filter(|(_, fence)| fence.exists).map(|(actor, _)| *actor).collect();
    assert_eq!(begun.len(), lived.len(), "each actor that ever was began once");
    assert_eq!(BTreeSet::from_iter(begun), lived);
    assert!(created.iter().all(|created| created.shares == [share(created.incarnation.as_bytes()[0])]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_same_log_gives_the_same_state_in_any_batches(
        commands in commands(),
        sizes in prop::collection::vec(1..9usize, 1..5),
    ) {
        let one_by_one = run(&commands, &[1]);
        check(&commands, &one_by_one);
        prop_assert_eq!(&run(&commands, &sizes), &one_by_one);
        prop_assert_eq!(&run(&commands, &[usize::MAX]), &one_by_one);
        let (answers, mark, created, ended) = run_entries(gathered(&commands, &sizes), &[1, 3]);
        prop_assert_eq!(mark.digest, one_by_one.1.digest);
        prop_assert_eq!((&answers, &created, &ended), (&one_by_one.0, &one_by_one.2, &one_by_one.3));
    }
}
