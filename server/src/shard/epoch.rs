//! `Epoch`: one leadership of one shard. Two epochs are equal only if no other leader was in between.

use std::fmt;

use lethe_proto::NodeId;
use serde::{Deserialize, Serialize};

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
