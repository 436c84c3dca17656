//! `Receiver`: takes messages of other nodes for the replicas that are here.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use lethe_proto::NodeId;
use openraft::raft::{AppendEntriesRequest, TransferLeaderRequest, VoteRequest};
use tokio::sync::Semaphore;

use super::beats::BEATS_MAX;
use super::receive_appends::Intake;
use super::wire::{self, Beat, BeatAnswer};
use super::{SNAPSHOTS_MAX, receive_snapshot};
use crate::peer::{Answers, Error, Handler, Head, Refusal, Topic};
use crate::shard::replica::Replica;
use crate::shard::shards::Hosted;
use crate::shard::types::Types;

/// How long one group may keep the answers of all others in a message of heartbeats waiting. It is asked again.
const BEAT_WAIT: Duration = Duration::from_millis(10);

/// Takes the shard room's messages.
pub(in crate::shard) struct Receiver {
    /// Goes away when the node stops.
    hosted: Weak<Hosted>,
    snapshots: Arc<Semaphore>,
}

impl Receiver {
    pub fn new(hosted: &Arc<Hosted>) -> Self {
        Self { hosted: Arc::downgrade(hosted), snapshots: Arc::new(Semaphore::new(SNAPSHOTS_MAX)) }
    }

    fn hosted(&self) -> Result<Arc<Hosted>, Refusal> {
        self.hosted.upgrade().ok_or_else(|| stopped("the node stops"))
    }

    fn replica(&self, head: Head) -> Result<Arc<Replica>, Refusal> {
        find(&*self.hosted()?, head.group, head.incarnation)
    }
}

impl Handler for Receiver {
    fn call(&self, from: NodeId, head: Head, message: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        let hosted = match self.hosted() {
            Ok(hosted) => hosted,
            Err(refusal) => return std::future::ready(Err(refusal)).boxed(),
        };
        match head.topic {
            Topic::Heartbeats => beats(hosted, from, message).boxed(),
            Topic::Vote | Topic::PreVote | Topic::Append | Topic::TransferLeader => {
                let found = find(&hosted, head.group, head.incarnation);
                async move { answer(&*found?, from, head.topic, message).await }.boxed()
            }
            other => std::future::ready(Err(foreign(other))).boxed(),
        }
    }

    fn stream(
        &self,
        from: NodeId,
        head: Head,
        messages: BoxStream<'static, Result<Bytes, Error>>,
    ) -> BoxFuture<'static, Result<Answers<Refusal>, Refusal>> {
        let begun = match head.topic {
            Topic::AppendStream if (head.group, head.incarnation) == (0, 0) => {
                Ok(Intake::new(self.hosted.clone(), from, messages).boxed())
            }
            Topic::AppendStream => Err(wire::malformed("a stream of append messages is for all groups")),
            Topic::Snapshot => self.replica(head).and_then(|replica| {
                let turn = self.snapshots.clone().try_acquire_owned();
                let turn = turn.map_err(|_| stopped("too many snapshots are being taken in"))?;
                Ok(receive_snapshot::receive(self.hosted()?, replica, turn, from, messages))
            }),
            other => Err(foreign(other)),
        };
        std::future::ready(begun).boxed()
    }
}

/// The replica with exactly this life.
pub(super) fn find(hosted: &Hosted, group: u32, incarnation: u64) -> Result<Arc<Replica>, Refusal> {
    let found = hosted.replica(group).filter(|replica| replica.incarnation == incarnation);
    found.ok_or(Refusal::NoReplica { group, incarnation })
}

async fn answer(replica: &Replica, from: NodeId, topic: Topic, message: Bytes) -> Result<Bytes, Refusal> {
    let raft = &replica.raft;
    match topic {
        Topic::Vote | Topic::PreVote => {
            let request: VoteRequest<Types> = wire::decode(&message)?;
            if request.vote.leader_id.node_id != from || request.vote.committed {
                return Err(wire::malformed("its sender is not the candidate it names"));
            }
            let vote = match topic {
                Topic::Vote => raft.vote(request).await,
                _ => raft.pre_vote(request).await,
            };
            Ok(wire::encode(&vote.map_err(|error| stopped(&error.to_string()))?))
        }
        Topic::Append => {
            let request = wire::decode_append(from, message)?;
            let answer = raft.append_entries(request).await;
            Ok(wire::encode(&answer.map_err(|error| stopped(&error.to_string()))?))
        }
        Topic::TransferLeader => {
            let request: TransferLeaderRequest<Types> = wire::decode(&message)?;
            wire::check_leader(from, request.from_leader())?;
            let answer = raft.handle_transfer_leader(request).await;
            Ok(wire::encode(&answer.map_err(|error| stopped(&error.to_string()))?))
        }
        other => Err(foreign(other)),
    }
}

/// Gives every group its heartbeat at once, and answers when all have answered or had their time.
async fn beats(hosted: Arc<Hosted>, from: NodeId, message: Bytes) -> Result<Bytes, Refusal> {
    let beats: Vec<Beat> = wire::decode(&message)?;
    if beats.len() > BEATS_MAX {
        return Err(wire::malformed("too many heartbeats in one message"));
    }
    let answers: Vec<BeatAnswer> = join_all(beats.into_iter().map(|beat| one_beat(&hosted, from, beat))).await;
    Ok(wire::encode(&answers))
}

async fn one_beat(hosted: &Hosted, from: NodeId, beat: Beat) -> BeatAnswer {
    let Beat { group, incarnation, vote, prev, committed } = beat;
    let replica = find(hosted, group, incarnation).ok()?;
    wire::check_leader(from, &vote).ok()?;
    let request = AppendEntriesRequest { vote, prev_log_id: prev, entries: Vec::new(), leader_commit: committed };
    let answer = tokio::time::timeout(BEAT_WAIT, replica.raft.append_entries(request)).await;
    answer.ok()?.ok()
}

pub(super) fn stopped(what: &str) -> Refusal {
    Refusal::Unavailable(what.to_owned())
}

fn foreign(topic: Topic) -> Refusal {
    Refusal::Malformed(format!("{topic:?} is not for the shards, or not in this form"))
}
