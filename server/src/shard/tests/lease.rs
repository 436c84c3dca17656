//! A restarted follower has forgotten what it promised; nobody may read from a leader that rests on that promise.
//!
//! To openraft a leader's lease is the time in which followers do not vote for others. A follower that restarts forgets
//! it. So a new leader can write while the old one still counts its lease: a read by lease would be stale, and only the
//! question to a quorum keeps it from being answered. We never read by lease; this is the test of it.

use super::fleet::{Fleet, within};
use super::net::Way;
use super::world::*;
use crate::shard::{Config, ReadError};

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_follower_restarted_within_the_lease_does_not_answer_from_what_it_has() {
    // The lease is much longer than everything that happens below takes.
    let config = Config {
        heartbeat_ms: 2000,
        election_min_ms: 20_000,
        election_max_ms: 30_000,
        read_ms: 1000,
        ..Fleet::config(1)
    };
    let mut fleet = Fleet::new(3, config).await;
    let leader = fleet.leader(1).await;
    let (restarts, elected) = ((leader + 1) % 3, (leader + 2) % 3);
    let old = fleet.shard(leader, 1);
    fleet.surely(&[leader], 1, create(1)).await;
    fleet.written(&[leader], 1, 1, 1, vec![put(7, b"v1")]).await;
    fleet.agree(&[0, 1, 2], 1).await;
    within("the leader reads", || async { old.read_index().await.is_ok() }).await;

    fleet.isolate(leader, Way::Cut);
    fleet.stop(restarts).await;
    fleet.start(restarts).await;
    let new = fleet.shard(elected, 1);
    // Only for its timing: in the field its own promise runs out by itself.
    new.replica.raft.trigger().elect(false).await.unwrap();
    new.leadership().wait_for(Option::is_some).await.unwrap();
    fleet.written(&[restarts, elected], 1, 1, 2, vec![put(7, b"v2")]).await;

    assert!(old.leadership().borrow().is_some(), "the old leader does not know yet");
    assert_eq!(value(&old, 1, 7).await.as_deref(), Some(&b"v1"[..]), "and has only the old value");
    match old.read_index().await {
        Err(ReadError::NotLeader { .. } | ReadError::Timeout) => {}
        other => panic!("the old leader would answer with v1: {other:?}"),
    }
    drop((old, new));
    fleet.stop_all().await;
}
