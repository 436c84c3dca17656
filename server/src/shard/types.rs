//! How openraft is configured for us: its type parameters, and nothing else.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Applied, Epoch, NodeId};
use crate::store::octets;

openraft::declare_raft_types!(
    /// openraft's type parameters.
    pub(super) Types:
        D = Proposal,
        R = Option<Applied>,
        NodeId = NodeId,
        Node = Peer,
);

pub(super) type Leader = openraft::impls::leader_id_adv::LeaderId<u64, NodeId>;
pub(super) type LogId = openraft::type_config::alias::LogIdOf<Types>;
pub(super) type Vote = openraft::type_config::alias::VoteOf<Types>;
pub(super) type Entry = openraft::type_config::alias::EntryOf<Types>;
pub(super) type Payload = openraft::type_config::alias::PayloadOf<Types>;
pub(super) type StoredMembership = openraft::type_config::alias::StoredMembershipOf<Types>;
pub(super) type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<Types>;

/// An encoded command, as it stands in the log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Proposal {
    #[serde(with = "octets")]
    pub bytes: Bytes,
}

/// What is known of a replica besides its id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Peer {
    /// The life of the node's replica. A message names it, so that a replica that is gone is not taken for a later one.
    pub incarnation: u64,
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command of {} bytes", self.bytes.len())
    }
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Leader> for Epoch {
    fn from(leader: Leader) -> Self {
        Self { term: leader.term, node: leader.node_id }
    }
}

impl From<Epoch> for Leader {
    fn from(epoch: Epoch) -> Self {
        Self { term: epoch.term, node_id: epoch.node }
    }
}
