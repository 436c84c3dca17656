//! How openraft is configured for us: its type parameters, and nothing else.

use std::fmt;

use bytes::Bytes;
use openraft::raft::responder::Responder;
use openraft::{EntryPayload, OptionalSend, RaftTypeConfig};
use serde::{Deserialize, Serialize};

use super::{Applied, Epoch, NodeId};
use crate::store::octets;

/// openraft's type parameters.
#[derive(Debug, Clone, Copy, Default, Eq, PartialEq, Ord, PartialOrd)]
pub(super) struct Types;

impl RaftTypeConfig for Types {
    type D = Proposal;
    type R = Outcome;
    type NodeId = NodeId;
    type Node = Peer;
    type Term = u64;
    type LeaderId = Leader;
    type Vote = openraft::impls::Vote<Leader>;
    type Payload = EntryPayload<Proposal, NodeId, Peer>;
    type Entry = openraft::Entry<Leader, Self::Payload>;
    type AsyncRuntime = super::runtime::Runtime;
    type Responder<T>
        = Callback<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

pub(super) type Leader = openraft::impls::leader_id_adv::LeaderId<u64, NodeId>;
pub(super) type LogId = openraft::type_config::alias::LogIdOf<Types>;
pub(super) type Vote = openraft::type_config::alias::VoteOf<Types>;
pub(super) type Entry = openraft::type_config::alias::EntryOf<Types>;
pub(super) type Payload = openraft::type_config::alias::PayloadOf<Types>;
pub(super) type StoredMembership = openraft::type_config::alias::StoredMembershipOf<Types>;
pub(super) type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<Types>;

/// An encoded command, or several, as they stand in the log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Proposal {
    #[serde(with = "octets")]
    pub bytes: Bytes,
}

/// What applying an entry did: nothing that anybody asked for, or the results of its commands, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Outcome(pub Vec<Applied>);

/// Called with what became of a proposal. It goes away without being called when openraft stops.
pub(super) struct Callback<T>(Box<dyn FnOnce(T) + Send>);

impl<T> Callback<T> {
    pub fn new(call: impl FnOnce(T) + Send + 'static) -> Self {
        Self(Box::new(call))
    }
}

impl<T: OptionalSend + 'static> Responder<Types, T> for Callback<T> {
    fn on_complete(self, result: T) {
        (self.0)(result);
    }
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
