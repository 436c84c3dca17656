//! Ways that are open in one direction only, slow ways, and messages that come twice.

use std::time::Duration;

use super::fleet::{Fleet, seq};
use super::net::Way;
use super::world::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_heard_but_hears_nobody_is_replaced() {
    let fleet = Fleet::new(3, Fleet::config(1)).await;
    fleet.surely(&[0, 1, 2], 1, create(1)).await;
    let deaf = fleet.leader(1).await;
    let others: Vec<usize> = (0..3).filter(|number| *number != deaf).collect();
    for other in &others {
        fleet.net.set(fleet.id(*other), fleet.id(deaf), Way::Cut);
    }
    fleet.written(&others, 1, 1, 1, vec![put(1, b"new")]).await;
    fleet.net.heal();
    fleet.agree(&[0, 1, 2], 1).await;
    assert_eq!(seq(&fleet.shard(deaf, 1), 1).await, Some(1));
    fleet.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_only_reaches_the_node_others_need_does_not_block_them() {
    let mut fleet = Fleet::new(5, Fleet::config(1)).await;
    fleet.surely(&[0, 1, 2, 3, 4], 1, create(1)).await;
    let old = fleet.leader(1).await;
    let rest: Vec<usize> = (0..5).filter(|number| *number != old).collect();
    // Of five nodes one is down and the old leader reaches one; the three others are a quorum only with that one.
    let (bridge, down) = (rest[0], rest[1]);
    let quorum = [bridge, rest[2], rest[3]];
    fleet.stop(down).await;
    fleet.isolate(old, Way::Cut);
    fleet.net.set_both(fleet.id(old), fleet.id(bridge), Way::Open);
    fleet.written(&quorum, 1, 1, 1, vec![]).await;
    fleet.net.heal();
    fleet.start(down).await;
    fleet.agree(&[0, 1, 2, 3, 4], 1).await;
    fleet.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_ways_and_repeated_messages_change_nothing() {
    let fleet = Fleet::new(3, Fleet::config(1)).await;
    fleet.surely(&[0, 1, 2], 1, create(1)).await;
    for (from, to, way) in [
        (0, 1, Way::Twice),
        (1, 0, Way::Slow(Duration::from_millis(7))),
        (1, 2, Way::Twice),
        (2, 1, Way::Twice),
        (0, 2, Way::Slow(Duration::from_millis(3))),
        (2, 0, Way::Twice),
    ] {
        fleet.net.set(fleet.id(from), fleet.id(to), way);
    }
    for n in 1..=50 {
        fleet.written(&[0, 1, 2], 1, 1, n, vec![put(n as u8, &[n as u8; 50])]).await;
    }
    fleet.agree(&[0, 1, 2], 1).await;
    assert_eq!(seq(&fleet.shard(0, 1), 1).await, Some(50));
    fleet.stop_all().await;
}
