//! Groups of three nodes that share sessions, while something happens to one of them, or to the sessions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;

use super::intake::hold;
use crate::peer::Topic;
use crate::shard::Begin;
use crate::shard::tests::fleet::{Fleet, add, incarnation, seq, vote, within};
use crate::shard::tests::net::Fate;
use crate::shard::tests::world::{create, put};

const ALL: [usize; 3] = [0, 1, 2];

async fn founded(groups: u32, prepare: impl FnOnce(&Fleet)) -> Fleet {
    let fleet = Fleet::bare(3, Fleet::config(groups)).await;
    prepare(&fleet);
    join_all((1..=groups).map(|group| fleet.found(group, group as usize % 3, &ALL))).await;
    join_all((1..=groups).map(|group| fleet.surely(&ALL, group, create(1)))).await;
    fleet
}

#[tokio::test(flavor = "multi_thread")]
async fn every_group_goes_on_when_sessions_break_again_and_again() {
    const GROUPS: u32 = 8;
    const BREAK: u64 = 12;
    let fleet = founded(GROUPS, |fleet| {
        let fates = move |session, message| match session < BREAK && message == 3 + session % 5 {
            true => Fate::Breaks,
            false => Fate::Arrives,
        };
        fleet.net.decide(Topic::AppendStream, Arc::new(fates));
    })
    .await;
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut written = 0;
    while fleet.net.calls(Topic::AppendStream) <= BREAK {
        assert!(Instant::now() < deadline, "sessions do not break");
        written += 1;
        join_all((1..=GROUPS).map(|group| fleet.written(&ALL, group, 1, written, vec![put(1, b"x")]))).await;
    }
    join_all((1..=GROUPS).map(|group| fleet.agree(&ALL, group))).await;
    for group in 1..=GROUPS {
        assert_eq!(seq(&fleet.shard(0, group), 1).await, Some(written), "group {group}");
    }
    fleet.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_stuck_does_not_delay_other_groups_of_its_node() {
    const WRITES: u64 = 100;
    let fleet = founded(2, |_| ()).await;
    let leaders = [fleet.leader(1).await, fleet.leader(2).await];
    let stuck = ALL.into_iter().find(|number| !leaders.contains(number)).expect("three nodes, two leaders");
    let go_on = hold(&fleet, stuck, 1).await;
    let others: Vec<usize> = ALL.into_iter().filter(|number| *number != stuck).collect();
    for written in 1..=WRITES {
        let write = |group| fleet.written(&others, group, 1, written, vec![put(1, b"x")]);
        tokio::join!(write(1), write(2));
    }
    within("the other group's writes on the node with the stuck one", || async {
        seq(&fleet.shard(stuck, 2), 1).await == Some(WRITES)
    })
    .await;
    go_on.send(()).expect("it is still stuck");
    fleet.agree(&ALL, 1).await;
    fleet.agree(&ALL, 2).await;
    assert_eq!(seq(&fleet.shard(stuck, 1), 1).await, Some(WRITES));
    fleet.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_leaves_and_comes_back_as_another_life_while_its_groups_are_written_to() {
    const GROUPS: u32 = 3;
    let fleet = founded(GROUPS, |_| ()).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let working = join_all((1..=GROUPS).map(|group| {
        let (fleet, stopped) = (&fleet, stopped.clone());
        let writers: &[usize] = if group == 1 { &[0, 1] } else { &ALL };
        async move {
            let mut written = 0;
            while !*stopped.borrow() {
                written += 1;
                fleet.written(writers, group, 1, written, vec![put(1, b"x")]).await;
            }
            written
        }
    }));
    let changing = async {
        fleet.changed(&ALL, 1, |shard| vote(&fleet, shard, &[0, 1])).await;
        let mut life = incarnation(2);
        for _ in 0..3 {
            fleet.shards(2).remove(1).await.unwrap();
            life += 1;
            fleet.shards(2).create(1, life, Begin::Join).await.unwrap();
            fleet.changed(&[0, 1], 1, |shard| add(&fleet, shard, 2, life)).await;
            within("its leader is in touch with it", || async {
                let leader = fleet.shard(fleet.leader_among(&[0, 1], 1).await, 1);
                leader.progress().is_some_and(|progress| progress.get(&fleet.id(2)).is_some_and(Option::is_some))
            })
            .await;
            let id = fleet.id(2);
            fleet.changed(&[0, 1], 1, |shard| async move { shard.remove_learner(id).await }).await;
        }
        stop.send_replace(true);
    };
    let (written, ()) = tokio::join!(working, changing);
    fleet.agree(&[0, 1], 1).await;
    for group in 2..=GROUPS {
        fleet.agree(&ALL, group).await;
    }
    for (group, written) in (1..=GROUPS).zip(written) {
        assert_eq!(seq(&fleet.shard(0, group), 1).await, Some(written), "group {group}");
    }
    fleet.stop_all().await;
}
