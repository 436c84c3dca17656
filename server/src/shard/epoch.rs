//! `Epoch`: one leadership of one shard. Two epochs are equal only if no other leader was in between.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Identity of a node. Made once when its data directory is made, never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub Uuid);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The fencing token of a leadership: a proposal that carries another epoch than the leader's is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch {
    /// Raft's term.
    pub term: u64,
    /// The leader.
    pub node: NodeId,
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.term, self.node)
    }
}
