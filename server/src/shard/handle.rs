//! `Shard`: the handle everybody else holds. Cheap to clone; hides openraft, the log and the state store.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use lethe_proto::ActorId;
use openraft::async_runtime::WatchReceiver;
use openraft::error::LinearizableReadError;
use openraft::{LogIdOptionExt, ReadPolicy};
use tokio::sync::{oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use uuid::Uuid;

use super::replica::Replica;
use super::types::Types;
use super::{Applied, Command, Epoch, Error, NodeId, NotDone, ProposeError, ReadError, codec, proposer};
use crate::store::state::{Group, RegistryPage};
use crate::store::{HeaderOrTombstone, RecordId, state};

/// Handle of one shard.
#[derive(Clone)]
pub struct Shard {
    pub(super) replica: Arc<Replica>,
}

/// What a shard tells about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// The group.
    pub group: u32,
    /// The leadership of this node, if it leads.
    pub epoch: Option<Epoch>,
    /// Index of the last log entry.
    pub last: Option<u64>,
    /// Index of the last applied log entry.
    pub applied: Option<u64>,
    /// Index of the last entry that was dropped from the log.
    pub purged: Option<u64>,
    /// Index of the newest snapshot.
    pub snapshot: Option<u64>,
    /// Digest of the applied state; the same on all replicas that applied the same entries.
    pub digest: [u8; 16],
    /// Proposals that wait for their result.
    pub proposals: usize,
    /// Record sets that were given up and still took space when it was last looked.
    pub reclaim_backlog: usize,
}

impl Shard {
    pub(super) fn new(replica: Arc<Replica>) -> Self {
        Self { replica }
    }

    /// Proposes a command in the leadership `epoch` and waits until it is applied here.
    ///
    /// Dropping the future does not take the command back.
    pub async fn propose(&self, epoch: Epoch, command: Command) -> Result<Applied, ProposeError> {
        let replica = &*self.replica;
        let not_done = |reason| Err(ProposeError::NotDone(reason));
        let voters = || self.members().voters.into_keys().collect();
        if let Err(reason) = replica.limits.fits_majority(epoch.node, &command, voters) {
            return not_done(reason);
        }
        let Ok(turn) = replica.proposals.clone().try_acquire_owned() else { return not_done(NotDone::Overloaded) };
        let bytes = codec::encode_command(&command);
        // Its revision is the entry's index, which names one change only.
        let is_alone = matches!(command, Command::Register { .. });
        drop(command);
        let room = match replica.limits.admit(bytes.len()).await {
            Ok(room) => room,
            Err(reason) => return not_done(reason),
        };
        let (tell, told) = oneshot::channel();
        let command = proposer::Command { epoch, bytes, is_alone, turn, room, tell };
        replica.proposer.propose(command, told, replica.propose_wait).await
    }

    /// Confirms that this node still leads the shard, and that everything acknowledged before the call is applied here.
    pub async fn read_index(&self) -> Result<Epoch, ReadError> {
        let replica = &*self.replica;
        #[cfg(feature = "liar")]
        if crate::lies::is_told(crate::lies::Lie::SkipReadIndex) {
            return (*replica.leadership.borrow()).ok_or(ReadError::NotLeader { leader: None });
        }
        let Ok(_turn) = replica.reads.try_acquire() else { return Err(ReadError::Overloaded) };
        let stopped = |error: openraft::error::Fatal<_>| ReadError::Stopped(error.to_string());
        let until = Instant::now() + replica.read_wait;
        // openraft waits for a quorum no longer than the longest election takes; then somebody else may lead.
        let confirm = replica.raft.get_read_linearizer(ReadPolicy::ReadIndex);
        let confirmed = match tokio::time::timeout_at(until, confirm).await {
            Err(_) => return Err(ReadError::Timeout),
            Ok(Err(openraft::error::RaftError::Fatal(error))) => return Err(stopped(error)),
            Ok(Err(openraft::error::RaftError::APIError(error))) => return Err(self.not_leader(error)),
            Ok(Ok(confirmed)) => confirmed,
        };
        let epoch = Epoch::from(*confirmed.read_log_id().committed_leader_id());
        match confirmed.try_await_ready(&replica.raft, Some(until - Instant::now())).await {
            Ok(Ok(_)) => Ok(epoch),
            Ok(Err(_)) => Err(ReadError::Timeout),
            Err(error) => Err(stopped(error)),
        }
    }

    /// The epoch in which this node leads the shard, as it changes; none while another node leads. A hint: only
    /// `read_index` and `propose` prove it.
    pub fn leadership(&self) -> watch::Receiver<Option<Epoch>> {
        self.replica.leadership.clone()
    }

    /// The group.
    pub fn id(&self) -> u32 {
        self.replica.id
    }

    /// The life of this node's replica of the group.
    pub fn incarnation(&self) -> u64 {
        self.replica.incarnation
    }

    /// Who leads the group as far as this node knows, as it changes. A hint; it may be gone by now.
    pub fn leader(&self) -> watch::Receiver<Option<NodeId>> {
        self.replica.leader.clone()
    }

    /// The actor's header or tombstone, as applied here.
    pub async fn header(&self, actor: ActorId) -> Result<Option<HeaderOrTombstone>, Error> {
        self.read(move |group| group.header(actor)).await
    }

    /// Sealed names of all the actor's records, as applied here, in order of their ids. None if the incarnation does
    /// not live.
    pub async fn names(&self, actor: ActorId, incarnation: Uuid) -> Result<Vec<(RecordId, Bytes)>, Error> {
        self.read(move |group| group.names(actor, incarnation)).await
    }

    /// Sealed value of a record, as applied here.
    pub async fn value(&self, actor: ActorId, incarnation: Uuid, id: RecordId) -> Result<Option<Bytes>, Error> {
        self.read(move |group| group.value(actor, incarnation, id)).await
    }

    /// Up to `limit` actors and tombstones with ids above `after`, in order.
    pub async fn actors(&self, after: Option<ActorId>, limit: usize) -> Result<Vec<HeaderOrTombstone>, Error> {
        self.read(move |group| group.actors(after, limit)).await
    }

    /// A value of the registry and the revision it was put at, as applied here.
    pub async fn registry_get(&self, name: Bytes) -> Result<Option<(u64, Bytes)>, Error> {
        self.read(move |group| group.registry_get(&name)).await
    }

    /// Some of the registry's names that begin with `prefix`, from the first one above `after`, as applied here; at most
    /// `limit` of them.
    pub async fn registry_range(
        &self,
        prefix: Bytes,
        after: Option<Bytes>,
        limit: usize,
    ) -> Result<RegistryPage, Error> {
        self.read(move |group| group.registry_range(&prefix, after.as_deref(), limit)).await
    }

    /// The newest revision of the registry that is applied here, as it changes; 0 as long as nothing was registered. It
    /// survives restarts and comes with snapshots.
    pub fn registry_changed(&self) -> watch::Receiver<u64> {
        self.replica.group.registry_changed()
    }

    /// How far the shard is.
    pub fn metrics(&self) -> Metrics {
        let replica = &*self.replica;
        let metrics = replica.raft.metrics();
        let now = metrics.borrow_watched();
        let mark = replica.group.mark();
        Metrics {
            group: replica.id,
            epoch: *replica.leadership.borrow(),
            last: now.last_log_index,
            applied: mark.index(),
            purged: now.purged.index(),
            snapshot: replica.machine.snapshot_index(),
            digest: mark.digest.to_bytes(),
            proposals: replica.proposals_max - replica.proposals.available_permits(),
            reclaim_backlog: replica.reclaim_backlog.load(Ordering::Relaxed),
        }
    }

    fn not_leader(&self, error: LinearizableReadError<Types>) -> ReadError {
        match error {
            LinearizableReadError::ForwardToLeader(to) => ReadError::NotLeader { leader: to.leader_id },
            LinearizableReadError::QuorumNotEnough(_) => ReadError::NotLeader { leader: None },
        }
    }

    /// Reads the state on a blocking thread.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Group) -> Result<T, state::Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (group, machine) = (self.replica.group.clone(), self.replica.machine.clone());
        let reading = spawn_blocking(move || match machine.hold_open() {
            Ok(_open) => read(&group).map_err(Error::from),
            Err(removed) => Err(Error::Stopped(removed.to_string())),
        });
        match reading.await {
            Ok(result) => result,
            Err(error) => Err(Error::Stopped(error.to_string())),
        }
    }
}
