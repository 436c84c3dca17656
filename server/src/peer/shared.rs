//! What the sending and the receiving side of the room share.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use futures::future::BoxFuture;
use hyper::body::Incoming;
use lethe_proto::NodeId;
use parking_lot::RwLock;
use tokio::sync::{Semaphore, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::body::Body;

use super::{
    Handler, Refusal, Topic,
    complaint::Complaint,
    config::{Limits, Me},
    dial::Dialer,
    peers::Nodes,
};

/// Further gRPC services on the peer port.
pub(super) type Further =
    Arc<dyn Fn(http::Request<Incoming>) -> BoxFuture<'static, http::Response<Body>> + Send + Sync>;

pub(super) struct Shared {
    pub me: Me,
    pub limits: Limits,
    pub dialer: Arc<Dialer>,
    pub nodes: RwLock<Nodes>,
    /// Nodes that were removed from the cluster.
    pub banned: watch::Sender<HashSet<NodeId>>,
    pub complaint: Complaint,
    pub handlers: RwLock<HashMap<Topic, Arc<dyn Handler>>>,
    pub further: RwLock<Option<Further>>,
    /// Calls and streams of other nodes under way.
    pub places: Arc<Semaphore>,
    /// Connections that came in.
    pub serving: TaskTracker,
    /// Nothing new is taken.
    pub stop: CancellationToken,
    /// Everything ends.
    pub cut: CancellationToken,
}

impl Shared {
    /// Nothing that a removed node says counts.
    pub fn check(&self, node: NodeId) -> Result<(), Refusal> {
        match self.is_banned(node) {
            true => Err(Refusal::Sender(format!("node {node} was removed from the cluster"))),
            false => Ok(()),
        }
    }

    /// Whether a node was removed.
    pub fn is_banned(&self, node: NodeId) -> bool {
        self.banned.borrow().contains(&node)
    }

    /// Returns when a node is removed.
    pub async fn until_banned(&self, node: NodeId) {
        let mut banned = self.banned.subscribe();
        // Fails only if nobody can be banned any more.
        if banned.wait_for(|banned| banned.contains(&node)).await.is_err() {
            std::future::pending().await
        }
    }
}
