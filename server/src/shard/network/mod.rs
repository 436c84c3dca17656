//! What replicas of a group say to each other, over the peer room's `Transport`.
//!
//! ```text
//! openraft ── Connection ─┬─ appends ── a stream per node ───────────┐
//!                         ├─ beats ──── one message, many groups ────┼── Transport ... Receiver ── openraft
//!                         ├─ send ───── a snapshot file in chunks ───┤
//!                         └─ votes, transfers: one call each ────────┘
//! ```
//!
//! Every message names the group and the incarnation of the replica it is for. `Receiver` takes it only if exactly that
//! replica is here, so a message that comes late makes nothing and reaches nobody else.

mod alone;
mod appends;
mod batch;
mod beats;
mod receive;
mod receive_appends;
mod receive_snapshot;
mod send;
mod wire;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt, future::BoxFuture};
use openraft::error::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

pub use alone::Alone;
pub(super) use receive::Receiver;

use super::machine::{SnapshotFile, SnapshotOf};
use super::types::{Peer, Types, Vote};
use super::{Config, NodeId};
use crate::peer::{Error, Head, Lane, Topic, Transport};
use appends::{Appends, Whom};
use beats::Beats;
use wire::Beat;

/// Everything replicas say to each other, for whoever hands messages out.
pub const TOPICS: [Topic; 7] = [
    Topic::Vote,
    Topic::PreVote,
    Topic::Heartbeats,
    Topic::Append,
    Topic::AppendStream,
    Topic::Snapshot,
    Topic::TransferLeader,
];

/// Snapshots sent at once by a node, and taken in at once.
const SNAPSHOTS_MAX: usize = 2;
/// Waits between attempts to reach a replica that cannot be reached.
const BACKOFF_MS: [u64; 5] = [20, 50, 100, 200, 400];

/// What all groups of a node share to reach other nodes.
pub(super) struct Links {
    transport: Arc<dyn Transport>,
    beats: Arc<Beats>,
    appends: Appends,
    sends: Semaphore,
    tasks: TaskTracker,
    /// How long a snapshot may make no progress.
    pub snapshot_stall: Duration,
}

impl Links {
    pub fn new(transport: Arc<dyn Transport>, config: &Config) -> Arc<Self> {
        let tasks = TaskTracker::new();
        Arc::new(Self {
            beats: Beats::new(transport.clone(), tasks.clone()),
            appends: Appends::new(transport.clone(), tasks.clone(), Duration::from_millis(config.append_stall_ms)),
            transport,
            tasks,
            sends: Semaphore::new(SNAPSHOTS_MAX),
            snapshot_stall: Duration::from_millis(config.snapshot_stall_ms),
        })
    }

    /// Tasks that end when all groups have stopped.
    pub fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Waits until nothing is under way any more, when all groups have stopped.
    pub async fn idle(&self) {
        self.appends.stop();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Makes connections of one group to other nodes.
pub(super) struct Network {
    pub group: u32,
    pub links: Arc<Links>,
}

/// A connection to one replica.
pub(super) struct Connection {
    links: Arc<Links>,
    target: NodeId,
    group: u32,
    incarnation: u64,
    /// It carries heartbeats only.
    beats: bool,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: NodeId, peer: &Peer) -> Connection {
        let (links, group) = (self.links.clone(), self.group);
        Connection { links, target, group, incarnation: peer.incarnation, beats: false }
    }

    async fn new_heartbeat_client(&mut self, target: NodeId, peer: &Peer) -> Connection {
        Connection { beats: true, ..self.new_client(target, peer).await }
    }
}

impl Connection {
    fn head(&self, lane: Lane, topic: Topic) -> Head {
        Head { lane, topic, group: self.group, incarnation: self.incarnation }
    }

    async fn call<A: DeserializeOwned>(
        &self,
        lane: Lane,
        topic: Topic,
        message: Bytes,
        option: &RPCOption,
    ) -> Result<A, RPCError<Types>> {
        let deadline = Instant::now() + option.soft_ttl();
        let answer = self.links.transport.call(self.target, self.head(lane, topic), message, deadline).await;
        wire::decode(&answer.map_err(rpc_error)?).map_err(|refusal| lost(&refusal.to_string()))
    }

    async fn control<M: Serialize, A: DeserializeOwned>(
        &self,
        topic: Topic,
        message: &M,
        option: &RPCOption,
    ) -> Result<A, RPCError<Types>> {
        self.call(Lane::Control, topic, wire::encode(message), option).await
    }

    async fn beat(
        &self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<StreamAppendResult<Types>, RPCError<Types>> {
        let AppendEntriesRequest { vote, prev_log_id: prev, entries, leader_commit: committed } = request;
        if !entries.is_empty() {
            return Err(lost("a heartbeat with entries"));
        }
        let beat = Beat { group: self.group, incarnation: self.incarnation, vote, prev, committed };
        match self.links.beats.send(self.target, beat, option.soft_ttl()).await.map_err(rpc_error)? {
            // A conflict is with what the message named; one that names nothing conflicts with nothing.
            Some(AppendEntriesResponse::Conflict) if prev.is_none() => Err(lost("a conflict with nothing")),
            Some(answer) => Ok(answer.into_stream_result(prev, prev)),
            None => {
                tracing::debug!(group = self.group, node = %self.target, "a heartbeat was not answered");
                Err(unreachable("the replica is not there, or did not answer in time"))
            }
        }
    }
}

impl RaftNetworkV2<Types> for Connection {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        self.call(Lane::Log, Topic::Append, wire::encode_append(&request), &option).await
    }

    fn stream_append<'s, S>(
        &'s mut self,
        mut input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>, RPCError<Types>>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static,
    {
        Box::pin(async move {
            if !self.beats {
                let whom = Whom { node: self.target, group: self.group, incarnation: self.incarnation };
                return self.links.appends.stream(whom, input).await;
            }
            let Some(request) = input.next().await else { return Ok(stream::empty().boxed()) };
            let answer = self.beat(request, option).await;
            Ok(stream::iter([answer]).boxed())
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.control(Topic::Vote, &request, &option).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.control(Topic::PreVote, &request, &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let head = self.head(Lane::Bulk, Topic::Snapshot);
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = send::snapshot(&self.links, self.target, head, vote, snapshot) => Ok(sent?),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        self.control(Topic::TransferLeader, &request, &option).await
    }

    fn backoff(&self) -> Option<Backoff> {
        let last = BACKOFF_MS[BACKOFF_MS.len() - 1];
        let waits = BACKOFF_MS.into_iter().chain(std::iter::repeat(last));
        Some(Backoff::new(waits.map(Duration::from_millis)))
    }
}

/// What openraft is told: to wait before it tries again, or not.
fn rpc_error(error: Error) -> RPCError<Types> {
    match error {
        Error::Unreachable(_) | Error::Refused(_) => unreachable(&error.to_string()),
        Error::Lost(_) | Error::Deadline => lost(&error.to_string()),
    }
}

fn unreachable(what: &str) -> RPCError<Types> {
    RPCError::Unreachable(Unreachable::from_string(what))
}

fn lost(what: &str) -> RPCError<Types> {
    RPCError::Network(NetworkError::from_string(what))
}
