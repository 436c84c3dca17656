//! The bytes of what the groups of two nodes say to each other on the stream they share.
//!
//! ```text
//! messages    version u8 | part*      part: 1 u8 | opening u64 | group u32 | incarnation u64     an opening begins
//!                                           2 u8 | opening u64 | bytes u32 | append message
//!                                           3 u8 | opening u64                                   it ends
//! answers     version u8 | postcard(Answer)*
//! ```
//!
//! Integers are little-endian. An opening has no more answers than messages, and they are in the same order.

use bytes::{Buf, Bytes};
use openraft::raft::AppendEntriesRequest;
use serde::{Deserialize, Serialize};

use super::wire::{self, malformed};
use crate::peer::{Error, Refusal};
use crate::shard::types::{Types, Vote};

const VERSION: u8 = 1;
const OPEN: u8 = 1;
const APPEND: u8 = 2;
const CLOSE: u8 = 3;
/// Answers in one message.
const ANSWERS_MAX: usize = 1 << 16;

/// A part of a batch of messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// An opening begins, for one life of a replica.
    Open { opening: u64, group: u32, incarnation: u64 },
    /// An append message of an opening.
    Append { opening: u64, message: Bytes },
    /// An opening is given up.
    Close { opening: u64 },
}

/// What is said to messages of an opening.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer {
    /// So many more messages are in the log.
    Taken { opening: u64, count: u32 },
    /// The next message does not fit what is in the log. The opening is over.
    Conflict { opening: u64 },
    /// The next message's leader was replaced. The opening is over.
    HigherVote { opening: u64, vote: Vote },
    /// The opening is over.
    Ended { opening: u64, why: Why },
}

/// Why the receiver ends an opening.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Why {
    /// There is no such replica here.
    NoReplica { group: u32, incarnation: u64 },
    /// A message cannot be read, or is one too many.
    Malformed(String),
    /// The replica has stopped.
    Stopped(String),
}

impl Why {
    pub fn into_error(self) -> Error {
        Error::Refused(match self {
            Self::NoReplica { group, incarnation } => Refusal::NoReplica { group, incarnation },
            Self::Malformed(text) => Refusal::Malformed(text),
            Self::Stopped(text) => Refusal::Unavailable(text),
        })
    }
}

impl Answer {
    pub fn opening(&self) -> u64 {
        match self {
            Self::Taken { opening, .. }
            | Self::Conflict { opening }
            | Self::HigherVote { opening, .. }
            | Self::Ended { opening, .. } => *opening,
        }
    }
}

/// An empty batch of messages or answers, with room for so many bytes.
pub(super) fn begin(bytes: usize) -> Vec<u8> {
    let mut batch = Vec::with_capacity(bytes + 64);
    batch.push(VERSION);
    batch
}

/// Adds the parts of one batch to another.
pub(super) fn join(batch: &mut Vec<u8>, more: &[u8]) {
    batch.extend_from_slice(more.get(1..).unwrap_or_default());
}

pub(super) fn put_open(batch: &mut Vec<u8>, opening: u64, group: u32, incarnation: u64) {
    batch.push(OPEN);
    batch.extend_from_slice(&opening.to_le_bytes());
    batch.extend_from_slice(&group.to_le_bytes());
    batch.extend_from_slice(&incarnation.to_le_bytes());
}

pub(super) fn put_append(batch: &mut Vec<u8>, opening: u64, request: &AppendEntriesRequest<Types>) {
    batch.push(APPEND);
    batch.extend_from_slice(&opening.to_le_bytes());
    wire::put_with_len(batch, |batch| wire::put_append(batch, request));
}

pub(super) fn put_close(batch: &mut Vec<u8>, opening: u64) {
    batch.push(CLOSE);
    batch.extend_from_slice(&opening.to_le_bytes());
}

pub(super) fn put_answer(batch: &mut Vec<u8>, answer: &Answer) {
    wire::put_postcard(batch, answer);
}

/// Reads the parts of a batch, one by one. After an error there is nothing more.
pub(super) fn parts(mut bytes: Bytes) -> impl Iterator<Item = Result<Part, Refusal>> {
    let mut begun = false;
    std::iter::from_fn(move || {
        if !std::mem::replace(&mut begun, true)
            && let Err(refusal) = version(&mut bytes)
        {
            bytes.clear();
            return Some(Err(refusal));
        }
        if bytes.is_empty() {
            return None;
        }
        let part = part(&mut bytes);
        if part.is_err() {
            bytes.clear();
        }
        Some(part)
    })
}

pub(super) fn decode_answers(mut bytes: &[u8]) -> Result<Vec<Answer>, Refusal> {
    version(&mut bytes)?;
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        if answers.len() == ANSWERS_MAX {
            return Err(malformed("too many answers in one message"));
        }
        let (answer, rest) = postcard::take_from_bytes(bytes).map_err(|error| Refusal::Malformed(error.to_string()))?;
        answers.push(answer);
        bytes = rest;
    }
    Ok(answers)
}

fn version(bytes: &mut impl Buf) -> Result<(), Refusal> {
    match bytes.try_get_u8() {
        Ok(VERSION) => Ok(()),
        Ok(other) => Err(Refusal::Malformed(format!("its version is {other}, this node reads {VERSION}"))),
        Err(_) => Err(malformed("it is empty")),
    }
}

fn part(bytes: &mut Bytes) -> Result<Part, Refusal> {
    let cut = |_| malformed("it is cut short");
    let kind = bytes.try_get_u8().map_err(cut)?;
    let opening = bytes.try_get_u64_le().map_err(cut)?;
    match kind {
        OPEN => {
            let group = bytes.try_get_u32_le().map_err(cut)?;
            let incarnation = bytes.try_get_u64_le().map_err(cut)?;
            Ok(Part::Open { opening, group, incarnation })
        }
        APPEND => {
            let len = bytes.try_get_u32_le().map_err(cut)? as usize;
            if len > bytes.len() {
                return Err(malformed("it is cut short"));
            }
            Ok(Part::Append { opening, message: bytes.split_to(len) })
        }
        CLOSE => Ok(Part::Close { opening }),
        other => Err(Refusal::Malformed(format!("a part is of kind {other}, which this node does not know"))),
    }
}
