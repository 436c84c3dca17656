//! What is refused: stale epochs, activations and sequences, and everything after a destroy.

use uuid::Uuid;

use super::world::*;
use crate::shard::{Applied, Epoch, NodeId, NotDone, ProposeError, RecordOp, Rejection};
use crate::store::{DestroyReason, HeaderOrTombstone, Tombstone};

fn not_leader(leader: NodeId) -> Result<Applied, ProposeError> {
    Err(ProposeError::NotDone(NotDone::NotLeader { leader: Some(leader) }))
}

fn rejected(rejection: Rejection) -> Applied {
    Applied::Rejected(rejection)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_created_actor_writes_and_reads() {
    let world = World::new(1);
    let shards = world.start().await;
    let shard = shards.shard(actor(1)).unwrap();
    let Applied::Activated(made) = done(&shard, create(1)).await else { panic!() };
    assert_eq!((made.incarnation, made.activation, made.seq), (life(1), 1, 0));
    assert_eq!(done(&shard, write(1, 1, 1, vec![put(7, b"one"), put(8, b"two")])).await, Applied::Written);
    assert_eq!(
        done(&shard, write(1, 1, 2, vec![put(7, b"three"), RecordOp::Delete { id: record(8) }])).await,
        Applied::Written
    );
    assert_eq!(value(&shard, 1, 7).await.as_deref(), Some(&b"three"[..]));
    assert_eq!(value(&shard, 1, 8).await, None);
    assert_eq!(shard.names(actor(1), life(1)).await.unwrap().len(), 1);
    assert_eq!(shard.read_index().await, Ok(epoch(&shard)));
    shards.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proposal_of_another_epoch_is_not_done() {
    let world = World::new(1);
    let shards = world.start().await;
    let shard = shards.shard(actor(1)).unwrap();
    let now = epoch(&shard);
    let others = [
        Epoch { term: now.term - 1, ..now },
        Epoch { term: now.term + 1, ..now },
        Epoch { node: NodeId(Uuid::nil()), ..now },
    ];
    for other in others {
        let outcome = shard.propose(other, create(1)).await;
        assert_eq!(outcome, not_leader(now.node));
    }
    assert_eq!(shard.header(actor(1)).await.unwrap(), None);
    shards.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_does_not_survive_a_restart() {
    let world = World::new(1);
    let shards = world.start().await;
    let old = epoch(&shards.shard(actor(1)).unwrap());
    shards.shutdown().await.unwrap();
    let shards = world.start().await;
    let shard = shards.shard(actor(1)).unwrap();
    assert!(epoch(&shard) > old);
    let outcome = shard.propose(old, create(1)).await;
    assert_eq!(outcome, not_leader(old.node));
    shards.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_needs_the_newest_activation_and_the_next_sequence() {
    let world = World::new(1);
    let shards = world.start().await;
    let shard = shards.shard(actor(1)).unwrap();
    assert_eq!(done(&shard, write(1, 1, 1, vec![])).await, rejected(Rejection::NoSuchActor));
    done(&shard, create(1)).await;
    assert_eq!(done(&shard, write(1, 1, 2, vec![put(1, b"gap")])).await, rejected(Rejection::StaleSequence(0)));
    assert_eq!(done(&shard, write(1, 1, 1, vec![put(1, b"first")])).await, Applied::Written);
    assert_eq!(done(&shard, write(1, 1, 1, vec![put(1, b"replay")])).await, rejected(Rejection::StaleSequence(1)));
    done(&shard, activation(1, None)).await;
    assert_eq!(done(&shard, write(1, 1, 2, vec![put(1, b"old")])).await, rejected(Rejection::StaleActivation(2)));
    assert_eq!(done(&shard, write(1, 3, 2, vec![put(1, b"new")])).await, rejected(Rejection::StaleActivation(2)));
    assert_eq!(value(&shard, 1, 1).await.as_deref(), Some(&b"first"[..]));
    assert_eq!(done(&shard, write(1, 2, 2, vec![put(1, b"second")])).await, Applied::Written);
    assert_eq!(value(&shard, 1, 1).await.as_deref(), Some(&b"second"[..]));
    shards.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_is_created_once_and_in_one_namespace() {
    let world = World::new(1);
    let shards = world.start().await;
    let shard = shards.shard(actor(1)).unwrap();
    assert_eq!(done(&shard, activation(1, None)).await, rejected(Rejection::NoSuchActor));
    done(&shard, create(1)).await;
    assert_eq!(done(&shard, activation(1, Some(2))).await, rejected(Rejection::Exists(life(1))));
    let Applied::Activated(again) = done(&shard, create(1)).await else { panic!() };
    assert_eq!(again.activation, 2);
    let mut other = create(1);
    if let crate::shard::Command::Activate { namespace, .. } = &mut other {
        *namespace = "script/Other".to_owned();
    }
    assert_eq!(done(&shard, other).await, rejected(Rejection::OtherNamespace("script/Class".to_owned())));
    shards.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_passes_a_tombstone() {
    let world = World::new(1);
    let shards = world.start().await;
    let shard = shards.shard(actor(1)).unwrap();
    done(&shard, create(1)).await;
    done(&shard, write(1, 1, 1, vec![put(7, b"secret")])).await;
    assert_eq!(done(&shard, destroy(1, Some(2))).await, rejected(Rejection::OtherIncarnation(life(1))));
    assert_eq!(
        done(&shard, destroy(1, Some(1))).await,
        Applied::Destroyed { incarnation: Some(life(1)), already: false }
    );
    assert_eq!(*world.erased.0.lock(), vec![(actor(1), life(1))]);
    let tombstone =
        Tombstone { actor: actor(1), incarnation: Some(life(1)), destroyed_at_ms: 9, reason: DestroyReason::Caller };
    let after = [
        (create(1), rejected(Rejection::Destroyed)),
        (activation(1, Some(9)), rejected(Rejection::Destroyed)),
        (activation(1, None), rejected(Rejection::Destroyed)),
        (write(1, 1, 2, vec![put(7, b"back")]), rejected(Rejection::Destroyed)),
        (destroy(1, Some(2)), rejected(Rejection::OtherIncarnation(life(1)))),
        (destroy(1, None), Applied::Destroyed { incarnation: Some(life(1)), already: true }),
    ];
    for (command, outcome) in after {
        assert_eq!(done(&shard, command.clone()).await, outcome, "{command:?}");
        assert_eq!(shard.header(actor(1)).await.unwrap(), Some(HeaderOrTombstone::Tombstone(tombstone.clone())));
        assert_eq!(value(&shard, 1, 7).await, None);
    }
    shards.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_that_never_was_can_be_destroyed_and_never_comes() {
    let world = World::new(1);
    let shards = world.start().await;
    let shard = shards.shard(actor(1)).unwrap();
    assert_eq!(done(&shard, destroy(1, Some(1))).await, rejected(Rejection::NoSuchActor));
    assert_eq!(done(&shard, destroy(1, None)).await, Applied::Destroyed { incarnation: None, already: false });
    assert_eq!(done(&shard, create(1)).await, rejected(Rejection::Destroyed));
    assert_eq!(*world.erased.0.lock(), vec![]);
    shards.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_over_the_limit_is_not_done() {
    let world = World::new(1);
    let shards = world.start().await;
    let shard = shards.shard(actor(1)).unwrap();
    done(&shard, create(1)).await;
    let large = vec![0; world.config.command_bytes_max + 1];
    let outcome = shard.propose(epoch(&shard), write(1, 1, 1, vec![put(1, &large)])).await;
    assert!(matches!(outcome, Err(ProposeError::NotDone(NotDone::TooLarge { .. }))), "{outcome:?}");
    let fits = vec![0; world.config.command_bytes_max - 1024];
    assert_eq!(done(&shard, write(1, 1, 1, vec![put(1, &fits)])).await, Applied::Written);
    shards.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_shard_does_nothing() {
    let world = World::new(1);
    let shards = world.start().await;
    let shard = shards.shard(actor(1)).unwrap();
    let before = epoch(&shard);
    shards.shutdown().await.unwrap();
    assert_eq!(shard.propose(before, create(1)).await, Err(ProposeError::NotDone(NotDone::Stopped)));
    assert!(shard.read_index().await.is_err());
    assert_eq!(*shard.leadership().borrow(), None);
}
