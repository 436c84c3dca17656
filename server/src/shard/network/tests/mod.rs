//! Messages that are not what they should be, and what the receiver says to them.

mod far;
mod intake;
mod openings;
mod together;

use bytes::Bytes;
use openraft::raft::AppendEntriesRequest;
use openraft::vote::RaftVote;
use openraft::{EntryPayload, Membership};

use super::batch::{self, Answer, Part, Why};
use super::wire::{self, Beat, SnapshotHead};
use crate::peer::Refusal;
use crate::shard::NodeId;
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
    let refused = Refusal::Malformed("its version is 1, this node reads 2".to_owned());
    let old = [&[1], &sent[1..]].concat();
    assert_eq!(wire::decode::<Vec<Beat>>(&old).unwrap_err(), refused, "before snapshots said how far they are");
}

#[test]
fn an_append_message_is_never_longer_than_was_said_before() {
    let membership = Membership::new_with_defaults(vec![[leader(), NodeId::from(8)].into()], []);
    let member = Entry { log_id: log_id(u64::MAX, 1), payload: EntryPayload::Membership(membership) };
    let blank = Entry { log_id: log_id(u64::MAX, 1), payload: EntryPayload::Blank };
    let highest = Some(log_id(u64::MAX, u64::MAX));
    for entries in [vec![], vec![entry(1, 0), entry(1, 200)], vec![member], vec![blank]] {
        let mut sent = request(highest, entries);
        (sent.vote, sent.leader_commit) = (vote(u64::MAX, true), highest);
        assert!(wire::append_bytes(&sent) >= wire::encode_append(&sent).len(), "{} entries", sent.entries.len());
    }
}

/// A batch with every kind of part.
fn a_batch() -> (Bytes, Vec<Part>) {
    let sent = request(Some(log_id(2, 4)), vec![entry(2, 5), entry(3, 6)]);
    let mut bytes = batch::begin(0);
    batch::put_open(&mut bytes, 7, 3, 9);
    batch::put_append(&mut bytes, 7, &sent);
    let mut large = batch::begin(0);
    batch::put_append(&mut large, 8, &sent);
    batch::join(&mut bytes, &large);
    batch::put_close(&mut bytes, 7);
    let message = wire::encode_append(&sent);
    let parts = vec![
        Part::Open { opening: 7, group: 3, incarnation: 9 },
        Part::Append { opening: 7, message: message.clone() },
        Part::Append { opening: 8, message },
        Part::Close { opening: 7 },
    ];
    (Bytes::from(bytes), parts)
}

#[test]
fn a_batch_arrives_as_it_was_sent() {
    let (bytes, parts) = a_batch();
    assert_eq!(batch::parts(bytes).collect::<Result<Vec<_>, _>>(), Ok(parts));
    let answers = [
        Answer::Taken { opening: 1, count: 300 },
        Answer::Conflict { opening: u64::MAX },
        Answer::HigherVote { opening: 2, vote: vote(9, false) },
        Answer::Ended { opening: 3, why: Why::NoReplica { group: 4, incarnation: 5 } },
    ];
    let mut bytes = batch::begin(0);
    answers.iter().for_each(|answer| batch::put_answer(&mut bytes, answer));
    assert_eq!(batch::decode_answers(&bytes), Ok(answers.to_vec()));
}

#[test]
fn a_batch_that_is_cut_or_changed_is_refused_or_read_but_never_a_panic() {
    let (sent, parts) = a_batch();
    for len in 0..sent.len() {
        let came: Vec<_> = batch::parts(sent.slice(..len)).collect();
        let sound = came.iter().take_while(|part| part.is_ok()).count();
        assert!(came.len() - sound <= 1, "{len}: nothing follows what cannot be read");
        assert!(came.iter().flatten().eq(&parts[..sound]), "{len}: a part that was not sent");
        assert!(sound < parts.len(), "{len}: more than was sent");
    }
    for at in 0..sent.len() {
        for bit in 0..8 {
            let mut changed = sent.to_vec();
            changed[at] ^= 1 << bit;
            for part in batch::parts(Bytes::from(changed.clone())).flatten() {
                if let Part::Append { message, .. } = part {
                    let _ = wire::decode_append(leader(), message);
                }
            }
            let _ = batch::decode_answers(&changed);
        }
    }
    for wrong in [&[][..], &[2], &[1, 9, 0, 0, 0, 0, 0, 0, 0, 0]] {
        let came: Vec<_> = batch::parts(Bytes::copy_from_slice(wrong)).collect();
        assert!(matches!(came[..], [Err(Refusal::Malformed(_))]), "{wrong:?}");
    }
}
