//! Nodes join, leave and come back; leadership is handed over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::{StreamExt, stream};
use openraft::async_runtime::WatchReceiver;

use super::fleet::{Fleet, add, incarnation, seq, vote, within};
use super::net::Way;
use super::world::*;
use crate::peer::{self, Head, Lane, Refusal, Topic};
use crate::shard::{Begin, ChangeError, Error, Members, NodeId, Shard};
use crate::store::wal::{GroupId, Life};

fn voters(fleet: &Fleet, numbers: &[usize]) -> BTreeMap<NodeId, u64> {
    numbers.iter().map(|number| (fleet.id(*number), incarnation(*number))).collect()
}

fn settled(shard: &Shard) -> Option<Members> {
    Some(shard.members()).filter(|members| !members.joint && !members.pending)
}

async fn wait_for_voters(fleet: &Fleet, number: usize, group: u32, expected: &BTreeMap<NodeId, u64>) {
    let shard = fleet.shard(number, group);
    within("the new voters are known", || {
        std::future::ready(settled(&shard).is_some_and(|members| members.voters == *expected))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_grows_from_one_node_to_three_and_each_has_everything() {
    let fleet = Fleet::bare(3, Fleet::config(1)).await;
    fleet.found(1, 0, &[0]).await;
    fleet.surely(&[0], 1, create(1)).await;
    fleet.written(&[0], 1, 1, 1, vec![put(1, b"early")]).await;
    for joins in [1, 2] {
        let before: Vec<usize> = (0..joins).collect();
        let after: Vec<usize> = (0..=joins).collect();
        fleet.shards(joins).create(1, incarnation(joins), Begin::Join).await.unwrap();
        fleet.changed(&before, 1, |shard| add(&fleet, shard, joins, incarnation(joins))).await;
        let lead = fleet.shard(fleet.leader_among(&before, 1).await, 1);
        assert_eq!(lead.members().learners, voters(&fleet, &[joins]));
        let learner = fleet.shard(joins, 1);
        within("the learner has caught up", || async { value(&learner, 1, 1).await.is_some() }).await;
        within("and its leader knows", || async {
            let lead = fleet.shard(fleet.leader_among(&before, 1).await, 1);
            lead.progress().is_some_and(|progress| progress[&fleet.id(joins)] >= Some(1))
        })
        .await;
        fleet.changed(&before, 1, |shard| vote(&fleet, shard, &after)).await;
    }
    let whole = Members { voters: voters(&fleet, &[0, 1, 2]), ..Members::default() };
    for number in 0..3 {
        let shard = fleet.shard(number, 1);
        within("all know the members", || std::future::ready(shard.members() == whole)).await;
    }
    // Asking for what is so changes nothing.
    fleet.changed(&[0, 1, 2], 1, |shard| vote(&fleet, shard, &[0, 1, 2])).await;
    fleet.changed(&[0, 1, 2], 1, |shard| add(&fleet, shard, 1, incarnation(1))).await;
    assert_eq!(fleet.shard(0, 1).members(), whole);
    fleet.agree(&[0, 1, 2], 1).await;
    assert_eq!(value(&fleet.shard(2, 1), 1, 1).await.as_deref(), Some(&b"early"[..]));
    fleet.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_replaced_steps_down_and_comes_back_as_another_life() {
    let fleet = Fleet::new(3, Fleet::config(1)).await;
    fleet.surely(&[0, 1, 2], 1, create(1)).await;
    let old = fleet.leader(1).await;
    let others: Vec<usize> = (0..3).filter(|number| *number != old).collect();
    fleet.changed(&[0, 1, 2], 1, |shard| vote(&fleet, shard, &others)).await;
    let next = fleet.leader_among(&others, 1).await;
    wait_for_voters(&fleet, next, 1, &voters(&fleet, &others)).await;
    fleet.shards(old).remove(1).await.unwrap();
    assert!(fleet.shards(old).group(1).is_none());
    fleet.shards(old).remove(1).await.unwrap();
    fleet.surely(&others, 1, activation(1, None)).await;

    let again = fleet.shards(old).create(1, incarnation(old), Begin::Join).await;
    assert!(matches!(again, Err(Error::Refused(_))), "the same life does not come back");
    fleet.shards(old).create(1, 10, Begin::Join).await.unwrap();
    fleet.changed(&others, 1, |shard| add(&fleet, shard, old, 10)).await;
    let other_life = fleet.shard(fleet.leader_among(&others, 1).await, 1).add_learner(fleet.id(old), 11).await;
    assert!(matches!(other_life, Err(ChangeError::Refused(_))), "{other_life:?}");
    fleet.changed(&others, 1, |shard| vote(&fleet, shard, &[0, 1, 2])).await;
    fleet.agree(&[0, 1, 2], 1).await;
    assert_eq!(fleet.shard(old, 1).members().voters[&fleet.id(old)], 10);
    fleet.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_removed_is_not_brought_back_by_late_messages_nor_by_a_restart() {
    let mut fleet = Fleet::new(3, Fleet::config(1)).await;
    fleet.surely(&[0, 1, 2], 1, create(1)).await;
    let leader = fleet.leader(1).await;
    let leaves = (leader + 1) % 3;
    let stay: Vec<usize> = (0..3).filter(|number| *number != leaves).collect();
    for number in &stay {
        fleet.net.set(fleet.id(*number), fleet.id(leaves), Way::Held);
    }
    fleet.changed(&stay, 1, |shard| vote(&fleet, shard, &stay)).await;
    fleet.shards(leaves).remove(1).await.unwrap();
    let messages = fleet.net.calls(Topic::PreVote) + fleet.net.calls(Topic::Heartbeats);
    fleet.net.heal();
    within("late messages came", || {
        std::future::ready(fleet.net.calls(Topic::PreVote) + fleet.net.calls(Topic::Heartbeats) > messages)
    })
    .await;
    assert!(fleet.shards(leaves).group(1).is_none());
    let life = |fleet: &Fleet| fleet.shards(leaves).hosted.wal.groups().get(&GroupId(1)).copied();
    assert_eq!(life(&fleet), Some(Life::Destroyed(incarnation(leaves))));
    fleet.stop(leaves).await;
    fleet.start(leaves).await;
    assert!(fleet.shards(leaves).group(1).is_none());
    assert_eq!(life(&fleet), Some(Life::Destroyed(incarnation(leaves))));
    fleet.agree(&stay, 1).await;
    fleet.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_replaced_while_it_was_down_neither_votes_nor_leads_with_its_old_disk() {
    let mut fleet = Fleet::new(3, Fleet::config(1)).await;
    let new = fleet.add().await;
    fleet.surely(&[0, 1, 2], 1, create(1)).await;
    let old = (fleet.leader(1).await + 1) % 3;
    let stay: Vec<usize> = (0..3).filter(|number| *number != old).collect();
    let group: Vec<usize> = stay.iter().copied().chain([new]).collect();
    fleet.stop(old).await;
    fleet.shards(new).create(1, incarnation(new), Begin::Join).await.unwrap();
    fleet.changed(&stay, 1, |shard| add(&fleet, shard, new, incarnation(new))).await;
    fleet.changed(&stay, 1, |shard| vote(&fleet, shard, &group)).await;
    let asked = fleet.net.calls(Topic::PreVote);
    fleet.start(old).await;
    // It still believes that it is a voter, and asks for votes over and over.
    within("it asked often", || std::future::ready(fleet.net.calls(Topic::PreVote) > asked + 6)).await;
    for seq in 1..=20 {
        fleet.written(&group, 1, 1, seq, vec![]).await;
    }
    for number in &group {
        let shard = fleet.shard(*number, 1);
        let voted = shard.replica.raft.metrics().borrow_watched().vote.leader_id.node_id;
        assert_ne!(voted, fleet.id(old));
        assert!(!shard.members().voters.contains_key(&fleet.id(old)));
    }
    assert_eq!(*fleet.shard(old, 1).leadership().borrow(), None);
    fleet.agree(&group, 1).await;
    fleet.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_is_handed_around_while_writes_go_on_and_no_acknowledged_one_is_lost() {
    let fleet = Arc::new(Fleet::new(3, Fleet::config(1)).await);
    fleet.surely(&[0, 1, 2], 1, create(1)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let (writing, stopping) = (fleet.clone(), stop.clone());
    let writer = tokio::spawn(async move {
        let mut seq = 0;
        while !stopping.load(Ordering::Relaxed) {
            seq += 1;
            writing.written(&[0, 1, 2], 1, 1, seq, vec![put(seq as u8, &seq.to_le_bytes())]).await;
        }
        seq
    });
    for _ in 0..5 {
        let from = fleet.leader(1).await;
        let to = (from + 1) % 3;
        within("leadership is handed over", || async {
            // A machine that is busy may elect somebody else in between, and then this is refused.
            let handed = fleet.shard(from, 1).transfer(fleet.id(to)).await;
            handed.is_ok() || fleet.leader(1).await != from
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    let written = writer.await.unwrap();
    fleet.agree(&[0, 1, 2], 1).await;
    assert_eq!(seq(&fleet.shard(0, 1), 1).await, Some(written));
    Arc::into_inner(fleet).unwrap().stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_is_not_handed_to_who_cannot_lead() {
    let mut fleet = Fleet::new(3, Fleet::config(1)).await;
    let learner = fleet.add().await;
    fleet.shards(learner).create(1, incarnation(learner), Begin::Join).await.unwrap();
    fleet.changed(&[0, 1, 2], 1, |shard| add(&fleet, shard, learner, incarnation(learner))).await;
    let leader = fleet.leader_among(&[0, 1, 2], 1).await;
    let shard = fleet.shard(leader, 1);
    let refused = shard.transfer(fleet.id(learner)).await;
    assert!(matches!(&refused, Err(ChangeError::Refused(_) | ChangeError::NotLeader { .. })), "{refused:?}");
    let down = (leader + 1) % 3;
    fleet.stop(down).await;
    let up: Vec<usize> = fleet.up().into_iter().filter(|number| *number != learner).collect();
    within("the node that is down is out of touch", || async {
        let lead = fleet.shard(fleet.leader_among(&up, 1).await, 1);
        lead.can_lead(fleet.id(down)).is_err_and(|why| why.ends_with("not in touch"))
    })
    .await;
    drop(shard);
    let leader = fleet.leader_among(&up, 1).await;
    let shard = fleet.shard(leader, 1);
    let refused = shard.transfer(fleet.id(down)).await;
    assert!(matches!(&refused, Err(ChangeError::Refused(_) | ChangeError::NotLeader { .. })), "{refused:?}");
    fleet.surely(&up, 1, create(1)).await;
    let outsider = fleet.shard(learner, 1);
    let elsewhere = outsider.transfer(fleet.id(leader)).await;
    assert!(matches!(elsewhere, Err(ChangeError::NotLeader { .. })), "{elsewhere:?}");
    let elsewhere = outsider.change_voters(BTreeSet::from([fleet.id(leader)])).await;
    assert!(matches!(elsewhere, Err(ChangeError::NotLeader { .. })), "{elsewhere:?}");
    drop((shard, outsider));
    fleet.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_goes_on_where_it_is_when_entries_do_not_reach_the_next_leader() {
    let fleet = Fleet::new(3, Fleet::config(1)).await;
    fleet.surely(&[0, 1, 2], 1, create(1)).await;
    let (to, up) = match fleet.leader(1).await {
        2 => (0, [1, 2]),
        0 => (2, [0, 1]),
        _ => (2, [1, 0]),
    };
    // Heartbeats reach it, so it is in touch.
    up.iter().for_each(|other| fleet.net.set(fleet.id(*other), fleet.id(to), Way::Calls));
    fleet.surely(&up, 1, create(2)).await;
    within("a hand-over is refused, and its leader goes on", || async {
        let shard = fleet.shard(fleet.leader_among(&up, 1).await, 1);
        let Some(epoch) = *shard.leadership().borrow() else { return false };
        let handed = shard.transfer(fleet.id(to)).await;
        // A machine that is busy may elect somebody else in between.
        let went_on = shard.propose(epoch, create(3)).await;
        matches!(handed, Err(ChangeError::Refused(why)) if why.starts_with("entries do not reach")) && went_on.is_ok()
    })
    .await;
    fleet.net.heal();
    within("leadership is handed over", || async {
        let from = fleet.leader(1).await;
        from == to || fleet.shard(from, 1).transfer(fleet.id(to)).await.is_ok()
    })
    .await;
    fleet.agree(&[0, 1, 2], 1).await;
    fleet.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_for_a_replica_that_is_not_here_is_refused_and_makes_nothing() {
    let fleet = Fleet::bare(2, Fleet::config(2)).await;
    fleet.found(1, 0, &[0, 1]).await;
    let transport = fleet.net.transport(fleet.id(0));
    let soon = || std::time::Instant::now() + std::time::Duration::from_secs(60);
    let head = |topic, group, incarnation| Head { lane: Lane::Control, topic, group, incarnation };
    let garbage = Bytes::from_static(b"\x01 no message of ours");
    for topic in [Topic::Vote, Topic::PreVote, Topic::Append, Topic::TransferLeader] {
        for (group, life) in [(2, 1), (0, 0), (1, incarnation(1) + 1), (1, incarnation(1) - 1), (u32::MAX, 1)] {
            let answer = transport.call(fleet.id(1), head(topic, group, life), garbage.clone(), soon()).await;
            assert_eq!(answer, Err(peer::Error::Refused(Refusal::NoReplica { group, incarnation: life })));
        }
        let answer = transport.call(fleet.id(1), head(topic, 1, incarnation(1)), garbage.clone(), soon()).await;
        assert!(matches!(answer, Err(peer::Error::Refused(Refusal::Malformed(_)))), "{topic:?}: {answer:?}");
    }
    let messages = || stream::iter([garbage.clone()]).boxed();
    let absent = transport.stream(fleet.id(1), head(Topic::Snapshot, 2, 1), messages()).await;
    assert!(matches!(absent, Err(peer::Error::Refused(Refusal::NoReplica { .. }))));
    let one_group = transport.stream(fleet.id(1), head(Topic::AppendStream, 1, incarnation(1)), messages()).await;
    assert!(matches!(one_group, Err(peer::Error::Refused(Refusal::Malformed(_)))));
    for (topic, group, life) in [(Topic::AppendStream, 0, 0), (Topic::Snapshot, 1, incarnation(1))] {
        let answers = transport.stream(fleet.id(1), head(topic, group, life), messages()).await;
        let answers: Vec<_> = answers.map_err(|error| error.to_string()).unwrap().collect().await;
        assert!(matches!(answers[..], [Err(peer::Error::Refused(Refusal::Malformed(_)))]), "{topic:?}: {answers:?}");
    }
    assert_eq!(fleet.shards(1).all().len(), 1);
    assert_eq!(fleet.shards(1).hosted.wal.groups().into_keys().collect::<Vec<_>>(), [GroupId(1)]);
    fleet.stop_all().await;
}
