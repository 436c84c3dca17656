//! Periods and limits of the room, and what it stands on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use lethe_proto::NodeId;

use super::keys::Keys;
use crate::peer::{self, Topic, Transport};
use crate::shard::Shards;

/// Periods and limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How often nodes tell each other how they are, in milliseconds.
    pub pulse_ms: u64,
    /// A node that was not heard for so long counts as unreachable, in milliseconds.
    pub silent_ms: u64,
    /// A node that was not heard for so long is not counted on to lead, or to take replicas, in milliseconds.
    pub dead_ms: u64,
    /// A node that came back leads again after so long, in milliseconds.
    pub recovered_ms: u64,
    /// How often the registry is confirmed, in milliseconds.
    pub confirm_ms: u64,
    /// How long a confirmed registry counts as fresh, in milliseconds.
    pub lease_ms: u64,
    /// A node that has not been fresh for so long gives its groups to nodes that have been fresh for as long, in
    /// milliseconds. Long enough for everybody to be fresh again after the system group had no leader.
    pub resign_ms: u64,
    /// How often it is looked what is to be done, in milliseconds.
    pub control_ms: u64,
    /// How long a node that stops waits for others to be able to take what it leads, in milliseconds.
    pub step_down_ms: u64,
    /// How long one message may take, in milliseconds.
    pub message_ms: u64,
    /// How long a change of the registry is tried, in milliseconds.
    pub write_ms: u64,
    /// Groups that move at a time only to even things out.
    pub moves_max: usize,
    /// Groups that get missing replicas at a time.
    pub repairs_max: usize,
    /// Leaders that are handed over at a time.
    pub transfers_max: usize,
    /// Changes of groups under way at a time, on one node, besides hand-overs.
    pub steps_max: usize,
    /// Entries that a new replica may lack when it is made a voter.
    pub lag_max: u64,
    /// Nodes of a cluster: seven, and two that take the place of others.
    pub members_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            pulse_ms: 300,
            silent_ms: 3_000,
            dead_ms: 60_000,
            recovered_ms: 10_000,
            confirm_ms: 500,
            lease_ms: 3_000,
            resign_ms: 1_000,
            control_ms: 200,
            step_down_ms: 10_000,
            message_ms: 2_000,
            write_ms: 10_000,
            moves_max: 2,
            repairs_max: 16,
            transfers_max: 4,
            steps_max: 32,
            lag_max: 256,
            members_max: 9,
        }
    }
}

/// What the room stands on.
pub struct Deps {
    /// This node's replicas.
    pub shards: Arc<Shards>,
    /// The way to other nodes.
    pub transport: Arc<dyn Transport>,
    /// Where other nodes are.
    pub addresses: Arc<dyn Addresses>,
    /// Data keys of actors.
    pub keys: Arc<dyn KeyState>,
    /// How others know this node.
    pub announce: Announce,
    /// How this node came to be a member.
    pub begin: Begin,
}

/// How a node is known to others.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Announce {
    /// For people.
    pub name: String,
    /// `host:port` for other nodes; empty if it has no such port.
    pub peer: String,
    /// `host:port` of its gRPC face.
    pub grpc: String,
    /// `host:port` of its HTTP face.
    pub http: String,
}

/// How a node came to be a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Its data directory founded the cluster.
    Found {
        /// Replicas of a group, as far as there are nodes.
        replication: u32,
    },
    /// It joins through nodes at these addresses, until it knows the registry.
    Join {
        /// `host:port` of other nodes.
        addresses: Vec<String>,
    },
}

/// Where other nodes are. `peer::Peers` is it, and nodes without a peer port and tests have their own.
pub trait Addresses: Send + Sync + 'static {
    /// Where a node is from now on.
    fn learn(&self, node: NodeId, address: &str);
    /// A node was removed: nothing of it is taken any more, and it is forgotten.
    fn ban(&self, node: NodeId);
    /// Sends a message to whichever node of the cluster is at an address.
    fn ask(
        &self,
        address: &str,
        topic: Topic,
        message: Bytes,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<(NodeId, Bytes), peer::Error>>;
}

/// What other nodes have to know of this node's data keys. `Keys` is it; tests have no keys.
pub trait KeyState: Send + Sync + 'static {
    /// The epoch of the key pair that data keys for this node are sealed to.
    fn epoch(&self) -> u32;
    /// Data keys of the group that this node should have and does not.
    fn missing(&self, group: u32) -> usize;
}

impl KeyState for Keys {
    fn epoch(&self) -> u32 {
        self.vault().recipient().epoch
    }

    fn missing(&self, group: u32) -> usize {
        Self::missing(self, group)
    }
}

/// Nobody else is known, ever.
impl Addresses for () {
    fn learn(&self, _: NodeId, _: &str) {}

    fn ban(&self, _: NodeId) {}

    fn ask(&self, _: &str, _: Topic, _: Bytes, _: Instant) -> BoxFuture<'static, Result<(NodeId, Bytes), peer::Error>> {
        Box::pin(async { Err(peer::Error::Unreachable("this node has no peer port".to_owned())) })
    }
}

/// Milliseconds of the configuration.
pub(super) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
