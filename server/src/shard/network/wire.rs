//! The bytes of what replicas say to each other.
//!
//! ```text
//! append    version u8 | head bytes u32 | postcard(AppendHead) | entries * (index u64, term u64, bytes u32, entry)
//! others    version u8 | postcard(message)
//! ```
//!
//! Integers are little-endian; an entry has the bytes it has in the log, so it is taken over without being copied.
//! Whatever comes in is checked here, before openraft sees it: openraft panics on what a sound peer never says.

use bytes::{Buf, BufMut, Bytes};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::peer::Refusal;
use crate::shard::types::{LogId, SnapshotMeta, Types, Vote};
use crate::shard::{NodeId, codec};
use crate::store::wal::WalEntry;

/// Raised with every change that the other side could misread; nodes of two versions do not understand each other.
const VERSION: u8 = 2;
/// Bytes of an append message before its head.
const FIXED: usize = 1 + 4;
/// Bytes of an append message's head at most: a vote and two log ids.
const HEAD_BYTES_MAX: usize = 128;
/// Bytes of an entry before its own.
const ENTRY_FIXED: usize = 8 + 8 + 4;

/// An append message without its entries.
#[derive(Serialize, Deserialize)]
struct AppendHead {
    vote: Vote,
    prev: Option<LogId>,
    committed: Option<LogId>,
}

/// A heartbeat of one group, among others.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Beat {
    pub group: u32,
    pub incarnation: u64,
    pub vote: Vote,
    pub prev: Option<LogId>,
    pub committed: Option<LogId>,
}

/// What a replica said to a heartbeat; nothing if it is not there or did not answer in time.
pub(super) type BeatAnswer = Option<AppendEntriesResponse<Types>>;

/// What stands before the chunks of a snapshot.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SnapshotHead {
    pub vote: Vote,
    pub meta: SnapshotMeta,
    pub bytes: u64,
}

/// Says how a snapshot fares.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum SnapshotAnswer {
    /// It is still being taken in: so many of its bytes are here. With all of them it is checked and installed.
    Working { taken: u64 },
    /// It is installed, or the vote is higher than the sender's.
    Done(Vote),
}

pub(super) fn encode<T: Serialize>(message: &T) -> Bytes {
    Bytes::from(postcard::to_extend(message, vec![VERSION]).expect("writing to memory does not fail"))
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => whole(rest),
        Some((other, _)) => Err(Refusal::Malformed(format!("its version is {other}, this node reads {VERSION}"))),
        None => Err(malformed("it is empty")),
    }
}

pub(super) fn encode_append(request: &AppendEntriesRequest<Types>) -> Bytes {
    let mut message = Vec::with_capacity(append_bytes(request));
    put_append(&mut message, request);
    Bytes::from(message)
}

/// What an append message takes at most, in bytes.
pub(super) fn append_bytes(request: &AppendEntriesRequest<Types>) -> usize {
    let entries = request.entries.iter().map(|entry| ENTRY_FIXED + codec::entry_bytes(entry));
    FIXED + HEAD_BYTES_MAX + entries.sum::<usize>()
}

pub(super) fn put_append(message: &mut Vec<u8>, request: &AppendEntriesRequest<Types>) {
    let head = AppendHead { vote: request.vote, prev: request.prev_log_id, committed: request.leader_commit };
    message.push(VERSION);
    put_with_len(message, |message| put_postcard(message, &head));
    for entry in &request.entries {
        message.put_u64_le(entry.log_id.index);
        message.put_u64_le(entry.log_id.leader_id.term);
        put_with_len(message, |message| codec::put_entry(message, entry));
    }
}

/// What `write` writes, behind its length.
pub(super) fn put_with_len(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.put_u32_le(0);
    write(out);
    let len = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&len.to_le_bytes());
}

pub(super) fn put_postcard<T: Serialize>(out: &mut Vec<u8>, value: &T) {
    *out = postcard::to_extend(value, std::mem::take(out)).expect("writing to memory does not fail");
}

/// Reads an append message of the leader `from`.
pub(super) fn decode_append(from: NodeId, mut bytes: Bytes) -> Result<AppendEntriesRequest<Types>, Refusal> {
    let cut = || malformed("it is cut short");
    match bytes.try_get_u8() {
        Ok(VERSION) => {}
        Ok(other) => return Err(Refusal::Malformed(format!("its version is {other}, this node reads {VERSION}"))),
        Err(_) => return Err(cut()),
    }
    let len = bytes.try_get_u32_le().map_err(|_| cut())? as usize;
    if len > bytes.len() {
        return Err(cut());
    }
    let AppendHead { vote, prev, committed } = whole(&bytes.split_to(len))?;
    check_leader(from, &vote)?;
    let mut entries = Vec::new();
    let mut last = prev.map(|prev| (prev.index, prev.leader_id.term));
    while bytes.has_remaining() {
        let (index, term) = (bytes.try_get_u64_le(), bytes.try_get_u64_le());
        let (Ok(index), Ok(term), Ok(len)) = (index, term, bytes.try_get_u32_le()) else { return Err(cut()) };
        if len as usize > bytes.len() {
            return Err(cut());
        }
        let follows = last.map_or(index == 0, |(before, old)| before.checked_add(1) == Some(index) && old <= term);
        if !follows || term > vote.leader_id.term {
            return Err(malformed("its entries do not follow each other"));
        }
        last = Some((index, term));
        let stored = WalEntry { index, term, bytes: bytes.split_to(len as usize) };
        entries.push(codec::decode_entry(&stored).map_err(|error| Refusal::Malformed(error.to_string()))?);
    }
    Ok(AppendEntriesRequest { vote, prev_log_id: prev, entries, leader_commit: committed })
}

/// Only the leader itself speaks for its vote.
pub(super) fn check_leader(from: NodeId, vote: &Vote) -> Result<(), Refusal> {
    match vote.is_committed() && vote.leader_id.node_id == from {
        true => Ok(()),
        false => Err(malformed("its sender is not the leader it names")),
    }
}

pub(super) fn malformed(what: &str) -> Refusal {
    Refusal::Malformed(what.to_owned())
}

fn whole<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(malformed("there are bytes behind its end")),
        Err(error) => Err(Refusal::Malformed(error.to_string())),
    }
}
