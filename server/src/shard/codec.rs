//! The bytes of what a group keeps in the log: commands, entries, log ids, votes and memberships.
//!
//! ```text
//! command     version u8 | postcard(Command)
//! batch       version u8 | 4 u8 | (bytes u32 | command)*          stands where a command can stand
//! entry       version u8 | leader's node 16 | kind u8 | blank: nothing, normal: command, membership: postcard
//!             (index and term stand in the log's own record)
//! log id      version u8 | term u64 | node 16 | index u64
//! vote        version u8 | term u64 | node 16 | committed u8
//! membership  version u8 | postcard(StoredMembership)
//! ```
//!
//! Integers are little-endian. The golden tests fail when any of these bytes change.

use std::cmp::Ordering;
use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use openraft::EntryPayload;
use openraft::vote::RaftVote;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::command::Write;
use super::types::{Entry, Leader, LogId, Payload, Proposal, StoredMembership, Vote};
use super::{Command, NodeId};
use crate::store::wal::WalEntry;

const VERSION: u8 = 1;
/// What postcard begins a `Command::Write` with.
const WRITE: u8 = 1;
/// What a batch of commands has there. No command begins with it.
const BATCH: u8 = 4;
/// Bytes of a batch before its commands, and before each of them.
pub(super) const BATCH_HEAD: usize = 2;
pub(super) const COMMAND_HEAD: usize = 4;
const BLANK: u8 = 0;
const NORMAL: u8 = 1;
const MEMBERSHIP: u8 = 2;
/// Bytes of an entry before its payload.
const ENTRY_HEAD: usize = 1 + 16 + 1;

pub(super) fn encode_command(command: &Command) -> Bytes {
    Bytes::from(versioned(command))
}

pub(super) fn decode_command(bytes: &[u8]) -> io::Result<Command> {
    unversioned(bytes, "a command")
}

/// A command as it is applied.
#[derive(Debug)]
pub(super) enum Decoded<'e> {
    /// One that is common, and reads its operations where they stand.
    Write(Write<'e>),
    /// Any other.
    Other(Command),
}

/// Decodes a command without copies where that pays.
pub(super) fn decode_borrowed(bytes: &[u8]) -> io::Result<Decoded<'_>> {
    match bytes {
        [VERSION, WRITE, rest @ ..] => whole(rest, "a command").map(Decoded::Write),
        bytes => decode_command(bytes).map(Decoded::Other),
    }
}

/// Whether all commands of an entry are `Write`s, told by their first bytes.
pub(super) fn is_write(proposal: &[u8]) -> bool {
    commands(proposal).all(|command| command.is_ok_and(|command| command.starts_with(&[VERSION, WRITE])))
}

/// Several encoded commands as one.
pub(super) fn encode_batch<'a>(commands: impl Iterator<Item = &'a Bytes> + Clone) -> Bytes {
    let bytes = commands.clone().map(|command| COMMAND_HEAD + command.len()).sum::<usize>();
    let mut batch = BytesMut::with_capacity(BATCH_HEAD + bytes);
    batch.put_slice(&[VERSION, BATCH]);
    for command in commands {
        batch.put_u32_le(command.len() as u32);
        batch.put_slice(command);
    }
    batch.freeze()
}

/// The encoded commands of an entry: one, or those of a batch. After an error there is nothing more.
pub(super) fn commands(proposal: &[u8]) -> impl Iterator<Item = io::Result<&[u8]>> {
    let (mut alone, mut rest) = match proposal {
        [VERSION, BATCH, rest @ ..] => (None, rest),
        alone => (Some(alone), &[][..]),
    };
    std::iter::from_fn(move || {
        if let Some(alone) = alone.take() {
            return Some(Ok(alone));
        }
        if rest.is_empty() {
            return None;
        }
        let cut = rest
            .split_first_chunk()
            .and_then(|(bytes, rest)| rest.split_at_checked(u32::from_le_bytes(*bytes) as usize));
        rest = cut.map_or(&[][..], |(_, rest)| rest);
        Some(cut.map(|(command, _)| command).ok_or_else(|| unreadable("a batch")))
    })
}

pub(super) fn encode_entry(entry: &Entry) -> WalEntry {
    let mut bytes = BytesMut::with_capacity(ENTRY_HEAD + payload_hint(&entry.payload));
    put_entry(&mut bytes, entry);
    WalEntry { index: entry.log_id.index, term: entry.log_id.leader_id.term, bytes: bytes.freeze() }
}

pub(super) fn put_entry(out: &mut impl BufMut, entry: &Entry) {
    out.put_u8(VERSION);
    out.put_slice(entry.log_id.leader_id.node_id.0.as_bytes());
    match &entry.payload {
        EntryPayload::Blank => out.put_u8(BLANK),
        EntryPayload::Normal(proposal) => {
            out.put_u8(NORMAL);
            out.put_slice(&proposal.bytes);
        }
        EntryPayload::Membership(membership) => {
            out.put_u8(MEMBERSHIP);
            out.put_slice(&postcard(membership));
        }
    }
}

/// How many bytes `put_entry` writes.
pub(super) fn entry_bytes(entry: &Entry) -> usize {
    let payload = match &entry.payload {
        EntryPayload::Blank => 0,
        EntryPayload::Normal(proposal) => proposal.bytes.len(),
        EntryPayload::Membership(membership) => postcard(membership).len(),
    };
    ENTRY_HEAD + payload
}

pub(super) fn decode_entry(entry: &WalEntry) -> io::Result<Entry> {
    let log_id = entry_log_id(entry)?;
    let payload = entry.bytes.slice(ENTRY_HEAD..);
    let payload = match entry.bytes[ENTRY_HEAD - 1] {
        BLANK if payload.is_empty() => EntryPayload::Blank,
        NORMAL => EntryPayload::Normal(Proposal { bytes: payload }),
        MEMBERSHIP => EntryPayload::Membership(whole(&payload, "a membership")?),
        _ => return Err(unreadable("an entry")),
    };
    Ok(Entry { log_id, payload })
}

/// The log id of an entry.
pub(super) fn entry_log_id(entry: &WalEntry) -> io::Result<LogId> {
    if entry.bytes.len() < ENTRY_HEAD || entry.bytes[0] != VERSION {
        return Err(unreadable("an entry"));
    }
    let node = entry.bytes[1..17].try_into().map_err(|_| unreadable("an entry"))?;
    Ok(LogId::new(leader(entry.term, node), entry.index))
}

pub(super) fn encode_log_id(log_id: &LogId) -> Bytes {
    let mut bytes = BytesMut::with_capacity(33);
    bytes.put_u8(VERSION);
    bytes.put_u64_le(log_id.leader_id.term);
    bytes.put_slice(log_id.leader_id.node_id.0.as_bytes());
    bytes.put_u64_le(log_id.index);
    bytes.freeze()
}

pub(super) fn decode_log_id(bytes: &[u8]) -> io::Result<LogId> {
    let bytes: &[u8; 33] = bytes.try_into().map_err(|_| unreadable("a log id"))?;
    let [VERSION, rest @ ..] = bytes else { return Err(unreadable("a log id")) };
    let (term, node, index) = (array(rest, 0), array(rest, 8), array(rest, 24));
    Ok(LogId::new(leader(u64::from_le_bytes(term), node), u64::from_le_bytes(index)))
}

pub(super) fn encode_vote(vote: &Vote) -> Bytes {
    let mut bytes = BytesMut::with_capacity(26);
    bytes.put_u8(VERSION);
    bytes.put_u64_le(vote.leader_id.term);
    bytes.put_slice(vote.leader_id.node_id.0.as_bytes());
    bytes.put_u8(u8::from(vote.committed));
    bytes.freeze()
}

pub(super) fn decode_vote(bytes: &[u8]) -> io::Result<Vote> {
    let bytes: &[u8; 26] = bytes.try_into().map_err(|_| unreadable("a vote"))?;
    let [VERSION, rest @ .., committed @ (0 | 1)] = bytes else { return Err(unreadable("a vote")) };
    let leader = leader(u64::from_le_bytes(array(rest, 0)), array(rest, 8));
    Ok(Vote::from_leader_id(leader, *committed == 1))
}

/// Order of two encoded votes; one that cannot be read is below all others.
pub(super) fn compare_votes(a: &[u8], b: &[u8]) -> Ordering {
    let order = |bytes: &[u8]| decode_vote(bytes).ok().map(|vote| (vote.leader_id, vote.committed));
    order(a).cmp(&order(b))
}

pub(super) fn encode_membership(membership: &StoredMembership) -> Bytes {
    Bytes::from(versioned(membership))
}

/// Nothing stored is the empty membership.
pub(super) fn decode_membership(bytes: &[u8]) -> io::Result<StoredMembership> {
    match bytes {
        [] => Ok(StoredMembership::default()),
        bytes => unversioned(bytes, "a membership"),
    }
}

fn payload_hint(payload: &Payload) -> usize {
    match payload {
        EntryPayload::Normal(proposal) => proposal.bytes.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    }
}

fn leader(term: u64, node: [u8; 16]) -> Leader {
    Leader { term, node_id: NodeId(Uuid::from_bytes(node)) }
}

/// `N` bytes from `start` on. The callers' arrays are long enough by their types.
fn array<const N: usize>(bytes: &[u8], start: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[start + i])
}

fn versioned<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_extend(value, vec![VERSION]).expect("writing to memory does not fail")
}

fn unversioned<T: DeserializeOwned>(bytes: &[u8], what: &str) -> io::Result<T> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => whole(rest, what),
        _ => Err(unreadable(what)),
    }
}

fn postcard<T: Serialize>(value: T) -> Vec<u8> {
    postcard::to_extend(&value, Vec::new()).expect("writing to memory does not fail")
}

fn whole<'e, T: Deserialize<'e>>(bytes: &'e [u8], what: &str) -> io::Result<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        _ => Err(unreadable(what)),
    }
}

fn unreadable(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what} in the log cannot be read by this version"))
}
