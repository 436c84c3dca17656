//! Errors of the room. Every refusal of a proposal says whether it surely did not happen.

use std::io;
use std::path::PathBuf;

use super::NodeId;
use crate::store::{state, wal};

/// Starting, reading or stopping failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state store failed or refuses to open.
    #[error(transparent)]
    State(#[from] state::Error),
    /// The write-ahead log failed or refuses to open.
    #[error(transparent)]
    Wal(#[from] wal::Error),
    /// A file of the data directory could not be read or written.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The configuration makes no sense.
    #[error("shard configuration: {0}")]
    Config(String),
    /// The data directory, the snapshots and the log do not fit together.
    #[error("{0}")]
    Refused(String),
    /// A replica of the group is being made or removed.
    #[error("group {group}: its replica is being made or removed")]
    Busy {
        /// The group.
        group: u32,
    },
    /// The shard stopped, by shutdown or by a fatal error that was logged.
    #[error("the shard stopped: {0}")]
    Stopped(String),
}

/// A proposal has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// It was refused before it reached the log: it did not happen and never will.
    #[error("not done: {0}")]
    NotDone(NotDone),
    /// It may or may not happen.
    #[error("unknown whether it was done: {0}")]
    Unknown(String),
}

/// Why a proposal surely did not happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDone {
    /// This node does not lead the shard in the given epoch.
    #[error("this node does not lead the shard in that epoch")]
    NotLeader {
        /// Who leads, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// The command is larger than the limit.
    #[error("the command has {bytes} bytes, at most {bytes_max} are allowed")]
    TooLarge {
        /// Its encoded size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// Too many proposals wait.
    #[error("too many proposals wait")]
    Overloaded,
    /// The disk is full; nothing was written.
    #[error("the disk is full")]
    DiskFull,
    /// Most of the group's voters could not write it; nothing was written.
    #[error("the disks of {full} of the group's {voters} voters are full")]
    DisksFull {
        /// Voters whose log cannot grow.
        full: usize,
        /// All voters.
        voters: usize,
    },
    /// The shard stopped.
    #[error("the shard stopped")]
    Stopped,
}

/// Leadership could not be confirmed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// This node does not lead the shard, or a quorum did not confirm it in time.
    #[error("this node does not lead the shard")]
    NotLeader {
        /// Who leads, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// Too many read-index requests wait.
    #[error("too many reads wait")]
    Overloaded,
    /// The applied state did not reach the read index in time.
    #[error("the shard did not confirm the read in time")]
    Timeout,
    /// The shard stopped.
    #[error("the shard stopped: {0}")]
    Stopped(String),
}

/// Members or the leader of a group were not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// This node does not lead the group: nothing was done.
    #[error("this node does not lead the group")]
    NotLeader {
        /// Who leads, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// Another change has not ended yet: nothing was done.
    #[error("another change of members is under way")]
    Pending,
    /// It makes no sense now: nothing was done.
    #[error("{0}")]
    Refused(String),
    /// It has begun and may or may not come to pass.
    #[error("unknown whether it was done: {0}")]
    Unknown(String),
    /// The shard stopped: it may or may not come to pass.
    #[error("the shard stopped")]
    Stopped,
}
