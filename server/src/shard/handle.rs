//! `Shard`: the handle everybody else holds. Cheap to clone; hides openraft, the log and the state store.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use lethe_proto::ActorId;
use tokio::sync::watch;
use uuid::Uuid;

use super::{Applied, Command, Epoch, Error, ProposeError, ReadError};
use crate::store::{HeaderOrTombstone, RecordId};

/// What a group does for its handles.
pub(super) trait Group: Send + Sync + 'static {
    fn propose(&self, epoch: Epoch, command: Command) -> BoxFuture<'_, Result<Applied, ProposeError>>;
    fn read_index(&self) -> BoxFuture<'_, Result<Epoch, ReadError>>;
    fn leadership(&self) -> watch::Receiver<Option<Epoch>>;
    fn header(&self, actor: ActorId) -> BoxFuture<'_, Result<Option<HeaderOrTombstone>, Error>>;
    fn names(&self, actor: ActorId, incarnation: Uuid) -> BoxFuture<'_, Result<Vec<(RecordId, Bytes)>, Error>>;
    fn value(&self, actor: ActorId, life: Uuid, id: RecordId) -> BoxFuture<'_, Result<Option<Bytes>, Error>>;
    fn actors(&self, after: Option<ActorId>, limit: usize) -> BoxFuture<'_, Result<Vec<HeaderOrTombstone>, Error>>;
    fn metrics(&self) -> Metrics;
}

/// Handle of one shard.
#[derive(Clone)]
pub struct Shard {
    group: Arc<dyn Group>,
}

/// What a shard tells about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Index of the last applied log entry.
    pub applied: u64,
    /// Index of the last log entry.
    pub last: u64,
}

impl Shard {
    /// Proposes a command in the leadership `epoch` and waits until it is applied here.
    pub async fn propose(&self, epoch: Epoch, command: Command) -> Result<Applied, ProposeError> {
        self.group.propose(epoch, command).await
    }

    /// Confirms that this node still leads the shard, and that everything acknowledged before the call is applied here.
    pub async fn read_index(&self) -> Result<Epoch, ReadError> {
        self.group.read_index().await
    }

    /// The epoch in which this node leads the shard, as it changes; none while another node leads.
    pub fn leadership(&self) -> watch::Receiver<Option<Epoch>> {
        self.group.leadership()
    }

    /// The actor's header or tombstone, as applied here.
    pub async fn header(&self, actor: ActorId) -> Result<Option<HeaderOrTombstone>, Error> {
        self.group.header(actor).await
    }

    /// Sealed names of all the actor's records, as applied here.
    pub async fn names(&self, actor: ActorId, incarnation: Uuid) -> Result<Vec<(RecordId, Bytes)>, Error> {
        self.group.names(actor, incarnation).await
    }

    /// Sealed value of a record, as applied here.
    pub async fn value(&self, actor: ActorId, incarnation: Uuid, id: RecordId) -> Result<Option<Bytes>, Error> {
        self.group.value(actor, incarnation, id).await
    }

    /// Up to `limit` actors and tombstones with ids above `after`, in order.
    pub async fn actors(&self, after: Option<ActorId>, limit: usize) -> Result<Vec<HeaderOrTombstone>, Error> {
        self.group.actors(after, limit).await
    }

    /// How far the shard is.
    pub fn metrics(&self) -> Metrics {
        self.group.metrics()
    }
}
