//! Keys of two nodes that answer each other. Each has its own group 1 with itself as the voter and the other as a learner, and
//! the same actors are proposed to both, as replication would do.

mod trio;
mod world;

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use lethe_proto::ActorId;
use uuid::Uuid;

use self::world::{NEVER, Node, Pair, owner, until};
use super::{
    message::{Answer, Ask, Found, PAGE, decode, encode},
    rotation,
};
use crate::{
    peer::{Head, Lane, Refusal, Topic},
    shard::NodeId,
    vault::Recipient,
};

fn head(group: u32) -> Head {
    Head { lane: Lane::Control, topic: Topic::Keys, group, incarnation: 1 }
}

async fn asked(pair: &Pair, from: NodeId, group: u32, ask: &Ask) -> Result<Answer, Refusal> {
    let bytes = pair.a.keys.handler().call(from, head(group), encode(ask).into()).await?;
    Ok(decode(&bytes).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_missed_its_share_gets_the_key_from_another_member() {
    let pair = Pair::start().await;
    let share = pair.create_for_a(1).await;
    assert!(pair.a.vault.holds(owner(1)));
    until("the key is there", || pair.b.vault.holds(owner(1))).await;
    until("nothing is missing", || pair.b.keys.missing(1) == 0).await;
    let id = |node: &Node| node.vault.sealer(owner(1).actor, owner(1).incarnation).unwrap().record_id(b"x");
    assert_eq!(id(&pair.a), id(&pair.b));
    assert_eq!(share.node, pair.a.shards.node().0);
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_nobody_gives_is_missing_until_somebody_does() {
    let pair = Pair::start().await;
    pair.post.cut(true);
    pair.create_for_a(1).await;
    pair.create_for_a(2).await;
    assert_eq!(pair.b.keys.missing(1), 2);
    assert!(pair.b.keys.sealer(&pair.b.shard(), owner(1)).await.is_err());
    pair.post.cut(false);
    until("the keys are there", || pair.b.keys.missing(1) == 0).await;
    assert!(pair.b.vault.holds(owner(1)) && pair.b.vault.holds(owner(2)));
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_that_is_to_be_activated_does_not_wait_for_the_background() {
    let pair = Pair::start_with(NEVER, NEVER).await;
    pair.post.cut(true);
    pair.create_for_a(1).await;
    until("it was asked for in vain", || pair.post.refused() > 0).await;
    pair.post.cut(false);
    let sealer = pair.b.keys.sealer(&pair.b.shard(), owner(1)).await.unwrap();
    assert_eq!(sealer.actor(), owner(1).actor);
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_came_by_snapshot_looks_for_every_key() {
    let pair = Pair::start().await;
    for n in 1..=5 {
        pair.create_for_a(n).await;
    }
    until("the keys are there", || pair.b.keys.missing(1) == 0).await;
    let owners: Vec<_> = (1..=5).map(owner).collect();
    // As if they had never come. What was erased lately is not taken again, so this is another vault's work.
    let fresh = pair.b.reopened_without_keys().await;
    assert_eq!(fresh.vault.incarnations(), []);
    fresh.keys.effects().installed(1).unwrap();
    fresh.attach(&pair);
    until("the keys came again", || owners.iter().all(|owner| fresh.vault.holds(*owner))).await;
    until("nothing is missing", || fresh.keys.missing(1) == 0).await;
    fresh.keys.stop().await;
    pair.a.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destroyed_actor_leaves_no_key_on_any_node_and_none_is_given() {
    let pair = Pair::start().await;
    pair.create_for_a(1).await;
    until("the key is there", || pair.b.vault.holds(owner(1))).await;
    pair.a.destroy(1).await;
    assert_eq!(pair.a.vault.incarnations(), []);
    let (from, to) = (pair.b.shards.node(), pair.b.vault.recipient());
    let wanted = [1, 9].map(|n| (owner(n).actor, owner(n).incarnation)).to_vec();
    let answer = asked(&pair, from, 1, &Ask::Keys { to, wanted }).await;
    assert_eq!(answer, Ok(Answer::Keys(vec![Found::Gone, Found::Missing])));
    pair.b.destroy(1).await;
    assert_eq!(pair.b.vault.incarnations(), []);
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_given_to_members_of_the_group_only_and_only_sealed_to_whoever_asks() {
    let pair = Pair::start().await;
    pair.create_for_a(1).await;
    let (b, stranger) = (pair.b.shards.node(), NodeId::from(77));
    let wanted = vec![(owner(1).actor, owner(1).incarnation)];
    let mine = Ask::Keys { to: pair.b.vault.recipient(), wanted: wanted.clone() };
    let theirs = Ask::Keys { to: Recipient { node: stranger, ..pair.b.vault.recipient() }, wanted };
    assert!(
        matches!(asked(&pair, b, 1, &mine).await, Ok(Answer::Keys(found)) if matches!(found[..], [Found::Share(_)]))
    );
    assert!(matches!(asked(&pair, stranger, 1, &theirs).await, Err(Refusal::Sender(_))), "no member");
    assert!(matches!(asked(&pair, b, 1, &theirs).await, Err(Refusal::Sender(_))), "for somebody else");
    assert!(matches!(asked(&pair, b, 7, &mine).await, Err(Refusal::NoReplica { group: 7, .. })));
    let much = vec![(ActorId([0; 32]), Uuid::nil()); PAGE + 1];
    let much = Ask::Keys { to: pair.b.vault.recipient(), wanted: much };
    assert!(matches!(asked(&pair, b, 1, &much).await, Err(Refusal::Malformed(_))));
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_question_are_refused() {
    let pair = Pair::start().await;
    let whole = encode(&Ask::Epoch);
    let bad: [&[u8]; 5] = [&[], &[1], &[2, 0], &[1, 9], &[whole.clone(), vec![0]].concat()];
    for bytes in bad {
        let answer = pair.a.keys.handler().call(NodeId::from(1), head(0), Bytes::copy_from_slice(bytes)).await;
        assert!(matches!(answer, Err(Refusal::Malformed(_))), "{bytes:?}: {answer:?}");
    }
    assert_eq!(asked(&pair, NodeId::from(1), 0, &Ask::Epoch).await, Ok(Answer::Epoch(pair.a.vault.recipient())));
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_sealed_to_every_member_that_says_its_epoch() {
    let pair = Pair::start().await;
    let (a, b) = (pair.a.vault.recipient(), pair.b.vault.recipient());
    pair.post.cut(true);
    assert_eq!(pair.a.keys.recipients(&pair.a.shard()).await, Ok(vec![a]));
    pair.post.cut(false);
    assert_eq!(pair.a.keys.recipients(&pair.a.shard()).await, Ok(vec![a, b]));
    pair.post.cut(true);
    assert_eq!(pair.a.keys.recipients(&pair.a.shard()).await, Ok(vec![a, b]), "what was learned is kept for a while");
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_a_group_that_leaves_the_node_are_erased() {
    let pair = Pair::start().await;
    pair.create_for_a(1).await;
    pair.create_for_a(2).await;
    assert_eq!(pair.a.vault.incarnations().len(), 2);
    pair.a.shards.remove(1).await.unwrap();
    until("the keys are gone", || pair.a.vault.incarnations().is_empty()).await;
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn key_epochs_are_replaced_on_a_timer_but_not_before_the_log_is_applied() {
    let pair = Pair::start_with(Duration::from_millis(20), NEVER).await;
    until("the epoch changes", || pair.a.vault.recipient().epoch > 3).await;
    let last = pair.a.shard().metrics().last;
    let ends = |end| BTreeMap::from([(1, end), (9, Some(1))]);
    assert_eq!(rotation::unsettled(&pair.a.shards, &ends(last)), None);
    assert_eq!(rotation::unsettled(&pair.a.shards, &ends(last.map(|last| last + 1))), Some(1));
    pair.stop().await;
}
