//! Who hands leadership to whom: nodes that are fresh and nodes that are not, as one of them sees it.

use std::collections::{BTreeMap, BTreeSet};

use lethe_proto::NodeId;

use super::world::{founded, set};
use crate::cluster::Patience;
use crate::cluster::map::{Map, SYSTEM};
use crate::cluster::message::{Confirmed, GroupReport, Report};
use crate::cluster::record::{Placement, Replica, State};
use crate::cluster::steps::{Here, Leads, Step, View, replicas, steps};
use crate::shard::{Begin, Members};

const GROUP: u32 = 1;

/// What the node 1 sees: it leads a group whose voters are the nodes 1, 2 and 3, who all are fresh and well.
struct Sight {
    map: Map,
    here: BTreeMap<u32, Here>,
    reports: BTreeMap<NodeId, Report>,
    fresh: BTreeSet<NodeId>,
    /// Nodes that do not answer.
    silent: BTreeSet<NodeId>,
    stale: bool,
    stopping: bool,
    log_full: bool,
}

impl Sight {
    /// The group is to be led by this node.
    fn new(wish: u64) -> Self {
        Self::of(1, wish)
    }

    /// The node leads so many groups, which are to be led by this one.
    fn of(groups: u32, wish: u64) -> Self {
        let mut map = founded(groups, 3);
        (2..=3).for_each(|node| set(&mut map, node, State::Active));
        let voters: BTreeMap<NodeId, u64> = (1..=3).map(|node| (NodeId::from(node), 1)).collect();
        let mut here = BTreeMap::new();
        for group in GROUP..=groups {
            let record = map.groups.get_mut(&group).unwrap();
            record.value = Placement::new(replicas(&voters), NodeId::from(wish));
            let confirmed = Confirmed { revision: record.revision, voters: replicas(&voters), learners: Vec::new() };
            let progress = voters.keys().map(|node| (*node, Some(9))).collect();
            let leads = Leads { last: Some(9), progress, confirmed: Some(confirmed) };
            let members = Members { voters: voters.clone(), ..Members::default() };
            here.insert(group, Here { incarnation: 1, members, leads: Some(leads) });
        }
        let group = |group| {
            let (applied, digest) = (Some(9), [0; 16]);
            GroupReport { group, incarnation: 1, applied, digest, missing_keys: 0, lead: None }
        };
        let report = Report { fresh: true, groups: (SYSTEM..=groups).map(group).collect(), ..Report::default() };
        let others: BTreeSet<NodeId> = [2, 3].map(NodeId::from).into();
        Self {
            map,
            here,
            reports: others.iter().map(|node| (*node, report.clone())).collect(),
            fresh: others,
            silent: BTreeSet::new(),
            stale: false,
            stopping: false,
            log_full: false,
        }
    }

    fn leads(&mut self) -> &mut Leads {
        self.here.get_mut(&GROUP).and_then(|here| here.leads.as_mut()).unwrap()
    }

    /// A node says that it is not fresh.
    fn lapse(&mut self, node: u64) {
        self.reports.get_mut(&NodeId::from(node)).unwrap().fresh = false;
        self.fresh.remove(&NodeId::from(node));
    }

    fn step(&self) -> Option<Step> {
        self.steps().into_iter().find(|step| step.group() == GROUP)
    }

    fn steps(&self) -> Vec<Step> {
        let others = self.reports.keys().filter(|node| !self.silent.contains(node)).copied().collect();
        let view = View {
            me: NodeId::from(1),
            map: &self.map,
            here: &self.here,
            reports: &self.reports,
            reachable: &others,
            well: &others,
            fresh: &self.fresh,
            lag_max: 0,
            stale: self.stale,
            stopping: self.stopping,
            log_full: self.log_full,
        };
        steps(&view)
    }
}

fn transfer(to: u64) -> Option<Step> {
    Some(Step::Transfer { group: GROUP, to: NodeId::from(to), patience: Patience::Planned })
}

/// The group takes no calls here, or no writes.
fn urgently(to: u64) -> Option<Step> {
    Some(Step::Transfer { group: GROUP, to: NodeId::from(to), patience: Patience::Urgent })
}

#[test]
fn a_stale_leader_hands_its_group_to_a_fresh_voter_and_confirms_nothing_first() {
    let mut sight = Sight::new(1);
    assert_eq!(sight.step(), None);
    sight.stale = true;
    assert_eq!(sight.step(), urgently(3));
    sight.leads().confirmed = None;
    assert_eq!(sight.step(), urgently(3));
    sight.lapse(3);
    assert_eq!(sight.step(), urgently(2));
    // A change of voters that it cannot end is ended by the next leader.
    sight.here.get_mut(&GROUP).unwrap().members.joint = true;
    assert_eq!(sight.step(), urgently(2));
}

fn nodes(nodes: &[u64]) -> Vec<NodeId> {
    nodes.iter().copied().map(NodeId::from).collect()
}

#[test]
fn a_leader_that_ends_a_change_of_voters_stays_one_until_somebody_else_leads() {
    let mut sight = Sight::new(2);
    let placed = BTreeMap::from([(NodeId::from(2), 1), (NodeId::from(3), 1)]);
    sight.map.groups.get_mut(&GROUP).unwrap().value = Placement::new(replicas(&placed), NodeId::from(2));
    sight.here.get_mut(&GROUP).unwrap().members.joint = true;
    let Some(Step::ChangeVoters { voters, .. }) = sight.step() else { panic!("{:?}", sight.step()) };
    assert_eq!(Vec::from_iter(voters), nodes(&[1, 2, 3]));
    sight.here.get_mut(&GROUP).unwrap().members.joint = false;
    assert_eq!(sight.step(), transfer(2));
}

#[test]
fn a_leader_that_is_out_changes_nothing() {
    for joint in [false, true] {
        let mut sight = Sight::new(1);
        let members = &mut sight.here.get_mut(&GROUP).unwrap().members;
        members.voters.remove(&NodeId::from(1));
        members.joint = joint;
        assert_eq!(sight.step(), None);
        sight.leads().confirmed = None;
        assert_eq!(sight.step(), None);
    }
}

#[test]
fn a_stale_leader_keeps_its_group_while_nobody_has_been_fresh_for_long_enough() {
    let mut sight = Sight::new(1);
    sight.stale = true;
    sight.leads().confirmed = None;
    // They are fresh since a moment ago: so may this node be, in a moment.
    sight.fresh.clear();
    assert_eq!(sight.step(), Some(Step::Confirm { group: GROUP }));
    (2..=3).for_each(|node| sight.lapse(node));
    assert_eq!(sight.step(), Some(Step::Confirm { group: GROUP }));
}

#[test]
fn a_stale_leader_hands_its_group_to_no_voter_that_lacks_entries() {
    let mut sight = Sight::new(1);
    sight.stale = true;
    sight.leads().progress.insert(NodeId::from(2), Some(8));
    assert_eq!(sight.step(), urgently(3));
    sight.leads().progress.insert(NodeId::from(3), None);
    assert_eq!(sight.step(), None);
}

#[test]
fn nobody_hands_a_group_to_the_node_that_should_lead_it_while_that_node_is_stale() {
    let mut sight = Sight::new(2);
    assert_eq!(sight.step(), transfer(2));
    sight.lapse(2);
    assert_eq!(sight.step(), None);
    set(&mut sight.map, 1, State::Draining);
    assert_eq!(sight.step(), transfer(3));
}

#[test]
fn a_node_whose_replica_goes_hands_the_group_to_a_fresh_one() {
    let mut sight = Sight::new(2);
    let placed = [2, 3].map(|node| Replica { node: NodeId::from(node), incarnation: 1 });
    sight.map.groups.get_mut(&GROUP).unwrap().value = Placement::new(placed.to_vec(), NodeId::from(2));
    assert_eq!(sight.step(), transfer(2));
    sight.lapse(2);
    assert_eq!(sight.step(), transfer(3));
    sight.lapse(3);
    assert_eq!(sight.step(), None);
}

#[test]
fn a_node_that_stops_hands_its_group_even_to_a_stale_one() {
    let mut sight = Sight::new(1);
    sight.stopping = true;
    (2..=3).for_each(|node| sight.lapse(node));
    assert_eq!(sight.step(), transfer(3));
    sight.stale = true;
    assert_eq!(sight.step(), urgently(3));
}

#[test]
fn a_node_that_stops_tries_fresh_nodes_before_a_stale_one() {
    for (stale, fresh) in [(2, 3), (3, 2)] {
        // Whoever should lead it, and whoever would have its turn.
        for wish in 1..=3 {
            let mut sight = Sight::new(wish);
            sight.stopping = true;
            sight.lapse(stale);
            assert_eq!(sight.step(), transfer(fresh), "{stale} is stale, and {wish} should lead");
        }
    }
}

#[test]
fn a_node_whose_log_is_full_hands_its_groups_to_fresh_nodes_only() {
    let mut sight = Sight::new(1);
    sight.log_full = true;
    sight.leads().confirmed = None;
    assert_eq!(sight.step(), urgently(3));
    // A change of voters that it cannot end is ended by the next leader.
    sight.here.get_mut(&GROUP).unwrap().members.joint = true;
    assert_eq!(sight.step(), urgently(3));
    sight.lapse(3);
    assert_eq!(sight.step(), urgently(2));
    sight.lapse(2);
    assert!(!matches!(sight.step(), Some(Step::Transfer { .. })), "it can still serve reads: {:?}", sight.step());
    sight.stopping = true;
    sight.here.get_mut(&GROUP).unwrap().members.joint = false;
    assert_eq!(sight.step(), urgently(3));
}

#[test]
fn a_node_that_stops_confirms_nothing_before_it_hands_its_group_over() {
    let mut sight = Sight::new(1);
    sight.leads().confirmed = None;
    assert_eq!(sight.step(), Some(Step::Confirm { group: GROUP }));
    sight.stopping = true;
    assert_eq!(sight.step(), transfer(3));
}

#[test]
fn those_that_take_what_a_node_leads_share_it() {
    let mut sight = Sight::of(8, 1);
    sight.stopping = true;
    let taken_by = |sight: &Sight, to: u64| {
        let to = NodeId::from(to);
        sight.steps().iter().filter(|step| matches!(step, Step::Transfer { to: taker, .. } if *taker == to)).count()
    };
    assert_eq!((taken_by(&sight, 2), taken_by(&sight, 3)), (4, 4));
    sight.reports.remove(&NodeId::from(3));
    assert_eq!((taken_by(&sight, 2), taken_by(&sight, 3)), (8, 0));
}

/// Places the group on these lives, and lets this node know of replicas there as a leader knows of learners.
fn place(sight: &mut Sight, placed: &[(u64, u64)], learners: &[(u64, u64)]) {
    let placed = placed.iter().map(|(node, incarnation)| Replica { node: (*node).into(), incarnation: *incarnation });
    let record = sight.map.groups.get_mut(&GROUP).unwrap();
    record.value = Placement::new(placed.collect(), NodeId::from(1));
    for (node, incarnation) in learners {
        let node = NodeId::from(*node);
        set(&mut sight.map, node.0.as_u128() as u64, State::Active);
        let mut report = sight.reports.values().next().unwrap().clone();
        report.groups[GROUP as usize].incarnation = *incarnation;
        sight.reports.insert(node, report);
        sight.here.get_mut(&GROUP).unwrap().members.learners.insert(node, *incarnation);
    }
    let learners = replicas(&sight.here[&GROUP].members.learners);
    sight.leads().confirmed.as_mut().unwrap().learners = learners;
}

fn voters(voters: &[u64], keep: bool) -> Option<Step> {
    Some(Step::ChangeVoters { group: GROUP, voters: nodes(voters).into_iter().collect(), keep })
}

#[test]
fn a_voter_of_an_earlier_life_stays_until_all_others_are_there_and_answer() {
    // The node 3 is dead and was replaced by 4 while 2 was on its way out and came back.
    let mut sight = Sight::new(1);
    place(&mut sight, &[(1, 1), (2, 7), (4, 5)], &[]);
    assert_eq!(sight.step(), None, "1 and 3 would never agree");
    place(&mut sight, &[(1, 1), (2, 7), (4, 5)], &[(4, 5)]);
    assert_eq!(sight.step(), None, "4 has nothing yet");
    sight.leads().progress.insert(NodeId::from(4), Some(9));
    assert_eq!(sight.step(), voters(&[1, 2, 4], false));
    let members = &mut sight.here.get_mut(&GROUP).unwrap().members;
    members.voters = BTreeMap::from([(1, 1), (2, 1), (4, 5)].map(|(node, life)| (NodeId::from(node), life)));
    members.learners.clear();
    assert_eq!(sight.step(), voters(&[1, 4], false));
    sight.silent.insert(NodeId::from(4));
    assert_eq!(sight.step(), Some(Step::Confirm { group: GROUP }), "it waits for 4");
}

#[test]
fn no_voter_leaves_a_group_whose_other_voters_do_not_answer() {
    let mut sight = Sight::new(1);
    place(&mut sight, &[(1, 1), (3, 1)], &[]);
    assert_eq!(sight.step(), voters(&[1, 3], false));
    sight.silent.insert(NodeId::from(3));
    assert_eq!(sight.step(), None);
}

#[test]
fn a_learner_votes_only_when_it_has_all_entries_and_all_keys() {
    let mut sight = Sight::new(1);
    place(&mut sight, &[(1, 1), (2, 1), (4, 5)], &[(4, 5)]);
    let lacks = |sight: &mut Sight, keys| {
        sight.reports.get_mut(&NodeId::from(4)).unwrap().groups[GROUP as usize].missing_keys = keys;
    };
    sight.leads().progress.insert(NodeId::from(4), Some(8));
    assert_eq!(sight.step(), None, "an entry is missing");
    sight.leads().progress.insert(NodeId::from(4), Some(9));
    lacks(&mut sight, 1);
    assert_eq!(sight.step(), None, "a key is missing");
    lacks(&mut sight, 0);
    assert_eq!(sight.step(), voters(&[1, 2, 4], false));
    // Another life of the replica than the one that is a member says nothing about that one.
    sight.reports.get_mut(&NodeId::from(4)).unwrap().groups[GROUP as usize].incarnation = 6;
    assert_eq!(sight.step(), None);
}

#[test]
fn a_founder_begins_a_group_that_a_crash_left_without_members_and_no_other_node_does() {
    let mut sight = Sight::new(1);
    let place_here = |sight: &mut Sight, incarnation| {
        sight.here.insert(GROUP, Here { incarnation, ..Here::default() });
        sight.step()
    };
    let elsewhere = Placement::new(vec![Replica { node: 2.into(), incarnation: 4 }], 2.into());
    let begin = Some(Step::Create { group: GROUP, incarnation: 1, begin: Begin::Lead });
    assert_eq!(place_here(&mut sight, 1), begin);
    // It is to be elsewhere by now: it has to begin all the same.
    sight.map.groups.get_mut(&GROUP).unwrap().value = elsewhere;
    assert_eq!(place_here(&mut sight, 1), begin);
    assert_eq!(place_here(&mut sight, 4), None, "its leader has not added it yet");
    // Of the system group only the founder makes one, when it enters: that of a node that joins has no members either.
    sight.here.insert(SYSTEM, Here { incarnation: 1, ..Here::default() });
    assert_eq!(sight.steps().iter().find(|step| step.group() == SYSTEM), None);
}
