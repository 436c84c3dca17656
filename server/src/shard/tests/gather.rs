//! Proposals that come while others are under way go into one entry, and each has its own result all the same.

use std::sync::Arc;

use futures::future::join_all;
use tokio::task::JoinHandle;

use super::faults::{Gate, Patient, Shut};
use super::fleet::{Fleet, seq};
use super::net::Way;
use super::world::*;
use crate::shard::proposer::UNDER_WAY_MAX;
use crate::shard::{Applied, Command, Epoch, NotDone, ProposeError, RegistryOp, Rejection, Shard, Shards};

type Results = Vec<Result<Applied, ProposeError>>;

/// A group in which enough is under way, until its gate opens.
struct Busy {
    _patient: Patient,
    shards: Shards,
    shard: Shard,
    shut: Shut,
    /// The last entry under way.
    last: u64,
    under_way: Vec<JoinHandle<Result<Applied, ProposeError>>>,
}

impl Busy {
    /// Actors 1 to 5 live; the destruction of actor 100 is under way, and keeps what follows it.
    async fn new() -> Self {
        let mut patient = Patient::new();
        patient.config.proposals_bytes_max = 1 << 20;
        patient.config.wal_segment_bytes = 4 << 20;
        patient.config.wal_bytes_max = 64 << 20;
        patient.config.command_bytes_max = 64 << 10;
        let gate = Arc::new(Gate::default());
        let shards = patient.start(gate.clone()).await;
        let shard = shards.shard(actor(1)).unwrap();
        for n in [1, 2, 3, 4, 5, 100] {
            done(&shard, create(n)).await;
        }
        let shut = gate.shut();
        let now = epoch(&shard);
        // What openraft tells of its log comes a little later.
        let begun = shard.metrics().applied.unwrap();
        let stuck = std::iter::once(destroy(100, None)).chain(std::iter::repeat(activation(100, None)));
        let mut under_way = Vec::new();
        for (entry, command) in (begun + 1..).zip(stuck.take(UNDER_WAY_MAX)) {
            let proposing = shard.clone();
            under_way.push(tokio::spawn(async move { proposing.propose(now, command).await }));
            until("an entry under way", || shard.metrics().last == Some(entry)).await;
        }
        let last = begun + UNDER_WAY_MAX as u64;
        Self { _patient: patient, shards, shard, shut, last, under_way }
    }

    /// Proposes these, one right after the other, and opens the gate when they are in the log. Gives their results, and how
    /// many entries they took.
    async fn propose(self, commands: Vec<(Epoch, Command)>, entries: u64) -> (Results, u64) {
        let Self { _patient, shards, shard, shut, last, under_way } = self;
        let proposing = join_all(commands.into_iter().map(|(epoch, command)| shard.propose(epoch, command)));
        let opening = async {
            // Those that wait are sent when they have waited for long.
            until("them in the log", || shard.metrics().last >= Some(last + entries)).await;
            drop(shut);
        };
        let (results, ()) = tokio::join!(proposing, opening);
        let took = shard.metrics().applied.unwrap() - last;
        let mut stuck: Vec<_> = join_all(under_way).await.into_iter().map(|joined| joined.unwrap().unwrap()).collect();
        assert_eq!(stuck.remove(0), Applied::Destroyed { incarnation: Some(life(100)), already: false });
        assert!(stuck.iter().all(|result| *result == Applied::Rejected(Rejection::Destroyed)), "{stuck:?}");
        assert_eq!(shard.metrics().proposals, 0);
        drop(shard);
        shards.shutdown().await.unwrap();
        (results, took)
    }

    fn now(&self, commands: impl IntoIterator<Item = Command>) -> Vec<(Epoch, Command)> {
        let epoch = epoch(&self.shard);
        commands.into_iter().map(|command| (epoch, command)).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_of_one_entry_have_their_own_results_in_their_order() {
    let busy = Busy::new().await;
    let commands = busy.now([
        write(1, 1, 1, vec![put(1, b"one")]),
        write(2, 1, 2, vec![put(1, b"a gap")]),
        write(2, 1, 1, vec![put(1, b"two")]),
        write(1, 1, 2, vec![put(1, b"three")]),
        activation(3, None),
        write(3, 1, 1, vec![put(1, b"late")]),
        write(9, 1, 1, vec![put(1, b"nobody's")]),
        write(3, 2, 1, vec![put(1, b"four")]),
    ]);
    let (results, entries) = busy.propose(commands, 1).await;
    assert_eq!(entries, 1, "they go together");
    let Ok(Applied::Activated(header)) = &results[4] else { panic!("{results:?}") };
    assert_eq!((header.actor, header.activation), (actor(3), 2));
    let expected = [
        Applied::Written,
        Applied::Rejected(Rejection::StaleSequence(0)),
        Applied::Written,
        Applied::Written,
        Applied::Activated(header.clone()),
        Applied::Rejected(Rejection::StaleActivation(2)),
        Applied::Rejected(Rejection::NoSuchActor),
        Applied::Written,
    ];
    assert_eq!(results, expected.map(Ok));
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_of_another_epoch_do_not_go_with_those_of_this_one() {
    let busy = Busy::new().await;
    let mut commands = busy.now((1..=4).map(|n| write(n, 1, 1, vec![put(1, b"value")])));
    let now = commands[0].0;
    commands[1].0.term += 1;
    commands[2].0.term += 1;
    let (results, entries) = busy.propose(commands, 2).await;
    let refused = Err(ProposeError::NotDone(NotDone::NotLeader { leader: Some(now.node) }));
    assert_eq!(results, [Ok(Applied::Written), refused.clone(), refused, Ok(Applied::Written)]);
    assert_eq!(entries, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_has_a_bound_of_commands_and_of_bytes() {
    let busy = Busy::new().await;
    let many = busy.now((1..=300).map(|seq| write(1, 1, seq, vec![])));
    let (results, entries) = busy.propose(many, 2).await;
    assert!(results.iter().all(|result| *result == Ok(Applied::Written)), "{results:?}");
    assert_eq!(entries, 2);

    let busy = Busy::new().await;
    let large = busy.now((1..=5).map(|n| write(n, 1, 1, vec![put(1, &[n; 20_000])])));
    let (results, entries) = busy.propose(large, 3).await;
    assert!(results.iter().all(|result| *result == Ok(Applied::Written)), "{results:?}");
    assert_eq!(entries, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_the_registry_has_a_revision_of_its_own() {
    let busy = Busy::new().await;
    let put = |n: u8| RegistryOp::Put { key: vec![n].into(), value: vec![n].into() };
    let mut commands = busy.now((1..=3).map(|n| Command::Register { expect: Vec::new(), ops: vec![put(n)] }));
    commands.insert(1, (commands[0].0, write(1, 1, 1, vec![])));
    let first = busy.last + 1;
    let (results, entries) = busy.propose(commands, 4).await;
    let revision = |revision| Ok(Applied::Registered { revision });
    assert_eq!(results, [revision(first), Ok(Applied::Written), revision(first + 2), revision(first + 3)]);
    assert_eq!(entries, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_proposed_is_done_although_its_caller_left() {
    let busy = Busy::new().await;
    let now = epoch(&busy.shard);
    let mut left = Box::pin(busy.shard.propose(now, write(1, 1, 1, vec![put(1, b"value")])));
    assert!(futures::poll!(&mut left).is_pending());
    drop(left);
    assert_eq!(busy.shard.metrics().proposals, 1 + UNDER_WAY_MAX, "it counts as long as it waits");
    let shard = busy.shard.clone();
    // It goes first, and so the next one follows it.
    let commands = busy.now([write(1, 1, 2, vec![put(1, b"next")])]);
    let (results, _) = busy.propose(commands, 1).await;
    assert_eq!(results, [Ok(Applied::Written)]);
    assert_eq!(shard.metrics().proposals, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_of_one_actor_keep_their_order() {
    let world = World::new(1);
    let shards = world.start().await;
    let shard = shards.shard(actor(1)).unwrap();
    done(&shard, create(1)).await;
    let now = epoch(&shard);
    let writes = (1..=200).map(|seq| shard.propose(now, write(1, 1, seq, vec![put(seq as u8, &[seq as u8; 100])])));
    let results = join_all(writes).await;
    assert!(results.iter().all(|result| *result == Ok(Applied::Written)), "{results:?}");
    let digest = shard.metrics().digest;
    drop(shard);
    shards.shutdown().await.unwrap();

    // The log alone comes to the same.
    std::fs::remove_dir_all(world.path().join("state")).unwrap();
    let shards = world.start().await;
    let shard = shards.shard(actor(1)).unwrap();
    assert_eq!((header(&shard, 1).await.seq, shard.metrics().digest), (200, digest));
    drop(shard);
    shards.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_gathers_at_a_leader_without_a_quorum_is_done_for_nobody() {
    let fleet = Fleet::new(3, Fleet::config(1)).await;
    for n in 1..=4 {
        fleet.surely(&[0, 1, 2], 1, create(n)).await;
    }
    let old = fleet.leader(1).await;
    let others: Vec<usize> = (0..3).filter(|number| *number != old).collect();
    let shard = fleet.shard(old, 1);
    let epoch = epoch(&shard);
    fleet.isolate(old, Way::Cut);
    // Some are under way when the others come.
    let many = (1..=UNDER_WAY_MAX as u64 + 10).map(|seq| write(1, 1, seq, vec![put(1, b"old")]));
    let doomed: Vec<_> = many.chain((2..=4).map(|n| write(n, 1, 1, vec![put(1, b"old")]))).collect();
    let cut_off = shard.clone();
    let doomed =
        tokio::spawn(async move { join_all(doomed.into_iter().map(|write| cut_off.propose(epoch, write))).await });
    for n in 1..=4 {
        fleet.surely(&others, 1, activation(n, None)).await;
    }
    fleet.net.heal();
    for result in doomed.await.unwrap() {
        let refused =
            matches!(result, Err(ProposeError::Unknown(_) | ProposeError::NotDone(NotDone::NotLeader { .. })));
        assert!(refused, "{result:?}");
    }
    fleet.agree(&[0, 1, 2], 1).await;
    for n in 1..=4 {
        assert_eq!(seq(&shard, n).await, Some(0), "a write of the old leader left something");
    }
    drop(shard);
    fleet.stop_all().await;
}
