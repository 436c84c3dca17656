//! Which node a call goes to: of those the client was given, the one where it last found what it looks for.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tonic::transport::Channel;

use crate::calls::Caller;

/// A node the client was given.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// As it was given, like `http://127.0.0.1:7070`.
    pub endpoint: String,
    pub channel: Channel,
    /// Small calls over that channel.
    pub calls: Caller,
}

/// A choice among the client's nodes; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    /// Never empty.
    nodes: Arc<[Node]>,
    at: Arc<AtomicUsize>,
}

impl Route {
    /// Begins at the node numbered `first`.
    pub fn new(nodes: Vec<Node>, first: usize) -> Self {
        Self { nodes: nodes.into(), at: Arc::new(first.into()) }
    }

    /// Begins where this one is now, and goes its own way.
    pub fn fork(&self) -> Self {
        Self { nodes: self.nodes.clone(), at: Arc::new(self.at().into()) }
    }

    /// How many nodes there are to choose from.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    pub fn at(&self) -> usize {
        self.at.load(Ordering::Relaxed)
    }

    /// Small calls to the node numbered `at`.
    pub fn calls(&self, at: usize) -> &Caller {
        &self.nodes[at].calls
    }

    pub fn channel(&self) -> Channel {
        self.nodes[self.at()].channel.clone()
    }

    /// What was looked for is at the node with this gRPC address (`host:port`). One that the client was not given is
    /// not gone to.
    pub fn learn(&self, address: &str) {
        let is_it = |node: &Node| node.endpoint.strip_prefix("http://") == Some(address);
        if let Some(at) = self.nodes.iter().position(is_it) {
            self.at.store(at, Ordering::Relaxed);
        }
    }

    /// The node numbered `from` cannot help now: the next one is asked next, unless that was changed already.
    pub fn leave(&self, from: usize) {
        let next = (from + 1) % self.nodes.len();
        let _ = self.at.compare_exchange(from, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tonic::transport::Endpoint;

    use super::*;

    fn route() -> Route {
        let node = |port| {
            let endpoint = format!("http://127.0.0.1:{port}");
            let channel = Endpoint::from_shared(endpoint.clone()).unwrap().connect_lazy();
            Node { calls: crate::client::caller(channel.clone()), channel, endpoint }
        };
        Route::new((1..=3).map(node).collect(), 0)
    }

    #[tokio::test]
    async fn goes_where_it_was_told_if_it_knows_the_node() {
        let (route, fork) = (route(), route().fork());
        route.learn("127.0.0.1:3");
        assert_eq!((route.at(), fork.at()), (2, 0));
        route.learn("10.0.0.1:3");
        assert_eq!(route.at(), 2);
    }

    #[tokio::test]
    async fn leaves_a_node_once_however_many_calls_fail_there() {
        let route = route();
        route.leave(0);
        route.leave(0);
        assert_eq!(route.at(), 1);
        route.leave(1);
        route.leave(2);
        assert_eq!(route.at(), 0);
    }
}
