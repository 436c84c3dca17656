//! Which actors there are in the groups that this node leads: headers and tombstones from the shards, and who is awake.

use std::sync::Arc;

use futures::future::BoxFuture;
use lethe_proto::ActorId;
use lethe_runtime::host::{CallError, IdSource, Outcome};
use uuid::Uuid;

use crate::{
    actor::{self, ActorRef, Actors, Failed, Homes},
    deploy::{Deployments, Namespace},
    grpc::{ActorInfo, ActorState, Directory, Listing},
    shard::{self, ReadError, Shard, Shards},
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
    homes: Arc<dyn Homes>,
}

impl NodeDirectory {
    pub fn new(deployments: Deployments, shards: Arc<Shards>, actors: Actors, homes: Arc<dyn Homes>) -> Self {
        Self { deployments, shards, actors, homes }
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

    /// The actors of the groups that are asked for; this node must lead them all.
    async fn list(&self, what: Listing) -> Result<Vec<ActorInfo>, Failed> {
        let mut found = Vec::new();
        for group in what.groups {
            let shard = self.shards.group(group).ok_or(Failed::NotLeader { leader: None })?;
            newest(&shard).await?;
            found.extend(self.list_shard(&shard, &what.namespace.name, what.after, what.limit).await?);
        }
        found.sort_by_key(|info: &ActorInfo| info.id);
        found.truncate(what.limit);
        Ok(found)
    }

    async fn show(&self, actor: ActorRef) -> Result<Option<ActorInfo>, Failed> {
        let starting = || actor::error::unavailable("the node is starting", Outcome::NotDone);
        let home = self.homes.home(actor.id).ok_or_else(starting)?;
        let shard = home.here.ok_or(Failed::NotLeader { leader: home.leader })?;
        newest(&shard).await?;
        match shard.header(actor.id).await.map_err(|reason| unreadable(&reason))? {
            Some(found) => Ok(self.info(&actor.namespace, found).await),
            None => Ok(None),
        }
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
    fn namespace(&self, text: &str) -> Result<Namespace, CallError> {
        let version = self.deployments.current();
        let found = version.namespaces().resolve(text).cloned();
        found.map_err(|error| actor::error::invalid_target(error.to_string()))
    }

    fn list(&self, what: Listing) -> BoxFuture<'static, Result<Vec<ActorInfo>, Failed>> {
        let directory = self.clone();
        Box::pin(async move { directory.list(what).await })
    }

    fn show(&self, actor: ActorRef) -> BoxFuture<'static, Result<Option<ActorInfo>, Failed>> {
        let directory = self.clone();
        Box::pin(async move { directory.show(actor).await })
    }
}

/// Confirms that this node leads the shard, and that everything acknowledged is applied here.
async fn newest(shard: &Shard) -> Result<(), Failed> {
    match shard.read_index().await {
        Ok(_) => Ok(()),
        Err(ReadError::NotLeader { leader }) => Err(Failed::NotLeader { leader }),
        Err(reason) => Err(actor::error::unavailable(reason.to_string(), Outcome::NotDone).into()),
    }
}

fn unreadable(reason: &shard::Error) -> CallError {
    actor::error::internal(reason.to_string(), Outcome::NotDone)
}
