//! The life of a cluster: it forms, grows, loses nodes, is cut apart and starts again.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::Semaphore;

use super::fleet::{Fleet, PATIENCE, node};
use crate::cluster::govern::Change;
use crate::cluster::record::{self, Member};
use crate::cluster::{Asked, Config, Error, HandOver, SYSTEM, State, Wish, WriteError};
use crate::peer::Topic;
use crate::shard::tests::net::Way;
use crate::shard::{Expect, RegistryOp};

const GROUPS: u32 = 4;

fn put(name: &'static str, value: &'static str) -> Vec<RegistryOp> {
    vec![RegistryOp::Put { key: name.into(), value: value.into() }]
}

fn absent(name: &'static str) -> Vec<Expect> {
    vec![Expect { key: name.into(), revision: None }]
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_form_a_cluster_and_with_six_each_holds_half_of_the_groups() {
    let mut fleet = Fleet::new(3, GROUPS).await;
    fleet.settled(&[0, 1, 2]).await;
    let written = fleet.cluster(2).registry().write(absent("deploy/x"), put("deploy/x", "1")).await.unwrap();
    for _ in 3..6 {
        fleet.add().await;
    }
    fleet.settled(&[0, 1, 2, 3, 4, 5]).await;
    for number in 0..6 {
        fleet.cluster(number).ready().await.unwrap();
        assert_eq!(fleet.shards(number).all().len(), 1 + GROUPS as usize / 2, "node {number}");
        let found = fleet.cluster(number).registry().get("deploy/x").await.unwrap();
        assert_eq!(found, Some((written, Bytes::from("1"))));
    }
    fleet.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_node_gives_all_leadership_away_and_gets_it_back() {
    let fleet = Fleet::new(3, GROUPS).await;
    fleet.settled(&[0, 1, 2]).await;
    let drained = fleet.nodes[1].id;
    fleet.cluster(2).drain(drained).await.unwrap();
    for number in 0..3 {
        let leads = || {
            let status = fleet.cluster(number).status()?;
            let node = node(&status, drained);
            (node.leaders > 0 || node.replicas != 1 + GROUPS).then(|| format!("{node:?}"))
        };
        fleet.until("drained", leads).await;
    }
    fleet.cluster(0).undrain(drained).await.unwrap();
    fleet.settled(&[0, 1, 2]).await;
    fleet.stop_all().await;
}

/// Actors whose calls never end: nothing is released before it is given up.
#[derive(Default)]
struct Endless {
    asked: AtomicUsize,
    given_up: AtomicUsize,
}

/// Waits for them.
struct Holder(Arc<Endless>);

impl HandOver for Holder {
    fn release(&self, _: u32, _: Arc<Semaphore>, asked: Asked) -> BoxFuture<'static, Option<Box<dyn Send>>> {
        let endless = self.0.clone();
        endless.asked.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            while asked() != Wish::GiveUp {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            endless.given_up.fetch_add(1, Ordering::SeqCst);
            None
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_that_waits_for_calls_is_given_up_when_its_reason_is_gone() {
    let fleet = Fleet::new(3, GROUPS).await;
    fleet.settled(&[0, 1, 2]).await;
    let endless = Arc::new(Endless::default());
    let hand_over: Arc<dyn HandOver> = Arc::new(Holder(endless.clone()));
    fleet.cluster(1).before_hand_over(&hand_over);
    let group = (1..=GROUPS).find(|group| fleet.leader(*group, &[0, 1, 2]) == Some(1)).expect("it leads one of four");
    let (cluster, leads, other) = (fleet.cluster(0).clone(), fleet.nodes[1].id, fleet.nodes[2].id);
    let moving = tokio::spawn(async move { cluster.transfer(group, other).await });
    let counts = || (endless.asked.load(Ordering::SeqCst), endless.given_up.load(Ordering::SeqCst));
    fleet.until("asked", || (counts().0 == 0).then(|| "nothing is handed over".to_owned())).await;
    moving.abort();
    fleet.cluster(0).transfer(group, leads).await.unwrap();
    fleet.until("given up", || (counts().1 == 0).then(|| format!("{:?}", counts()))).await;
    fleet.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_does_not_wait_for_others_that_may_not_take_what_it_leads() {
    let fleet = Fleet::new(2, GROUPS).await;
    fleet.settled(&[0, 1]).await;
    fleet.cluster(0).drain(fleet.nodes[1].id).await.unwrap();
    let led = || (SYSTEM..=GROUPS).all(|group| fleet.leader(group, &[0, 1]) == Some(0));
    fleet.until("drained", || (!led()).then(|| "the other one leads".to_owned())).await;
    let stepped_down = fleet.cluster(0).step_down(Instant::now() + 10 * PATIENCE);
    tokio::time::timeout(PATIENCE, stepped_down).await.expect("nobody can take anything");
    fleet.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_node_that_is_removed_is_replaced_and_never_comes_back() {
    let mut fleet = Fleet::new(4, GROUPS).await;
    fleet.settled(&[0, 1, 2, 3]).await;
    let dead = fleet.nodes[3].id;
    fleet.stop(3).await;
    fleet.cluster(1).remove(dead).await.unwrap();
    fleet.settled(&[0, 1, 2]).await;
    let state = |number: usize| node(&fleet.cluster(number).status().unwrap(), dead).member.state;
    for number in 0..3 {
        fleet.until("removed", || (state(number) != State::Removed).then(|| format!("{:?}", state(number)))).await;
    }
    assert!(matches!(fleet.cluster(0).undrain(dead).await, Err(Error::NotNow(_))));

    fleet.start(3).await;
    let fate = tokio::time::timeout(PATIENCE, fleet.cluster(3).fate()).await.expect("it is told");
    assert!(matches!(fate, Error::Unwelcome(_)), "{fate}");
    fleet.settled(&[0, 1, 2]).await;
    fleet.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_node_that_is_removed_hands_everything_over_first() {
    let fleet = Fleet::new(4, GROUPS).await;
    fleet.settled(&[0, 1, 2, 3]).await;
    let leaving = fleet.nodes[0].id;
    fleet.cluster(0).remove(leaving).await.unwrap();
    let fate = tokio::time::timeout(PATIENCE, fleet.cluster(0).fate()).await.expect("it is told");
    assert!(matches!(fate, Error::Unwelcome(_)), "{fate}");
    fleet.settled(&[1, 2, 3]).await;
    fleet.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_was_wholly_down_comes_back_as_it_was() {
    let mut fleet = Fleet::new(3, GROUPS).await;
    fleet.settled(&[0, 1, 2]).await;
    let placed = |fleet: &Fleet| {
        let map = fleet.cluster(0).map().borrow().clone().unwrap();
        map.groups.values().map(|record| record.value.replicas.clone()).collect::<Vec<_>>()
    };
    let before = placed(&fleet);
    for number in 0..3 {
        fleet.stop(number).await;
    }
    for number in 0..3 {
        fleet.start(number).await;
    }
    fleet.settled(&[0, 1, 2]).await;
    assert_eq!(placed(&fleet), before);
    fleet.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_leader_that_is_cut_off_is_not_fresh_and_the_others_go_on() {
    let fleet = Fleet::new(3, GROUPS).await;
    fleet.settled(&[0, 1, 2]).await;
    let alone = fleet.leader(SYSTEM, &[0, 1, 2]).unwrap();
    let others: Vec<usize> = (0..3).filter(|number| *number != alone).collect();
    fleet.isolate(alone, Way::Cut);
    fleet.until("stale", || fleet.cluster(alone).is_fresh().is_ok().then(|| "it is fresh".to_owned())).await;
    let refused = fleet.cluster(alone).registry().write(absent("deploy/y"), put("deploy/y", "alone")).await;
    assert!(matches!(refused, Err(WriteError::NotDone(_) | WriteError::Unknown(_))), "{refused:?}");

    let registry = fleet.cluster(others[0]).registry();
    let deadline = Instant::now() + PATIENCE;
    let written = loop {
        match registry.write(absent("deploy/x"), put("deploy/x", "1")).await {
            Ok(revision) => break revision,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    };
    // Who is cut off has not acted on it: the acknowledgement waits until its lease is surely over.
    fleet.cluster(others[0]).everywhere(written).await;
    assert!(fleet.cluster(alone).is_fresh().is_err());
    for other in &others {
        fleet.until("fresh", || fleet.cluster(*other).is_fresh().err().map(|stale| stale.to_string())).await;
    }
    fleet.net.heal();
    fleet.until("fresh", || fleet.cluster(alone).is_fresh().err().map(|stale| stale.to_string())).await;
    let seen = fleet.cluster(alone).registry().confirm(Instant::now() + Duration::from_secs(60)).await.unwrap();
    assert!(seen >= written);
    assert!(fleet.cluster(alone).registry().get("deploy/x").await.unwrap().is_some());
    fleet.settled(&[0, 1, 2]).await;
    fleet.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_cut_off_and_then_removed_is_waited_for_until_its_lease_is_over() {
    let fleet = Fleet::new(4, GROUPS).await;
    fleet.settled(&[0, 1, 2, 3]).await;
    let system = fleet.leader(SYSTEM, &[0, 1, 2, 3]).unwrap();
    let cut = (system + 1) % 4;
    let node = fleet.nodes[cut].id;
    fleet.isolate(cut, Way::Cut);
    // Much faster than an operator, whose removals wait until other nodes have its replicas.
    let map = fleet.cluster(system).map().borrow().clone().unwrap();
    let known = &map.members[&node];
    let mut removal = Change::default();
    let removed = Member { state: State::Removed, ..known.value.clone() };
    removal.put(record::node_name(node), Some(known.revision), &removed);
    let registry = fleet.cluster(system).registry();
    registry.write(removal.expect, removal.ops).await.unwrap();

    let deployed = registry.write(absent("deploy/x"), put("deploy/x", "1")).await.unwrap();
    fleet.cluster(system).everywhere(deployed).await;
    assert!(fleet.cluster(cut).is_fresh().is_err(), "it may start what is older than the deploy");
    fleet.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_reach_the_leader_of_the_system_group_gives_its_groups_to_the_node_between_them() {
    let fleet = Fleet::new(3, GROUPS).await;
    // On a busy machine another node may come to lead the system group meanwhile: then nobody is shut out.
    while !gives_its_groups_to_the_bridge(&fleet).await {
        fleet.net.heal();
    }
    fleet.net.heal();
    fleet.settled(&[0, 1, 2]).await;
    fleet.stop_all().await;
}

/// Cuts the way between the leader of the system group and another node, and waits until that one leads nothing. False if
/// another node has become leader.
async fn gives_its_groups_to_the_bridge(fleet: &Fleet) -> bool {
    fleet.settled(&[0, 1, 2]).await;
    let system = fleet.leader(SYSTEM, &[0, 1, 2]).unwrap();
    let (cut, bridge) = ((system + 1) % 3, (system + 2) % 3);
    let led = |number: usize| {
        let leads = |group: &u32| fleet.shards(number).group(*group).unwrap().leadership().borrow().is_some();
        (SYSTEM..=GROUPS).filter(leads).collect::<Vec<_>>()
    };
    let before = led(cut);
    assert!(!before.is_empty(), "all nodes lead evenly");
    fleet.net.set_both(fleet.nodes[system].id, fleet.nodes[cut].id, Way::Cut);
    let replaced = || fleet.leader(SYSTEM, &[bridge]).is_some_and(|leader| leader != system);
    let doubts_at = Cell::new(None);
    let given = || {
        let fresh = [system, bridge, cut].map(|number| fleet.cluster(number).is_fresh().is_ok());
        let (left, there) = (led(cut), led(bridge));
        let moved = fresh == [true, true, false] && left.is_empty() && before.iter().all(|group| there.contains(group));
        // It doubts the leaders that it cannot hear, again and again, and nobody follows it.
        let doubts = fleet.net.calls(Topic::PreVote);
        if moved && doubts_at.get().is_none() {
            doubts_at.set(Some(doubts));
        }
        let stays = moved && doubts_at.get().is_some_and(|before| doubts >= before + 4);
        (!stays && !replaced()).then(|| format!("fresh {fresh:?}, leads {left:?} and {there:?} of {before:?}"))
    };
    fleet.until("given away", given).await;
    !replaced()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_gives_its_groups_to_others_first() {
    let mut fleet = Fleet::new(3, GROUPS).await;
    fleet.settled(&[0, 1, 2]).await;
    fleet.cluster(2).step_down(Instant::now() + PATIENCE).await;
    let leads = fleet.shards(2).all().iter().filter(|shard| shard.leadership().borrow().is_some()).count();
    assert_eq!(leads, 0);
    fleet.stop(2).await;
    fleet.start(2).await;
    fleet.settled(&[0, 1, 2]).await;
    fleet.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_moves_the_leadership_of_a_group() {
    let fleet = Fleet::new(3, GROUPS).await;
    fleet.settled(&[0, 1, 2]).await;
    let from = fleet.leader(1, &[0, 1, 2]).unwrap();
    let to = (from + 1) % 3;
    fleet.cluster(from).transfer(1, fleet.nodes[to].id).await.unwrap();
    let led = || (fleet.leader(1, &[0, 1, 2]) != Some(to)).then(|| "another one leads".to_owned());
    fleet.until("moved", led).await;
    fleet.settled(&[0, 1, 2]).await;
    fleet.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_one_too_many_is_told_so_and_may_come_when_another_one_was_removed() {
    let mut fleet = Fleet::with(3, GROUPS, Config { members_max: 3, ..Config::default() }).await;
    fleet.settled(&[0, 1, 2]).await;
    fleet.add().await;
    let fate = tokio::time::timeout(PATIENCE, fleet.cluster(3).fate()).await.expect("it is told");
    assert!(matches!(&fate, Error::Unwelcome(reason) if reason.contains("has 3 nodes, as many as")), "{fate}");
    fleet.stop(3).await;

    let leaves = fleet.nodes[2].id;
    fleet.cluster(0).remove(leaves).await.unwrap();
    let removed = || {
        let state = node(&fleet.cluster(0).status()?, leaves).member.state;
        (state != State::Removed).then(|| format!("{state:?}"))
    };
    fleet.until("removed", removed).await;
    fleet.start(3).await;
    fleet.settled(&[0, 1, 3]).await;
    fleet.stop_all().await;
}
