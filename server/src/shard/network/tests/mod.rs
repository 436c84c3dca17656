//! Messages that are not what they should be, and what the receiver says to them.

use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt, StreamExt, stream};
use openraft::EntryPayload;
use openraft::error::RPCError;
use openraft::raft::AppendEntriesRequest;
use openraft::vote::RaftVote;

use super::appends;
use super::wire::{self, Beat, SnapshotHead};
use crate::peer::{Head, Lane, Refusal, Topic};
use crate::shard::NodeId;
use crate::shard::tests::net::Net;
use crate::shard::types::{Entry, Leader, LogId, Proposal, Types, Vote};

fn leader() -> NodeId {
    NodeId::from(7)
}

fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(Leader { term, node_id: leader() }, index)
}

fn vote(term: u64, committed: bool) -> Vote {
    Vote::from_leader_id(Leader { term, node_id: leader() }, committed)
}

fn entry(term: u64, index: u64) -> Entry {
    let payload = EntryPayload::Normal(Proposal { bytes: Bytes::from(vec![index as u8; index as usize]) });
    Entry { log_id: log_id(term, index), payload }
}

fn request(prev: Option<LogId>, entries: Vec<Entry>) -> AppendEntriesRequest<Types> {
    AppendEntriesRequest { vote: vote(3, true), prev_log_id: prev, entries, leader_commit: Some(log_id(2, 4)) }
}

#[test]
fn an_append_message_arrives_as_it_was_sent() {
    for sent in [
        request(None, vec![]),
        request(None, vec![entry(1, 0), entry(1, 1)]),
        request(Some(log_id(2, 4)), vec![entry(2, 5), entry(3, 6)]),
    ] {
        let came = wire::decode_append(leader(), wire::encode_append(&sent)).unwrap();
        assert_eq!(
            (came.vote, came.prev_log_id, came.leader_commit),
            (sent.vote, sent.prev_log_id, sent.leader_commit)
        );
        assert_eq!(came.entries, sent.entries);
    }
}

#[test]
fn an_append_message_that_no_sound_leader_sends_is_refused() {
    let wrong = [
        ("a hole", request(Some(log_id(2, 4)), vec![entry(2, 6)])),
        ("no beginning", request(None, vec![entry(2, 1)])),
        ("a term that falls", request(Some(log_id(2, 4)), vec![entry(1, 5)])),
        ("a term above the leader's", request(Some(log_id(2, 4)), vec![entry(4, 5)])),
        ("a candidate", AppendEntriesRequest { vote: vote(3, false), ..request(None, vec![]) }),
    ];
    for (what, request) in wrong {
        let came = wire::decode_append(leader(), wire::encode_append(&request));
        assert!(matches!(came, Err(Refusal::Malformed(_))), "{what}");
    }
    let other = wire::decode_append(NodeId::from(8), wire::encode_append(&request(None, vec![])));
    assert!(matches!(other, Err(Refusal::Malformed(_))), "in another's name");
}

#[test]
fn a_message_that_is_cut_or_changed_is_refused_or_read_but_never_a_panic() {
    let sent = wire::encode_append(&request(Some(log_id(2, 4)), vec![entry(2, 5), entry(3, 6)]));
    for len in 0..sent.len() {
        // Cut between two entries it is a shorter message; that is the transport's to notice.
        if let Ok(came) = wire::decode_append(leader(), sent.slice(..len)) {
            assert!(came.entries.len() < 2, "{len}");
        }
    }
    for at in 0..sent.len() {
        for bit in 0..8 {
            let mut changed = sent.to_vec();
            changed[at] ^= 1 << bit;
            let _ = wire::decode_append(leader(), Bytes::from(changed));
        }
    }
    let beat = Beat { group: 1, incarnation: 2, vote: vote(3, true), prev: None, committed: Some(log_id(1, 1)) };
    let sent = wire::encode(&vec![beat]);
    for len in 0..sent.len() {
        assert!(wire::decode::<Vec<Beat>>(&sent[..len]).is_err(), "{len}");
        assert!(wire::decode::<SnapshotHead>(&sent[..len]).is_err(), "{len}");
    }
    for at in 0..sent.len() {
        let mut changed = sent.to_vec();
        changed[at] = 0xff;
        let _ = wire::decode::<Vec<Beat>>(&changed);
    }
    assert!(matches!(wire::decode::<Beat>(&[2, 0]), Err(Refusal::Malformed(_))), "another version");
}

#[tokio::test]
async fn a_message_that_tells_only_of_a_commit_is_left_out_when_another_follows_soon() {
    let nothing = || request(Some(log_id(2, 4)), vec![]);
    let some = |index| request(Some(log_id(2, index - 1)), vec![entry(2, index)]);
    let messages = [some(5), nothing(), nothing(), some(6), some(7), nothing()];
    let sent = appends::sparing(stream::iter(messages)).map(|message| message.entries);
    let expected = [vec![entry(2, 5)], vec![entry(2, 6)], vec![entry(2, 7)], vec![]];
    assert_eq!(sent.collect::<Vec<_>>().await, expected);

    let lonely = stream::iter([nothing()]).chain(stream::pending()).boxed();
    let sent = Box::pin(appends::sparing(lonely)).next().await.expect("it is sent after a moment");
    assert_eq!(sent.leader_commit, Some(log_id(2, 4)));
}

#[test]
fn a_replica_that_cannot_be_reached_is_not_tried_before_there_is_something_to_send() {
    let net = Net::default();
    let begin = |input| {
        let head = Head { lane: Lane::Log, topic: Topic::AppendStream, group: 1, incarnation: 1 };
        appends::stream(net.transport(leader()), NodeId::from(8), head, Duration::from_secs(1), input)
    };
    // openraft makes its first message only when it has waited for long enough after a failure.
    assert!(begin(stream::pending().boxed()).now_or_never().is_none());
    assert_eq!(net.calls(Topic::AppendStream), 0);
    let tried = begin(stream::iter([request(None, vec![])]).boxed()).now_or_never().expect("it fails at once");
    assert!(matches!(tried, Err(RPCError::Unreachable(_))));
    assert_eq!(net.calls(Topic::AppendStream), 1);
}
