//! What is to be done next: a pure function from what this node knows to small steps.
//!
//! Every node does the same for its own replicas and for the groups it leads, each time from what it sees then. No step
//! rests on an earlier one having ended well, so a crash between any two is made good by the next look.
//!
//! ```text
//! a replica that comes      create it here ─> leader: add learner ─> caught up ─> change voters
//! a replica that goes       leader: hand leadership over first ─> change voters ─> confirm ─> remove it here
//! ```
//!
//! A node that has not confirmed the registry for too long takes no requests, but may well lead: its groups answer
//! nobody then. It hands them to a node that is fresh, if there is one, and no one hands any to it.
//!
//! Two rules keep it safe. A leader changes members only after it has *confirmed*, in this leadership, that it leads
//! and that the placement it sees is the newest: a leader that comes late with an old map changes nothing. And a node
//! removes a replica only if a leader has confirmed, under a placement at least as new as the one that dropped it, that
//! this life of the replica is no member any more: no later leader can then add it again.

use std::collections::{BTreeMap, BTreeSet};

use lethe_proto::NodeId;

use super::hand_over::Patience;
use super::map::{Map, SYSTEM};
use super::message::{Confirmed, Report};
use super::plan::SYSTEM_INCARNATION;
use super::record::{Placement, Replica, State};
use crate::shard::{Begin, Members};

/// The first life of a group: its founder leads it alone.
pub(super) const FOUNDING: u64 = 1;

/// One small change of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Make a replica on this node.
    Create { group: u32, incarnation: u64, begin: Begin },
    /// Remove this node's replica.
    Remove { group: u32 },
    /// Find out whether this node really leads, and who the members are, under the newest placement.
    Confirm { group: u32 },
    /// Add a replica that exists.
    AddLearner { group: u32, replica: Replica },
    /// Let these vote, and no others. Those that do not vote any more leave the group, or stay as learners.
    ChangeVoters { group: u32, voters: BTreeSet<NodeId>, keep: bool },
    /// Let a learner leave the group.
    RemoveLearner { group: u32, node: NodeId },
    /// Hand the leadership over.
    Transfer { group: u32, to: NodeId, patience: Patience },
}

/// A replica of this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Here {
    pub incarnation: u64,
    pub members: Members,
    /// If this node leads the group.
    pub leads: Option<Leads>,
}

/// What this node knows as a leader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Leads {
    /// Index of the last entry.
    pub last: Option<u64>,
    /// Index of the last entry that each member is known to have.
    pub progress: BTreeMap<NodeId, Option<u64>>,
    /// What was confirmed in this leadership.
    pub confirmed: Option<Confirmed>,
}

/// What this node knows.
pub(super) struct View<'a> {
    pub me: NodeId,
    pub map: &'a Map,
    pub here: &'a BTreeMap<u32, Here>,
    /// The last report of every other node that was ever heard.
    pub reports: &'a BTreeMap<NodeId, Report>,
    /// Nodes that answer now.
    pub reachable: &'a BTreeSet<NodeId>,
    /// Those of them that have been well for long enough to lead.
    pub well: &'a BTreeSet<NodeId>,
    /// Those that have been fresh for long enough to take groups from a node that is not.
    pub fresh: &'a BTreeSet<NodeId>,
    pub lag_max: u64,
    /// This node has not been fresh for so long that it gives all leadership to nodes that are.
    pub stale: bool,
    /// This node is about to stop: it gives all leadership away.
    pub stopping: bool,
    /// This node's log cannot grow: it gives all leadership to nodes that are fresh.
    pub log_full: bool,
}

impl Step {
    /// The group it changes.
    pub fn group(&self) -> u32 {
        match self {
            Self::Create { group, .. }
            | Self::Remove { group }
            | Self::Confirm { group }
            | Self::AddLearner { group, .. }
            | Self::ChangeVoters { group, .. }
            | Self::RemoveLearner { group, .. }
            | Self::Transfer { group, .. } => *group,
        }
    }
}

/// At most one step for each group.
pub(super) fn steps(view: &View<'_>) -> Vec<Step> {
    let groups: BTreeSet<u32> = view.map.groups.keys().chain(view.here.keys()).copied().collect();
    groups.into_iter().filter_map(|group| local(view, group).or_else(|| lead(view, group))).collect()
}

/// Makes and removes this node's replica.
fn local(view: &View<'_>, group: u32) -> Option<Step> {
    // The system group's replica is made by whoever starts the node, and goes with the node.
    if group == SYSTEM {
        return None;
    }
    let record = view.map.groups.get(&group)?;
    let placed = record.value.incarnation(view.me);
    match (view.here.get(&group), placed) {
        (None, Some(incarnation)) => {
            let begin = if incarnation == FOUNDING { Begin::Lead } else { Begin::Join };
            Some(Step::Create { group, incarnation, begin })
        }
        // A crash left a replica before its group began. Nobody else has it, so nothing was ever committed.
        (Some(here), _) if here.incarnation == FOUNDING && here.members.voters.is_empty() => {
            Some(Step::Create { group, incarnation: FOUNDING, begin: Begin::Lead })
        }
        (Some(here), placed) if placed != Some(here.incarnation) => {
            let gone = Replica { node: view.me, incarnation: here.incarnation };
            let known = |confirmed: &Confirmed| confirmed.revision >= record.revision && !confirmed.has(gone);
            view.confirmed(group).any(known).then_some(Step::Remove { group })
        }
        _ => None,
    }
}

/// Brings the members of a group that this node leads to where they should be.
fn lead(view: &View<'_>, group: u32) -> Option<Step> {
    let here = view.here.get(&group)?;
    let leads = here.leads.as_ref()?;
    let record = view.map.groups.get(&group)?;
    // A leader that is out leads on for a moment, until the others hear of it: it has no say in who is in.
    if here.members.pending || !here.members.voters.contains_key(&view.me) {
        return None;
    }
    let led = Group { view, group, members: &here.members, leads, placement: &record.value };
    // A hand-over changes no members, so it needs no confirmation, which a stale node could not get, and for which a
    // node that stops need not wait.
    if (view.stale || view.stopping || view.log_full)
        && let Some(step) = led.hand_over()
    {
        return Some(step);
    }
    if leads.confirmed.as_ref().is_none_or(|confirmed| confirmed.revision != record.revision) {
        return Some(Step::Confirm { group });
    }
    let change = if here.members.joint { Some(led.leave_joint()) } else { led.change() };
    change.or_else(|| led.confirm_members()).or_else(|| led.hand_over())
}

impl<'a> View<'a> {
    /// What leaders have confirmed about a group, other nodes and this one.
    pub fn confirmed(&self, group: u32) -> impl Iterator<Item = &'a Confirmed> {
        let reports = self.reports.values().filter_map(move |report| report.group(group)?.lead.as_ref());
        let own = self.here.get(&group).and_then(|here| here.leads.as_ref()?.confirmed.as_ref());
        reports.filter_map(|lead| lead.confirmed.as_ref()).chain(own)
    }
}

/// A group that this node leads.
struct Group<'a> {
    view: &'a View<'a>,
    group: u32,
    members: &'a Members,
    leads: &'a Leads,
    placement: &'a Placement,
}

impl Group<'_> {
    /// Ends a change of voters that somebody began.
    fn leave_joint(&self) -> Step {
        let fits = |replica: &&Replica| self.members.incarnation(replica.node) == Some(replica.incarnation);
        let mut voters: BTreeSet<NodeId> = self.placement.replicas.iter().filter(fits).map(|r| r.node).collect();
        let others: Vec<_> = self.members.voters.keys().filter(|node| !voters.contains(node)).copied().collect();
        let lacking = self.placement.replicas.len().saturating_sub(voters.len());
        voters.extend(others.into_iter().take(lacking));
        // Who leads never goes by its own change: `vote` lets somebody else lead first.
        voters.insert(self.view.me);
        self.change_voters(voters)
    }

    fn change(&self) -> Option<Step> {
        let others = || self.add_learner().or_else(|| self.vote()).or_else(|| self.drop_learner());
        self.drop_old_learner().or_else(others).or_else(|| self.drop_old_voter())
    }

    /// Lets a learner leave that should be a member again, but with another life.
    fn drop_old_learner(&self) -> Option<Step> {
        let old = |replica: &&Replica| {
            self.members.learners.get(&replica.node).is_some_and(|incarnation| *incarnation != replica.incarnation)
        };
        let node = self.placement.replicas.iter().find(old)?.node;
        Some(Step::RemoveLearner { group: self.group, node })
    }

    /// The same for a voter. It votes until all others are those that should: the group has one less until it is back.
    fn drop_old_voter(&self) -> Option<Step> {
        let placed: BTreeSet<NodeId> = self.placement.replicas.iter().map(|replica| replica.node).collect();
        if !self.members.voters.keys().eq(placed.iter()) {
            return None;
        }
        let old = |replica: &&Replica| self.members.voters.get(&replica.node) != Some(&replica.incarnation);
        let node = self.placement.replicas.iter().find(old)?.node;
        let voters: BTreeSet<NodeId> = placed.into_iter().filter(|voter| *voter != node).collect();
        self.has_majority(&voters).then_some(Step::ChangeVoters { group: self.group, voters, keep: false })
    }

    /// Everybody who should be a member: those placed, and for the system group all nodes.
    fn wanted(&self) -> Vec<Replica> {
        let mut wanted = self.placement.replicas.clone();
        if self.group == SYSTEM {
            let others = self.view.map.present().filter(|node| self.placement.incarnation(*node).is_none());
            wanted.extend(others.map(|node| Replica { node, incarnation: SYSTEM_INCARNATION }));
        }
        wanted
    }

    fn add_learner(&self) -> Option<Step> {
        let absent = |replica: &Replica| self.members.incarnation(replica.node).is_none() && self.exists(*replica);
        let replica = self.wanted().into_iter().find(absent)?;
        Some(Step::AddLearner { group: self.group, replica })
    }

    /// Changes the voters when those that come have caught up. Voters that go stay as long as somebody who should take
    /// their place cannot be reached.
    fn vote(&self) -> Option<Step> {
        let placed: BTreeSet<NodeId> = self.placement.replicas.iter().map(|replica| replica.node).collect();
        if self.members.voters.keys().eq(placed.iter()) {
            return None;
        }
        let coming: Vec<_> =
            self.placement.replicas.iter().filter(|r| !self.members.voters.contains_key(&r.node)).collect();
        let ready: BTreeSet<NodeId> = coming.iter().filter(|r| self.caught_up(r.node)).map(|r| r.node).collect();
        if coming.iter().any(|r| !ready.contains(&r.node) && self.view.reachable.contains(&r.node)) {
            return None;
        }
        let now: BTreeSet<NodeId> = self.members.voters.keys().copied().collect();
        let change = |voters| self.has_majority(&voters).then(|| self.change_voters(voters));
        if ready.len() < coming.len() {
            let more: BTreeSet<NodeId> = now.union(&ready).copied().collect();
            return (more != now).then_some(more).and_then(change);
        }
        if placed.contains(&self.view.me) {
            return change(placed);
        }
        // This node goes itself: others vote with it first, then one of them leads and lets it go.
        let staying: BTreeSet<NodeId> = placed.iter().copied().chain([self.view.me]).collect();
        if now != staying {
            return change(staying);
        }
        let first = [self.placement.leader].into_iter().chain(placed);
        let to = first.into_iter().find(|node| self.can_lead(*node) && self.view.reachable.contains(node))?;
        Some(self.transfer(to))
    }

    fn drop_learner(&self) -> Option<Step> {
        let wanted = self.wanted();
        let named = |node: &NodeId| wanted.iter().any(|replica| replica.node == *node);
        let node = *self.members.learners.keys().find(|node| !named(node))?;
        Some(Step::RemoveLearner { group: self.group, node })
    }

    /// Confirms the members again after they have changed.
    fn confirm_members(&self) -> Option<Step> {
        let confirmed = self.leads.confirmed.as_ref()?;
        let same = confirmed.voters == replicas(&self.members.voters)
            && confirmed.learners == replicas(&self.members.learners);
        (!same).then_some(Step::Confirm { group: self.group })
    }

    /// Hands the leadership to whoever should have it. A node that stops, drains or is stale gives it to anybody who can
    /// take it.
    fn hand_over(&self) -> Option<Step> {
        let View { me, stopping, stale, log_full, .. } = *self.view;
        let wish = self.placement.leader;
        let leaves = stopping || stale || log_full || self.view.map.state(me) != Some(State::Active);
        // A change of voters ends first, unless this node cannot end it.
        if (wish == me && !leaves) || (self.members.joint && !stale && !log_full) {
            return None;
        }
        let pool = match leaves {
            true if stale && !stopping => self.view.fresh,
            true => self.view.reachable,
            false => self.view.well,
        };
        let active = |node: &NodeId| self.view.map.state(*node) == Some(State::Active);
        let others = self.members.voters.keys().copied().filter(|node| leaves && active(node));
        let among = |able: &dyn Fn(&NodeId) -> bool| {
            let able = |node: &NodeId| *node != me && pool.contains(node) && able(node);
            // Those that take what a node leads share it: all of its actors start anew at once.
            let any = || {
                let others: Vec<NodeId> = others.clone().filter(able).collect();
                others.get(self.group as usize % others.len().max(1)).copied()
            };
            Some(wish).filter(able).or_else(any)
        };
        // Leaving without a hand-over would be no better than a hand-over to a node that takes no requests.
        let last = || stopping.then(|| among(&|node| self.can_take(*node))).flatten();
        Some(self.transfer(among(&|node| self.can_lead(*node)).or_else(last)?))
    }

    fn transfer(&self, to: NodeId) -> Step {
        let urgent = self.view.stale || self.view.log_full;
        Step::Transfer { group: self.group, to, patience: if urgent { Patience::Urgent } else { Patience::Planned } }
    }

    /// Whether most of these answer, this node among them. Otherwise a change to them never ends, and the group, which has to
    /// agree with old and new voters until it does, stands still for good.
    fn has_majority(&self, voters: &BTreeSet<NodeId>) -> bool {
        let answers = |node: &&NodeId| **node == self.view.me || self.view.reachable.contains(*node);
        2 * voters.iter().filter(answers).count() > voters.len()
    }

    /// Whether a node votes, has nearly everything, does not stop, and takes requests.
    fn can_lead(&self, node: NodeId) -> bool {
        self.view.reports.get(&node).is_some_and(|report| report.fresh) && self.can_take(node)
    }

    /// The same, whether it takes requests or not.
    fn can_take(&self, node: NodeId) -> bool {
        let stays = self.view.reports.get(&node).is_some_and(|report| !report.stopping);
        stays && self.members.voters.contains_key(&node) && self.caught_up(node)
    }

    /// Whether a member has nearly everything: log and keys.
    fn caught_up(&self, node: NodeId) -> bool {
        let Some(incarnation) = self.members.incarnation(node) else { return false };
        let entries = |index: Option<u64>| index.map_or(0, |index| index + 1);
        let matched = self.leads.progress.get(&node).copied().flatten();
        let near = matched.is_some() && entries(matched) + self.view.lag_max >= entries(self.leads.last);
        let report = self.view.reports.get(&node).and_then(|report| report.group(self.group));
        near && report.is_some_and(|report| report.incarnation == incarnation && report.missing_keys == 0)
    }

    /// Whether the node was heard to have this replica, and can be reached.
    fn exists(&self, replica: Replica) -> bool {
        let report = self.view.reports.get(&replica.node).and_then(|report| report.group(self.group));
        let here = report.is_some_and(|report| report.incarnation == replica.incarnation);
        here && self.view.reachable.contains(&replica.node)
    }

    fn change_voters(&self, voters: BTreeSet<NodeId>) -> Step {
        Step::ChangeVoters { group: self.group, voters, keep: self.group == SYSTEM }
    }
}

/// Members in order, as they are confirmed.
pub(super) fn replicas(members: &BTreeMap<NodeId, u64>) -> Vec<Replica> {
    members.iter().map(|(node, incarnation)| Replica { node: *node, incarnation: *incarnation }).collect()
}
