//! The way to other nodes. There are none yet: whoever is asked for is unreachable.
//!
//! The gRPC transport of the cluster takes this file's place; nothing else of the room knows how messages travel.

use std::future::{Future, ready};
use std::time::Instant;

use bytes::Bytes;
use futures::{future::BoxFuture, stream::BoxStream};

use openraft::error::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};

use super::NodeId;
use super::machine::SnapshotFile;
use super::types::{Peer, Types, Vote};
use crate::peer::{self, Answers, Head, Transport};

/// The way to other nodes of a node that is alone: everybody is unreachable.
pub struct Alone;

impl Transport for Alone {
    fn call(&self, _: NodeId, _: Head, _: Bytes, _: Instant) -> BoxFuture<'static, Result<Bytes, peer::Error>> {
        Box::pin(ready(Err(alone())))
    }

    fn stream(
        &self,
        _: NodeId,
        _: Head,
        _: BoxStream<'static, Bytes>,
    ) -> BoxFuture<'static, Result<Answers<peer::Error>, peer::Error>> {
        Box::pin(ready(Err(alone())))
    }
}

fn alone() -> peer::Error {
    peer::Error::Unreachable("this node is alone".to_owned())
}

/// Makes connections to other nodes.
pub(super) struct Network;

/// A connection to one other node.
pub(super) struct Connection {
    target: NodeId,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: NodeId, _: &Peer) -> Connection {
        Connection { target }
    }
}

impl Connection {
    fn unreachable(&self) -> Unreachable<Types> {
        Unreachable::from_string(format!("node {} cannot be reached: this node has no transport", self.target))
    }
}

impl RaftNetworkV2<Types> for Connection {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        _: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        Err(RPCError::Unreachable(self.unreachable()))
    }

    async fn vote(&mut self, _: VoteRequest<Types>, _: RPCOption) -> Result<VoteResponse<Types>, RPCError<Types>> {
        Err(RPCError::Unreachable(self.unreachable()))
    }

    async fn pre_vote(&mut self, _: VoteRequest<Types>, _: RPCOption) -> Result<VoteResponse<Types>, RPCError<Types>> {
        Err(RPCError::Unreachable(self.unreachable()))
    }

    async fn full_snapshot(
        &mut self,
        _: Vote,
        _: openraft::type_config::alias::SnapshotOf<Types, SnapshotFile>,
        _: impl Future<Output = ReplicationClosed> + Send + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        Err(StreamingError::Unreachable(self.unreachable()))
    }
}
