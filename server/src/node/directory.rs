//! Which actors there are, for the gRPC face: headers and tombstones from the shards, and who is awake.

use std::sync::Arc;

use futures::future::BoxFuture;
use lethe_proto::ActorId;
use lethe_runtime::host::{CallError, IdSource, Outcome};
use uuid::Uuid;

use crate::{
    actor::{self, ActorRef, Actors},
    deploy::{self, Deployments, Namespace},
    grpc::{ActorInfo, ActorState, Directory},
    shard::{self, Shard, Shards},
    store::HeaderOrTombstone,
};

/// Records read at a time while looking for those of one namespace.
const PAGE: usize = 1_000;

/// The node's directory.
#[derive(Clone)]
pub(super) struct NodeDirectory {
    deployments: Deployments,
    shards: Arc<Shards>,
    actors: Actors,
}

impl NodeDirectory {
    pub fn new(deployments: Deployments, shards: Arc<Shards>, actors: Actors) -> Self {
        Self { deployments, shards, actors }
    }

    /// What is to be told of `found`, if it belongs to the namespace.
    async fn info(&self, namespace: &str, found: HeaderOrTombstone) -> Option<ActorInfo> {
        match found {
            HeaderOrTombstone::Header(header) if header.namespace == namespace => {
                let awake = self.actors.is_live(header.actor);
                Some(ActorInfo {
                    id: header.actor,
                    namespace: namespace.to_owned(),
                    name: self.actors.name_of(&header).await,
                    state: if awake { ActorState::Awake } else { ActorState::Asleep },
                    incarnation: header.incarnation,
                    created_at_ms: header.created_at_ms,
                })
            }
            HeaderOrTombstone::Header(_) => None,
            HeaderOrTombstone::Tombstone(tombstone) => {
                let id = IdSource::Hex(tombstone.actor.to_string());
                self.deployments.current().actor_id(namespace, &id).ok()?;
                Some(ActorInfo {
                    id: tombstone.actor,
                    namespace: namespace.to_owned(),
                    name: None,
                    state: ActorState::Destroyed { at_ms: tombstone.destroyed_at_ms },
                    incarnation: tombstone.incarnation.unwrap_or(Uuid::nil()),
                    created_at_ms: 0,
                })
            }
        }
    }

    /// The next `limit` actors of a namespace, over all shards, in the order of their ids.
    async fn list(&self, namespace: &str, after: Option<ActorId>, limit: usize) -> Result<Vec<ActorInfo>, CallError> {
        let mut found = Vec::new();
        for shard in self.shards.all() {
            found.extend(self.list_shard(&shard, namespace, after, limit).await?);
        }
        found.sort_by_key(|info: &ActorInfo| info.id);
        found.truncate(limit);
        Ok(found)
    }

    async fn list_shard(
        &self,
        shard: &Shard,
        namespace: &str,
        mut after: Option<ActorId>,
        limit: usize,
    ) -> Result<Vec<ActorInfo>, CallError> {
        let mut found = Vec::new();
        while found.len() < limit {
            let page = shard.actors(after, PAGE).await.map_err(|reason| unreadable(&reason))?;
            let Some(last) = page.last() else { break };
            after = Some(last.actor());
            for entry in page {
                found.extend(self.info(namespace, entry).await);
            }
        }
        Ok(found)
    }
}

impl Directory for NodeDirectory {
    fn namespace(&self, text: &str) -> Result<Namespace, deploy::Error> {
        self.deployments.current().namespaces().resolve(text).cloned()
    }

    fn list(
        &self,
        namespace: Namespace,
        after: Option<ActorId>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<ActorInfo>, CallError>> {
        let directory = self.clone();
        Box::pin(async move { directory.list(&namespace.name, after, limit).await })
    }

    fn show(&self, actor: ActorRef) -> BoxFuture<'static, Result<Option<ActorInfo>, CallError>> {
        let directory = self.clone();
        Box::pin(async move {
            let Some(shard) = directory.shards.shard(actor.id) else {
                let what = "this node has no replica of the actor's shard";
                return Err(actor::error::unavailable(what, Outcome::NotDone));
            };
            let found = shard.header(actor.id).await.map_err(|reason| unreadable(&reason))?;
            match found {
                Some(found) => Ok(directory.info(&actor.namespace, found).await),
                None => Ok(None),
            }
        })
    }
}

fn unreadable(reason: &shard::Error) -> CallError {
    actor::error::internal(reason.to_string(), Outcome::NotDone)
}
