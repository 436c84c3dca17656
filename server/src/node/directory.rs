//! Which actors there are in the groups that this node leads: headers and tombstones from the shards, and who is awake.

use std::{collections::BTreeMap, sync::Arc};

use futures::{
    StreamExt,
    future::{BoxFuture, try_join_all},
    stream,
};
use lethe_proto::ActorId;
use lethe_runtime::host::{CallError, IdSource, Outcome};
use uuid::Uuid;

use super::first::{Wanted, first};
use crate::{
    actor::{self, ActorRef, Actors, Failed, Homes},
    deploy::{Deployments, Namespace},
    grpc::{ActorInfo, ActorState, Directory, Listing},
    shard::{self, ReadError, Shard, Shards},
    store::HeaderOrTombstone,
};

/// Names of actors that are opened at the same time.
const NAMES_MAX: usize = 16;

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

    /// Whether `found` is told of to those who ask for a namespace.
    fn belongs(&self, namespace: &str, found: &HeaderOrTombstone) -> bool {
        match found {
            HeaderOrTombstone::Header(header) => header.namespace == namespace,
            HeaderOrTombstone::Tombstone(tombstone) => {
                let id = IdSource::Hex(tombstone.actor.to_string());
                self.deployments.current().actor_id(namespace, &id).is_ok()
            }
        }
    }

    /// What is to be told of `found`, which belongs to the namespace.
    async fn info(&self, namespace: &str, found: HeaderOrTombstone) -> ActorInfo {
        let group = self.homes.home(found.actor()).map_or(0, |home| home.group);
        match found {
            HeaderOrTombstone::Header(header) => {
                let awake = self.actors.is_live(header.actor);
                ActorInfo {
                    id: header.actor,
                    namespace: namespace.to_owned(),
                    name: self.actors.name_of(&header).await,
                    state: if awake { ActorState::Awake } else { ActorState::Asleep },
                    incarnation: header.incarnation,
                    created_at_ms: header.created_at_ms,
                    group,
                }
            }
            HeaderOrTombstone::Tombstone(tombstone) => ActorInfo {
                id: tombstone.actor,
                namespace: namespace.to_owned(),
                name: None,
                state: ActorState::Destroyed { at_ms: tombstone.destroyed_at_ms, by: tombstone.reason },
                incarnation: tombstone.incarnation.unwrap_or(Uuid::nil()),
                created_at_ms: 0,
                group,
            },
        }
    }

    /// The actors of the groups that are asked for; this node must lead them all. Names are opened of those that are
    /// given, and of no others.
    async fn list(&self, what: Listing) -> Result<Vec<ActorInfo>, Failed> {
        let mut shards = BTreeMap::new();
        for group in &what.groups {
            let shard = self.shards.group(*group).ok_or(Failed::NotLeader { leader: None })?;
            shards.insert(*group, shard);
        }
        try_join_all(shards.values().map(newest)).await?;
        let groups: Vec<u32> = shards.keys().copied().collect();
        let wanted = Wanted { after: what.after, limit: what.limit };
        let namespace = what.namespace.name.as_str();
        let read = |group: u32, after: Option<ActorId>, limit: usize| {
            let shard = shards.get(&group).cloned();
            async move {
                let shard = shard.ok_or(Failed::NotLeader { leader: None })?;
                shard.actors(after, limit).await.map_err(|reason| Failed::from(unreadable(&reason)))
            }
        };
        let found = first(&groups, wanted, |found| self.belongs(namespace, found), read).await?;
        let infos = stream::iter(found.into_iter().map(|found| self.info(namespace, found)));
        Ok(infos.buffered(NAMES_MAX).collect().await)
    }

    async fn show(&self, actor: ActorRef) -> Result<Option<ActorInfo>, Failed> {
        let starting = || actor::error::unavailable("the node is starting", Outcome::NotDone);
        let home = self.homes.home(actor.id).ok_or_else(starting)?;
        let shard = home.here.ok_or(Failed::NotLeader { leader: home.leader })?;
        newest(&shard).await?;
        match shard.header(actor.id).await.map_err(|reason| unreadable(&reason))? {
            Some(found) if self.belongs(&actor.namespace, &found) => Ok(Some(self.info(&actor.namespace, found).await)),
            Some(_) | None => Ok(None),
        }
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

    /// Only actors that live here are asked for here.
    fn elsewhere(&self, _: ActorId) -> Option<String> {
        None
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
