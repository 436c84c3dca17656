//! Errors of the room.

use lethe_proto::NodeId;

use super::map::Unreadable;
use crate::{peer, shard};

/// Something of the cluster could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The node's own replicas failed.
    #[error(transparent)]
    Shard(#[from] shard::Error),
    /// The registry cannot be understood.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// A change of the registry was not made.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The others will not have this node, now or ever.
    #[error("this node cannot be a member of the cluster: {0}")]
    Unwelcome(String),
    /// The data directory does not fit the cluster.
    #[error("{0}")]
    Refused(String),
    /// There is no such node.
    #[error("there is no node {0} in this cluster")]
    NoSuchNode(NodeId),
    /// There is no such group.
    #[error("there is no group {0}")]
    NoSuchGroup(u32),
    /// What an operator asked for makes no sense now: nothing was done.
    #[error("{0}")]
    NotNow(String),
    /// It is not known whether it was done.
    #[error("unknown whether it was done: {0}")]
    Unknown(String),
    /// The node stops.
    #[error("the node is stopping")]
    Stopped,
}

/// A change of the registry has no revision.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Not done: somebody else changed this name first.
    #[error("`{0}` was changed by somebody else in the meantime")]
    Conflict(String),
    /// Not done, and never will be.
    #[error("the registry refuses it: {0}")]
    Refused(String),
    /// Not done: there is no leader, or it could not do it in time.
    #[error("the registry cannot be changed now: {0}")]
    NotDone(String),
    /// It may or may not be done.
    #[error("unknown whether the registry was changed: {0}")]
    Unknown(String),
}

/// This node's knowledge may be old: it must not start anything new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stale {
    /// The node does not know the registry yet.
    #[error("this node is starting and does not know the cluster yet")]
    Starting,
    /// The registry was not confirmed for too long.
    #[error("this node has not been in touch with a majority of the cluster for {0} ms")]
    Lapsed(u64),
}

/// Whether a message surely had no effect.
pub(super) fn not_delivered(error: &peer::Error) -> bool {
    match error {
        peer::Error::Unreachable(_) | peer::Error::Refused(_) => true,
        peer::Error::Lost(_) | peer::Error::Deadline => false,
    }
}
