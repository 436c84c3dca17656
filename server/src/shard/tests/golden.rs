//! The bytes of the log's contents. A change here is a change of the format: nodes would misread each other's logs.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use openraft::{EntryPayload, Membership};
use uuid::Uuid;

use super::world::*;
use crate::shard::codec::{self, Decoded};
use crate::shard::command::{BorrowedOp, Write};
use crate::shard::types::{Entry, Leader, LogId, Peer, Proposal, StoredMembership, Vote};
use crate::shard::{Command, Create, Expect, NodeId, RecordOp, RegistryOp};
use crate::store::wal::WalEntry;
use crate::store::{DestroyReason, KeyShare};

fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(Leader { term, node_id: NodeId(Uuid::from_u128(0xaabb)) }, index)
}

fn commands() -> Vec<(Command, &'static str)> {
    let share = KeyShare { node: Uuid::from_u128(3), epoch: 300, sealed: Bytes::from_static(b"k") };
    let create = Create {
        incarnation: Uuid::from_u128(1),
        created_at_ms: 300,
        sealed_name: Some(Bytes::from_static(b"nm")),
        key_shares: vec![share],
    };
    let id = "0101010101010101010101010101010101010101010101010101010101010101";
    assert_eq!(actor(1).to_string(), id);
    vec![
        (Command::Activate { actor: actor(1), namespace: "s/C".to_owned(), create: None }, "0100<id>03732f4300"),
        (
            Command::Activate { actor: actor(1), namespace: "s/C".to_owned(), create: Some(create) },
            "0100<id>03732f43011000000000000000000000000000000001ac0201026e6d011000000000000000000000000000000003ac02016b",
        ),
        (
            Command::Write {
                actor: actor(1),
                incarnation: Uuid::from_u128(2),
                activation: 5,
                seq: 6,
                ops: vec![put(7, b"v"), RecordOp::Delete { id: record(8) }, RecordOp::DeleteAll],
            },
            "0101<id>10000000000000000000000000000000020506030007070707070707070707070707070707010701760108080808080808080808080808080808\
             02",
        ),
        (
            Command::Destroy {
                actor: actor(1),
                expected: Some(Uuid::from_u128(2)),
                destroyed_at_ms: 300,
                reason: DestroyReason::Operator,
            },
            "0102<id>011000000000000000000000000000000002ac0202",
        ),
        (
            Command::Register {
                expect: vec![
                    Expect { key: Bytes::from_static(b"slots"), revision: Some(300) },
                    Expect { key: Bytes::from_static(b"n"), revision: None },
                ],
                ops: vec![
                    RegistryOp::Put { key: Bytes::from_static(b"n"), value: Bytes::from_static(b"v") },
                    RegistryOp::Delete { key: Bytes::from_static(b"d") },
                ],
            },
            "0103 02 05736c6f7473 01ac02 016e 00 02 00 016e 0176 01 0164",
        ),
    ]
}

#[test]
fn commands_have_these_bytes() {
    for (command, golden) in commands() {
        let golden = golden.replace("<id>", &hex::encode(actor(1).0)).replace(' ', "");
        let bytes = codec::encode_command(&command);
        assert_eq!(hex::encode(&bytes), golden, "{command:?}");
        assert_eq!(codec::is_write(&bytes), matches!(command, Command::Write { .. }), "{command:?}");
        assert_eq!(codec::decode_command(&bytes).unwrap(), command);
        assert_eq!(owned(codec::decode_borrowed(&bytes).unwrap()), command);
    }
}

/// What was borrowed, as the command it stands for.
fn owned(decoded: Decoded<'_>) -> Command {
    let op = |op: &BorrowedOp<'_>| match op {
        BorrowedOp::Put { id, name, value } => {
            RecordOp::Put { id: *id, name: Bytes::copy_from_slice(name), value: Bytes::copy_from_slice(value) }
        }
        BorrowedOp::Delete { id } => RecordOp::Delete { id: *id },
        BorrowedOp::DeleteAll => RecordOp::DeleteAll,
    };
    match decoded {
        Decoded::Write(Write { actor, incarnation, activation, seq, ops }) => {
            Command::Write { actor, incarnation, activation, seq, ops: ops.iter().map(op).collect() }
        }
        Decoded::Other(command) => command,
    }
}

#[test]
fn a_command_that_is_cut_or_longer_or_of_another_version_is_refused() {
    for (command, _) in commands() {
        let bytes = codec::encode_command(&command);
        for len in 0..bytes.len() {
            assert!(codec::decode_command(&bytes[..len]).is_err(), "{len} bytes of {command:?}");
            assert!(codec::decode_borrowed(&bytes[..len]).is_err(), "{len} bytes of {command:?}");
        }
        assert!(codec::decode_command(&[&bytes[..], &[0]].concat()).is_err());
        assert!(codec::decode_borrowed(&[&bytes[..], &[0]].concat()).is_err());
        let mut other = bytes.to_vec();
        other[0] = 2;
        assert!(codec::decode_command(&other).is_err());
        assert!(codec::decode_borrowed(&other).is_err());
    }
}

#[test]
fn several_commands_in_one_entry_have_these_bytes() {
    let batch = codec::encode_batch([Bytes::from_static(b"one"), Bytes::from_static(b"three")].iter());
    assert_eq!(hex::encode(&batch), "0104 03000000 6f6e65 05000000 7468726565".replace(' ', ""));
    let commands: Vec<_> = commands().into_iter().map(|(command, _)| command).collect();
    let encoded: Vec<_> = commands.iter().map(codec::encode_command).collect();
    let read = |entry: &[u8]| -> std::io::Result<Vec<Command>> {
        codec::commands(entry).map(|command| codec::decode_command(command?)).collect()
    };
    let batch = codec::encode_batch(encoded.iter());
    assert_eq!(read(&batch).unwrap(), commands);
    assert_eq!(read(&encoded[0]).unwrap(), commands[..1], "a command alone is no batch");
    let ends: Vec<usize> = encoded
        .iter()
        .scan(2, |at, command| {
            *at += 4 + command.len();
            Some(*at)
        })
        .collect();
    for len in 2..batch.len() {
        assert_eq!(read(&batch[..len]).is_ok(), len == 2 || ends.contains(&len), "{len} bytes");
    }
    assert!(read(&codec::encode_batch([batch].iter())).is_err(), "a batch in a batch");
    assert!(codec::is_write(&codec::encode_batch([encoded[2].clone(), encoded[2].clone()].iter())));
    assert!(!codec::is_write(&codec::encode_batch([encoded[2].clone(), encoded[3].clone()].iter())));
}

fn membership() -> Membership<NodeId, Peer> {
    let node = NodeId(Uuid::from_u128(1));
    let peer = Peer { incarnation: 7 };
    Membership::new(vec![BTreeSet::from([node])], BTreeMap::from([(node, peer)])).unwrap()
}

#[test]
fn entries_have_these_bytes() {
    let head = "010000000000000000000000000000aabb";
    let proposal = Proposal { bytes: Bytes::from_static(b"command") };
    let entries = [
        (EntryPayload::Blank, "00"),
        (EntryPayload::Normal(proposal), "01636f6d6d616e64"),
        (
            EntryPayload::Membership(membership()),
            "020101100000000000000000000000000000000101100000000000000000000000000000000107",
        ),
    ];
    for (payload, golden) in entries {
        let entry = Entry { log_id: log_id(3, 9), payload };
        let stored = codec::encode_entry(&entry);
        assert_eq!((stored.index, stored.term), (9, 3));
        assert_eq!(hex::encode(&stored.bytes), format!("{head}{golden}"));
        assert_eq!(codec::decode_entry(&stored).unwrap(), entry);
    }
}

#[test]
fn an_entry_that_is_cut_is_refused() {
    let entry = codec::encode_entry(&Entry { log_id: log_id(3, 9), payload: EntryPayload::Blank });
    for len in 0..entry.bytes.len() {
        let cut = WalEntry { bytes: entry.bytes.slice(..len), ..entry.clone() };
        assert!(codec::decode_entry(&cut).is_err(), "{len} bytes");
    }
}

#[test]
fn log_ids_votes_and_memberships_have_these_bytes() {
    let id = codec::encode_log_id(&log_id(3, 9));
    assert_eq!(hex::encode(&id), "0103000000000000000000000000000000000000000000aabb0900000000000000");
    assert_eq!(codec::decode_log_id(&id).unwrap(), log_id(3, 9));

    let vote = Vote { leader_id: log_id(3, 0).leader_id, committed: true };
    let bytes = codec::encode_vote(&vote);
    assert_eq!(hex::encode(&bytes), "0103000000000000000000000000000000000000000000aabb01");
    assert_eq!(codec::decode_vote(&bytes).unwrap(), vote);

    let stored = StoredMembership::new(Some(log_id(3, 9)), membership());
    let bytes = codec::encode_membership(&stored);
    let golden = "01010310 0000000000000000000000000000aabb 09 010110 00000000000000000000000000000001 0110 \
                  00000000000000000000000000000001 07";
    assert_eq!(hex::encode(&bytes), golden.replace(' ', ""));
    assert_eq!(codec::decode_membership(&bytes).unwrap(), stored);
}

#[test]
fn votes_order_by_term_then_node_then_commitment() {
    let vote = |term, node: u64, committed| {
        let leader_id = Leader { term, node_id: NodeId::from(node) };
        codec::encode_vote(&Vote { leader_id, committed })
    };
    let ascending = [vote(1, 1, false), vote(1, 1, true), vote(1, 2, false), vote(2, 1, false), vote(256, 0, false)];
    for (i, a) in ascending.iter().enumerate() {
        for (j, b) in ascending.iter().enumerate() {
            assert_eq!(codec::compare_votes(a, b), i.cmp(&j), "{i} {j}");
        }
    }
}
