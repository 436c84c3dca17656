//! A node whose data directory is another one than it was: it has forgotten what it promised, and must not vote.

use super::fleet::{Fleet, PATIENCE};
use crate::cluster::Error;

const GROUPS: u32 = 4;

/// Waits until a node is told that it cannot be a member; it has no replica then, and never had one.
async fn is_refused(fleet: &Fleet, number: usize) {
    let fate = tokio::time::timeout(PATIENCE, fleet.cluster(number).fate()).await.expect("it is told");
    let Error::Unwelcome(reason) = &fate else { panic!("{fate}") };
    let id = fleet.nodes[number].id;
    assert_eq!(*reason, format!("node {id} is in use by another data directory; remove it and add a new one"));
    assert_eq!((fleet.shards(number).all().len(), *fleet.shards(number).changes().borrow()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lost_its_disk_gets_no_replica_under_its_old_id_and_is_replaced() {
    let mut fleet = Fleet::new(3, GROUPS).await;
    fleet.settled(&[0, 1, 2]).await;
    fleet.stop(2).await;
    fleet.wipe(2);
    fleet.start(2).await;
    is_refused(&fleet, 2).await;
    fleet.stop(2).await;

    fleet.add().await;
    let lost = fleet.nodes[2].id;
    fleet.cluster(0).remove(lost).await.unwrap();
    fleet.settled(&[0, 1, 3]).await;
    fleet.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_machine_with_the_same_join_file_is_refused_and_the_first_one_stays() {
    let mut fleet = Fleet::new(3, GROUPS).await;
    fleet.settled(&[0, 1, 2]).await;
    fleet.stop(2).await;
    let own = fleet.wipe(2);
    for _ in 0..2 {
        fleet.start(2).await;
        is_refused(&fleet, 2).await;
        fleet.stop(2).await;
    }
    fleet.put_back(2, own);
    fleet.start(2).await;
    fleet.settled(&[0, 1, 2]).await;
    fleet.stop_all().await;
}
