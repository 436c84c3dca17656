//! Three replicas and what becomes of them when nodes or ways between them fail.

use super::fleet::{Fleet, seq, within};
use super::net::Way;
use super::world::*;
use crate::shard::{Applied, NotDone, ProposeError, ReadError};

/// Three nodes and one group with actor 1 in it.
async fn three() -> Fleet {
    let fleet = Fleet::new(3, Fleet::config(1)).await;
    fleet.surely(&[0, 1, 2], 1, create(1)).await;
    fleet
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_is_on_all_replicas() {
    let fleet = three().await;
    for seq in 1..=100 {
        fleet.written(&[0, 1, 2], 1, 1, seq, vec![put(seq as u8, &[7; 300])]).await;
    }
    fleet.agree(&[0, 1, 2], 1).await;
    for number in 0..3 {
        assert_eq!(seq(&fleet.shard(number, 1), 1).await, Some(100));
    }
    fleet.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_node_leads_when_the_leader_is_gone_and_has_everything() {
    let mut fleet = three().await;
    let mut written = 0;
    for _ in 0..3 {
        for _ in 0..20 {
            written += 1;
            fleet.written(&[0, 1, 2], 1, 1, written, vec![put(3, &[1; 100])]).await;
        }
        let leader = fleet.leader(1).await;
        fleet.stop(leader).await;
        let next = fleet.leader(1).await;
        assert_eq!(seq(&fleet.shard(next, 1), 1).await, Some(written));
        fleet.start(leader).await;
    }
    fleet.agree(&[0, 1, 2], 1).await;
    fleet.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_refuses_reads_and_its_writes_are_not_acknowledged() {
    let fleet = three().await;
    let old = fleet.leader(1).await;
    let others: Vec<usize> = (0..3).filter(|number| *number != old).collect();
    let shard = fleet.shard(old, 1);
    let epoch = epoch(&shard);
    fleet.isolate(old, Way::Cut);
    // One write of each side; the one of the old leader can only be refused or stay without a result.
    let cut_off = shard.clone();
    let doomed = tokio::spawn(async move { cut_off.propose(epoch, write(1, 1, 1, vec![put(1, b"old")])).await });
    let applied = fleet.surely(&others, 1, activation(1, None)).await;
    assert!(matches!(applied, Applied::Activated(_)), "{applied:?}");
    match shard.read_index().await {
        Err(ReadError::NotLeader { .. } | ReadError::Timeout) => {}
        other => panic!("{other:?}"),
    }
    fleet.net.heal();
    let doomed = doomed.await.unwrap();
    assert!(!matches!(doomed, Ok(Applied::Written)), "{doomed:?}");
    fleet.agree(&[0, 1, 2], 1).await;
    assert_eq!(seq(&shard, 1).await, Some(0), "the write of the old leader left nothing");
    let stale = shard.propose(epoch, write(1, 1, 1, vec![])).await;
    assert!(matches!(stale, Err(ProposeError::NotDone(NotDone::NotLeader { .. }))), "{stale:?}");
    within("the old leader knows the new one", || {
        let known = *shard.leader().borrow();
        std::future::ready(known.is_some_and(|leader| fleet.ids(&others).contains(&leader)))
    })
    .await;
    drop(shard);
    fleet.stop_all().await;
}
