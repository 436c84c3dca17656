//! Which actors there are in the whole cluster: every group is asked for at the node that leads it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::{BoxFuture, join_all};
use lethe_proto::{ActorId, NodeId};
use lethe_runtime::host::{CallError, Outcome};

use crate::{
    actor::{self, ActorRef, Failed, Homes},
    cluster::Cluster,
    deploy::Namespace,
    grpc::{ActorInfo, Directory, Listing, Remote, Remotes},
    peer::Link,
};

/// Longest wait for one node's part.
const PART_WITHIN: Duration = Duration::from_secs(10);
/// Longest search for leaders.
const LEADERS_WITHIN: Duration = Duration::from_secs(10);
/// Pause before groups that had no leader are asked for again.
const PAUSE: Duration = Duration::from_millis(20);

/// The directory of the whole cluster.
#[derive(Clone)]
pub(super) struct Everywhere {
    pub here: Arc<dyn Directory>,
    pub cluster: Cluster,
    /// None on a node without others.
    pub others: Option<Remotes>,
}

impl Everywhere {
    async fn list(&self, what: Listing) -> Result<Vec<ActorInfo>, Failed> {
        let until = Instant::now() + LEADERS_WITHIN;
        let map = self.cluster.map().borrow().clone();
        let starting = || actor::error::unavailable("the node is starting", Outcome::NotDone);
        let all = 1..=map.ok_or_else(starting)?.charter.groups;
        // A group that the cluster does not have holds no actors.
        let mut left: BTreeSet<u32> = match what.groups.is_empty() {
            false => what.groups.iter().copied().filter(|group| all.contains(group)).collect(),
            true => all.collect(),
        };
        let mut found = Vec::new();
        loop {
            let mut by_leader: BTreeMap<NodeId, Vec<u32>> = BTreeMap::new();
            for group in &left {
                if let Some(leader) = self.cluster.home_of(*group).leader {
                    by_leader.entry(leader).or_default().push(*group);
                }
            }
            let part = |(node, groups): (NodeId, Vec<u32>)| {
                let what = Listing { groups: groups.clone(), ..what.clone() };
                async move { (groups, self.part(node, what).await) }
            };
            for (groups, part) in join_all(by_leader.into_iter().map(part)).await {
                match part {
                    Ok(part) => {
                        found.extend(part);
                        left.retain(|group| !groups.contains(group));
                    }
                    Err(failed) if failed.may_be_tried_again() => {}
                    Err(failed) => return Err(failed),
                }
            }
            if left.is_empty() {
                break;
            }
            if Instant::now() >= until {
                return Err(Failed::NotLeader { leader: None });
            }
            tokio::time::sleep(PAUSE).await;
        }
        found.sort_by_key(|info: &ActorInfo| info.id);
        found.truncate(what.limit);
        Ok(found)
    }

    async fn part(&self, node: NodeId, what: Listing) -> Result<Vec<ActorInfo>, Failed> {
        if node == self.cluster.node() {
            return self.here.list(what).await;
        }
        self.remote(node)?.list(&what, Instant::now() + PART_WITHIN).await
    }

    async fn show(&self, actor: ActorRef) -> Result<Option<ActorInfo>, Failed> {
        let until = Instant::now() + LEADERS_WITHIN;
        loop {
            match self.show_once(actor.clone()).await {
                Err(failed) if failed.may_be_tried_again() && Instant::now() < until => {}
                shown => return shown,
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn show_once(&self, actor: ActorRef) -> Result<Option<ActorInfo>, Failed> {
        let leader = Homes::home(&self.cluster, actor.id).and_then(|home| home.leader);
        match leader.ok_or(Failed::NotLeader { leader: None })? {
            node if node == self.cluster.node() => self.here.show(actor).await,
            node => self.remote(node)?.show(actor, Instant::now() + PART_WITHIN).await,
        }
    }

    fn remote(&self, node: NodeId) -> Result<Arc<Remote<Link>>, Failed> {
        let remote = self.others.as_ref().and_then(|others| others.node(node));
        remote.ok_or(Failed::NotLeader { leader: None })
    }
}

impl Directory for Everywhere {
    fn namespace(&self, text: &str) -> Result<Namespace, CallError> {
        self.here.namespace(text)
    }

    fn list(&self, what: Listing) -> BoxFuture<'static, Result<Vec<ActorInfo>, Failed>> {
        let directory = self.clone();
        Box::pin(async move { directory.list(what).await })
    }

    fn show(&self, actor: ActorRef) -> BoxFuture<'static, Result<Option<ActorInfo>, Failed>> {
        let directory = self.clone();
        Box::pin(async move { directory.show(actor).await })
    }

    fn elsewhere(&self, actor: ActorId) -> Option<String> {
        let leader = Homes::home(&self.cluster, actor)?.leader.filter(|node| *node != self.cluster.node())?;
        let map = self.cluster.map();
        let member = map.borrow().as_ref()?.members.get(&leader)?.value.grpc.clone();
        Some(member)
    }
}
