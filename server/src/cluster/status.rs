//! How the cluster is, for operators, and what they can ask for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use lethe_proto::{ClusterId, NodeId};

use super::config::ms;
use super::error::{Error, WriteError};
use super::govern::Change;
use super::handle::{Cluster, Inner};
use super::map::Map;
use super::message::Report;
use super::record::{self, Member, Placement, State};

/// How often waiting looks again, in milliseconds.
const POLL_MS: u64 = 20;
/// Times that an operator's change is tried again because something else changed the same record first.
const TRIES_MAX: usize = 10;

/// How the cluster is, as the node asked sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The cluster.
    pub cluster: ClusterId,
    /// Data groups; they are numbered from 1.
    pub data_groups: u32,
    /// Replicas of a group, as far as there are nodes.
    pub replication: u32,
    /// Revision of the registry.
    pub revision: u64,
    /// The node that says it.
    pub answered_by: NodeId,
    /// All nodes, those that were removed included.
    pub nodes: Vec<NodeStatus>,
    /// All groups, by their numbers.
    pub groups: Vec<GroupStatus>,
}

/// How a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// The node.
    pub node: NodeId,
    /// What the registry says of it.
    pub member: Member,
    /// It was heard lately.
    pub reachable: bool,
    /// The program's version; empty if it was never heard, as all that follows.
    pub version: String,
    /// Since it started, in milliseconds.
    pub uptime_ms: u64,
    /// Groups it leads.
    pub leaders: u32,
    /// Groups it has a replica of.
    pub replicas: u32,
    /// The revision of the registry it acts on.
    pub revision: u64,
    /// It may take requests.
    pub fresh: bool,
    /// Which of its key pairs seals data keys that are sent to it.
    pub key_epoch: u32,
}

/// How a group is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStatus {
    /// The group.
    pub group: u32,
    /// Who leads it, as far as is known.
    pub leader: Option<NodeId>,
    /// Who should lead it.
    pub preferred: NodeId,
    /// Its replicas, by their nodes: those that are and those that should be.
    pub replicas: Vec<ReplicaStatus>,
    /// What is wrong; empty if it is healthy.
    pub problem: String,
}

/// How a replica is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// Its node.
    pub node: NodeId,
    /// Its life.
    pub incarnation: u64,
    /// It votes.
    pub voter: bool,
    /// Index of the last entry it applied, if it was heard.
    pub applied: Option<u64>,
    /// Digest of its state there.
    pub digest: Option<[u8; 16]>,
}

impl Cluster {
    /// How the cluster is, as this node sees it. None before it knows the registry.
    pub fn status(&self) -> Option<Status> {
        let map = self.inner.now()?;
        let mut reports = self.inner.contacts.lock().reports();
        reports.insert(self.inner.me, self.inner.report());
        let mut reachable = self.reachable();
        reachable.insert(self.inner.me);
        let known = Known { map: &map, reports, reachable };
        let nodes = map.members.iter().map(|(node, member)| known.node(*node, &member.value)).collect();
        let groups = map.groups.iter().map(|(group, record)| known.group(*group, &record.value)).collect();
        Some(Status {
            cluster: map.charter.id,
            data_groups: map.charter.groups,
            replication: map.charter.replication,
            revision: map.revision,
            answered_by: self.inner.me,
            nodes,
            groups,
        })
    }

    /// Lets a node lead nothing where another can. It keeps its replicas.
    pub async fn drain(&self, node: NodeId) -> Result<(), Error> {
        self.set_state(node, State::Draining).await
    }

    /// Takes a drain back, or a removal that has not ended.
    pub async fn undrain(&self, node: NodeId) -> Result<(), Error> {
        self.set_state(node, State::Active).await
    }

    /// Takes a node out for good, be it alive or dead: its replicas move to others, then nobody listens to it any more.
    /// Returns when that is decided.
    pub async fn remove(&self, node: NodeId) -> Result<(), Error> {
        self.set_state(node, State::Leaving).await
    }

    async fn set_state(&self, node: NodeId, state: State) -> Result<(), Error> {
        for _ in 0..TRIES_MAX {
            let map = self.inner.fresh_map().await?;
            let member = map.members.get(&node).ok_or(Error::NoSuchNode(node))?;
            if member.value.state == State::Removed {
                return Err(Error::NotNow(format!("node {node} was removed for good")));
            }
            if member.value.state == state {
                return Ok(());
            }
            if state != State::Active && !map.nodes(State::Active).any(|other| other != node) {
                return Err(Error::NotNow("no other node is active: nobody could take its place".to_owned()));
            }
            let mut change = Change::default();
            change.put(record::node_name(node), Some(member.revision), &Member { state, ..member.value.clone() });
            match self.inner.registry.write(change.expect, change.ops).await {
                Ok(revision) => {
                    self.inner.followed(revision).await;
                    return Ok(());
                }
                Err(WriteError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::NotNow(format!("the record of node {node} changes too fast")))
    }

    /// Hands the leadership of a group to a node that has a replica of it, and prefers that node from now on. Returns when
    /// it leads.
    pub async fn transfer(&self, group: u32, node: NodeId) -> Result<(), Error> {
        self.prefer(group, node).await?;
        let deadline = Instant::now() + ms(self.inner.config.recovered_ms + self.inner.config.write_ms);
        while self.home_of(group).leader != Some(node) {
            if Instant::now() > deadline {
                return Err(Error::Unknown(format!("node {node} is to lead group {group}, but does not do so yet")));
            }
            tokio::time::sleep(ms(POLL_MS)).await;
        }
        Ok(())
    }

    async fn prefer(&self, group: u32, node: NodeId) -> Result<(), Error> {
        for _ in 0..TRIES_MAX {
            let map = self.inner.fresh_map().await?;
            let placed = map.groups.get(&group).ok_or(Error::NoSuchGroup(group))?;
            if map.state(node).ok_or(Error::NoSuchNode(node))? != State::Active {
                return Err(Error::NotNow(format!("node {node} is not active")));
            }
            if placed.value.incarnation(node).is_none() {
                return Err(Error::NotNow(format!("node {node} has no replica of group {group}")));
            }
            if placed.value.leader == node {
                return Ok(());
            }
            let mut change = Change::default();
            let placement = Placement { leader: node, ..placed.value.clone() };
            change.put(record::group_name(group), Some(placed.revision), &placement);
            match self.inner.registry.write(change.expect, change.ops).await {
                Ok(revision) => {
                    self.inner.followed(revision).await;
                    return Ok(());
                }
                Err(WriteError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::NotNow(format!("the record of group {group} changes too fast")))
    }
}

impl Inner {
    /// A map that has everything that was written before the call.
    async fn fresh_map(&self) -> Result<Arc<Map>, Error> {
        let deadline = Instant::now() + ms(self.config.write_ms);
        let newest = self.registry.confirm(deadline).await?;
        let map = self.map_at(newest, deadline).await?;
        map.ok_or_else(|| Error::NotNow("this node does not follow the registry".to_owned()))
    }

    /// Waits until this node shows what was just written, so that whoever wrote it sees it here. It is written in any case.
    async fn followed(&self, revision: u64) {
        let deadline = Instant::now() + ms(self.config.write_ms);
        // A node that stops meanwhile shows nothing any more.
        let _ = self.map_at(revision, deadline).await;
    }

    /// The map once it has reached a revision; none if it does not until then.
    async fn map_at(&self, revision: u64, deadline: Instant) -> Result<Option<Arc<Map>>, Error> {
        let mut maps = self.map.subscribe();
        let seen = maps.wait_for(|map| map.as_ref().is_some_and(|map| map.revision >= revision));
        match tokio::time::timeout_at(deadline.into(), seen).await {
            Ok(Ok(map)) => Ok(map.clone()),
            Ok(Err(_)) => Err(Error::Stopped),
            Err(_) => Ok(None),
        }
    }
}

/// What a status is made of.
struct Known<'a> {
    map: &'a Map,
    reports: BTreeMap<NodeId, Report>,
    reachable: std::collections::BTreeSet<NodeId>,
}

impl Known<'_> {
    fn node(&self, node: NodeId, member: &Member) -> NodeStatus {
        let reachable = self.reachable.contains(&node);
        let report = self.reports.get(&node).filter(|_| reachable).cloned().unwrap_or_default();
        NodeStatus {
            node,
            member: member.clone(),
            reachable,
            version: report.version,
            uptime_ms: report.uptime_ms,
            leaders: report.groups.iter().filter(|group| group.lead.is_some()).count() as u32,
            replicas: report.groups.len() as u32,
            revision: report.revision,
            fresh: report.fresh,
            key_epoch: report.key_epoch,
        }
    }

    fn group(&self, group: u32, placed: &Placement) -> GroupStatus {
        let heard = self.reports.iter().filter(|(node, _)| self.reachable.contains(node));
        let leads = heard.filter_map(|(node, report)| Some((report.group(group)?.lead.as_ref()?, *node)));
        let lead = leads.max_by_key(|(lead, node)| (lead.term, *node));
        let confirmed = lead.as_ref().and_then(|(lead, _)| lead.confirmed.as_ref());
        let mut replicas: BTreeMap<(NodeId, u64), bool> =
            placed.replicas.iter().map(|replica| ((replica.node, replica.incarnation), false)).collect();
        for (members, votes) in confirmed.iter().flat_map(|known| [(&known.learners, false), (&known.voters, true)]) {
            replicas.extend(members.iter().map(|replica| ((replica.node, replica.incarnation), votes)));
        }
        let replicas = replicas.into_iter().map(|((node, incarnation), voter)| {
            let report = self.reports.get(&node).filter(|_| self.reachable.contains(&node));
            let report = report.and_then(|report| report.group(group));
            let here = report.filter(|report| report.incarnation == incarnation);
            let (applied, digest) = (here.and_then(|here| here.applied), here.map(|here| here.digest));
            ReplicaStatus { node, incarnation, voter, applied, digest }
        });
        let leader = lead.as_ref().map(|(_, node)| *node);
        let replicas: Vec<_> = replicas.collect();
        let problem = self.problem(group, placed, leader, confirmed.is_some(), &replicas);
        GroupStatus { group, leader, preferred: placed.leader, problem, replicas }
    }

    fn problem(
        &self,
        group: u32,
        placed: &Placement,
        leader: Option<NodeId>,
        confirmed: bool,
        replicas: &[ReplicaStatus],
    ) -> String {
        let revision = self.map.groups.get(&group).map(|record| record.revision);
        let newest = |report: &Report| Some(report.group(group)?.lead.as_ref()?.confirmed.as_ref()?.revision);
        let current = leader.and_then(|node| self.reports.get(&node)).and_then(newest) == revision;
        let votes = |node: NodeId| replicas.iter().any(|replica| replica.node == node && replica.voter);
        let absent = replicas.iter().filter(|replica| replica.voter && !self.reachable.contains(&replica.node)).count();
        if leader.is_none() {
            "no leader is known".to_owned()
        } else if absent > 0 {
            format!("{absent} of its voters cannot be reached")
        } else if !confirmed || !current {
            "its members are being confirmed".to_owned()
        } else if !placed.replicas.iter().all(|replica| votes(replica.node)) {
            "replicas are moving".to_owned()
        } else {
            String::new()
        }
    }
}
