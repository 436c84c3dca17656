//! How the cluster is, for operators.

use std::collections::BTreeMap;

use lethe_proto::{ClusterId, NodeId};

use super::handle::Cluster;
use super::map::Map;
use super::message::Report;
use super::record::{Member, Placement};

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
    /// Why its log cannot grow, if so: it leads nothing until there is room.
    pub no_room: Option<String>,
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
            no_room: report.full.map(|(reason, _)| reason),
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
        let wanted = self.map.replicas_wanted();
        let revision = self.map.groups.get(&group).map(|record| record.revision);
        let newest = |report: &Report| Some(report.group(group)?.lead.as_ref()?.confirmed.as_ref()?.revision);
        let current = leader.and_then(|node| self.reports.get(&node)).and_then(newest) == revision;
        let votes = |node: NodeId| replicas.iter().any(|replica| replica.node == node && replica.voter);
        let full = |node: NodeId| self.reports.get(&node).is_some_and(|report| report.full.is_some());
        let voters = replicas.iter().filter(|replica| replica.voter).count();
        let full = replicas.iter().filter(|replica| replica.voter && full(replica.node)).count();
        let absent = replicas.iter().filter(|replica| replica.voter && !self.reachable.contains(&replica.node)).count();
        if leader.is_none() {
            "no leader is known".to_owned()
        } else if absent > 0 {
            format!("{absent} of its voters cannot be reached")
        } else if 2 * full >= voters && full > 0 {
            format!("{full} of its {voters} voters have no room: it takes no writes")
        } else if !confirmed || !current {
            "its members are being confirmed".to_owned()
        } else if !placed.replicas.iter().all(|replica| votes(replica.node)) {
            "replicas are moving".to_owned()
        } else if placed.replicas.len() < wanted {
            format!("it has {} of {wanted} replicas; others will be placed", placed.replicas.len())
        } else {
            String::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::map::SYSTEM;
    use crate::cluster::message::{Confirmed, GroupReport, Lead};
    use crate::cluster::record::State;
    use crate::cluster::tests::world;

    /// What is wrong with each group, as long as every one is where it was placed and led by the node 1.
    fn problems(map: &Map) -> Vec<String> {
        let group = |(&group, record): (&u32, &crate::cluster::map::Record<Placement>)| {
            let (revision, voters) = (record.revision, record.value.replicas.clone());
            let confirmed = Some(Confirmed { revision, voters, learners: Vec::new() });
            let lead = Some(Lead { term: 1, last: None, confirmed, progress: Vec::new() });
            GroupReport { group, incarnation: 1, applied: None, digest: [0; 16], missing_keys: 0, lead }
        };
        let report = Report { groups: map.groups.iter().map(group).collect(), ..Report::default() };
        let reachable = map.members.keys().copied().collect();
        let known = Known { map, reports: BTreeMap::from([(NodeId::from(1), report)]), reachable };
        map.groups.iter().map(|(group, record)| known.group(*group, &record.value).problem).collect()
    }

    #[test]
    fn a_group_that_lacks_replicas_is_not_healthy_although_it_is_as_it_was_placed() {
        let mut map = world::founded(2, 3);
        assert_eq!(problems(&map), ["", "", ""], "there are no more nodes");
        world::set(&mut map, 2, State::Active);
        world::set(&mut map, 3, State::Active);
        let lacks = "it has 1 of 3 replicas; others will be placed";
        assert_eq!(problems(&map), [lacks, lacks, lacks]);
        world::settle(&mut map, &[], 2);
        assert_eq!(map.placement(SYSTEM).map(|placement| placement.replicas.len()), Some(3));
        assert_eq!(problems(&map), ["", "", ""]);
    }
}
