//! Where other nodes are: the peer room's part of it.

use std::time::Instant;

use bytes::Bytes;
use futures::future::BoxFuture;
use lethe_proto::NodeId;

use super::config::Addresses;
use crate::peer::{self, Peers, Topic};

impl Addresses for Peers {
    fn learn(&self, node: NodeId, address: &str) {
        Self::learn(self, node, address);
    }

    fn ban(&self, node: NodeId) {
        Self::ban(self, node);
    }

    fn ask(
        &self,
        address: &str,
        topic: Topic,
        message: Bytes,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<(NodeId, Bytes), peer::Error>> {
        Self::ask(self, address, topic, message, deadline)
    }
}
