//! `Homes`: which group an actor belongs to, and which nodes have it.

use lethe_proto::{ActorId, NodeId};

use crate::shard::{Shard, Shards};

/// Knows where actors are. What it says of other nodes is a hint.
pub trait Homes: Send + Sync + 'static {
    /// This node.
    fn node(&self) -> NodeId;

    /// Where an actor is.
    fn home(&self, actor: ActorId) -> Home;
}

/// Where an actor is.
#[derive(Clone)]
pub struct Home {
    /// Its group.
    pub group: u32,
    /// This node's replica of the group.
    pub here: Option<Shard>,
    /// Who leads the group, if that is known.
    pub leader: Option<NodeId>,
    /// The nodes that should have a replica.
    pub replicas: Vec<NodeId>,
}

/// A node that is its own cluster.
impl Homes for Shards {
    fn node(&self) -> NodeId {
        Shards::node(self)
    }

    fn home(&self, actor: ActorId) -> Home {
        let here = self.shard(actor);
        let group = here.as_ref().map_or(0, Shard::id);
        Home { group, here, leader: Some(Shards::node(self)), replicas: vec![Shards::node(self)] }
    }
}
