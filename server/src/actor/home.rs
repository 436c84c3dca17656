//! `Homes`: which group an actor belongs to, and which nodes have it. The cluster knows it.

use lethe_proto::{ActorId, NodeId};
use tokio::sync::watch;

use crate::cluster::{Cluster, Home};

/// Knows where actors are. What it says of other nodes is a hint.
pub trait Homes: Send + Sync + 'static {
    /// This node.
    fn node(&self) -> NodeId;

    /// Where an actor is; none as long as that is not known.
    fn home(&self, actor: ActorId) -> Option<Home>;

    /// Who leads a group, as it changes, where this node has a replica of it.
    fn leader(&self, group: u32) -> Option<watch::Receiver<Option<NodeId>>>;

    /// The nodes that should have a replica of a group.
    fn replicas(&self, group: u32) -> Vec<NodeId>;
}

impl Homes for Cluster {
    fn node(&self) -> NodeId {
        Cluster::node(self)
    }

    fn home(&self, actor: ActorId) -> Option<Home> {
        Cluster::home(self, actor).ok()
    }

    fn leader(&self, group: u32) -> Option<watch::Receiver<Option<NodeId>>> {
        Some(self.home_of(group).here?.leader())
    }

    fn replicas(&self, group: u32) -> Vec<NodeId> {
        let map = self.map().borrow().clone();
        let replicas = map.as_ref().and_then(|map| map.placement(group)).map(|placement| &placement.replicas[..]);
        replicas.unwrap_or_default().iter().map(|replica| replica.node).collect()
    }
}
