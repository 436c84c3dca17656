//! Where groups should be: a pure function from the map to the next placements.
//!
//! It is called again and again, and each time says only the next few changes:
//!
//! 1. repairs: a group that has too few replicas, or one on a node that leaves, gets a new one;
//! 2. moves: from the node with most replicas to the one with fewest, until they differ by at most one;
//! 3. leaders: the same for who should lead, by shifting leadership along replicas that exist.
//!
//! What it said before is where it goes on from, so it moves no more than the numbers ask for, and says nothing once
//! everything is even. Nodes that are not well neither lose replicas nor get new ones: only an operator removes a node.
//! The system group has its voters repaired, but is not counted: every node has it.

use std::collections::{BTreeMap, BTreeSet};

use lethe_proto::NodeId;

use super::even::{Edges, carry, first_of_each, shift};
use super::map::{Map, SYSTEM};
use super::record::{Placement, Replica, State};

/// The system group's replicas have one life per node: a node that left never comes back.
pub(super) const SYSTEM_INCARNATION: u64 = 1;

/// What is known besides the map.
pub(super) struct Known<'a> {
    /// Groups whose members are as the map says.
    pub settled: &'a BTreeSet<u32>,
    /// Nodes that were silent for long, or came back only now.
    pub unwell: &'a BTreeSet<NodeId>,
    /// Data groups that may be on the move at a time only to even things out.
    pub moves_max: usize,
    /// Data groups that may be on the move at a time because they lack replicas.
    pub repairs_max: usize,
}

/// The next placements of groups that should change; empty if all is well.
pub(super) fn plan(map: &Map, known: &Known<'_>) -> BTreeMap<u32, Placement> {
    let mut plan = Plan::new(map, known);
    let unsettled = (1..=map.charter.groups).filter(|group| !known.settled.contains(group)).count();
    let begun = plan.repair(known.repairs_max.saturating_sub(unsettled));
    for _ in unsettled..known.moves_max {
        // Repairs even things out as far as they can; what is moved before they end may have to move twice.
        if begun > 0 || !plan.move_one() {
            break;
        }
    }
    plan.lead();
    plan.changes()
}

/// A plan in the making.
struct Plan<'a> {
    map: &'a Map,
    known: &'a Known<'a>,
    /// Nodes that may get replicas and leaders.
    able: BTreeSet<NodeId>,
    /// Nodes whose replicas stay.
    staying: BTreeSet<NodeId>,
    groups: BTreeMap<u32, Placement>,
    touched: BTreeSet<u32>,
}

impl<'a> Plan<'a> {
    fn new(map: &'a Map, known: &'a Known<'a>) -> Self {
        let active: BTreeSet<_> = map.nodes(State::Active).collect();
        let staying = active.iter().copied().chain(map.nodes(State::Draining)).collect();
        let able = active.difference(known.unwell).copied().collect();
        let groups = map.groups.iter().map(|(group, record)| (*group, record.value.clone())).collect();
        Self { map, known, able, staying, groups, touched: BTreeSet::new() }
    }

    /// Replicas of data groups on each node that may get some.
    fn loads(&self) -> BTreeMap<NodeId, usize> {
        let mut loads: BTreeMap<_, _> = self.able.iter().map(|node| (*node, 0)).collect();
        for placement in self.groups.range(SYSTEM + 1..).map(|(_, placement)| placement) {
            for replica in &placement.replicas {
                loads.entry(replica.node).and_modify(|load| *load += 1);
            }
        }
        loads
    }

    /// Gives groups the replicas they lack, and takes those from nodes that leave: up to `budget` settled data groups, and
    /// those on the move whose change cannot end as it is. Says how many settled data groups it changed.
    fn repair(&mut self, budget: usize) -> usize {
        let fresh = self.fresh_replicas();
        let mut begun = 0;
        for group in self.map.groups.keys().copied() {
            let free = group != SYSTEM && self.known.settled.contains(&group);
            if free && begun == budget {
                continue;
            }
            let before = &self.groups[&group].replicas;
            let (mut kept, going): (Vec<Replica>, Vec<Replica>) =
                before.iter().partition(|replica| self.staying.contains(&replica.node));
            let incarnation = self.incarnation(group);
            let added = fresh.range((group, 0)..=(group, usize::MAX)).map(|(_, node)| *node);
            kept.extend(added.map(|node| Replica { node, incarnation }));
            // A replica that should go stays until another one can take its place, or until there are no more nodes.
            let lacking = self.map.replicas_wanted().saturating_sub(kept.len()).max(usize::from(kept.is_empty()));
            kept.extend(going.into_iter().take(lacking));
            if !same(&kept, before) {
                begun += usize::from(free);
                self.put(group, kept);
            }
        }
        begun
    }

    /// Where the replicas that groups lack should be, evenly: (group, number of the replica) -> node.
    fn fresh_replicas(&self) -> BTreeMap<(u32, usize), NodeId> {
        let mut loads = self.loads();
        let mut fresh = BTreeMap::new();
        for (&group, placement) in &self.groups {
            let kept = placement.replicas.iter().filter(|replica| self.staying.contains(&replica.node)).count();
            for number in 0..self.map.replicas_wanted().saturating_sub(kept) {
                let free = self.options(group, &fresh);
                let Some(node) = free.into_iter().min_by_key(|node| (loads[node], *node)) else { break };
                fresh.insert((group, number), node);
                if group != SYSTEM {
                    loads.entry(node).and_modify(|load| *load += 1);
                }
            }
        }
        let movable = |fresh: &BTreeMap<(u32, usize), NodeId>| {
            let data = fresh.range((SYSTEM + 1, 0)..);
            let edges = data.flat_map(|(&item, &from)| {
                self.options(item.0, fresh).into_iter().map(move |to| ((from, to), (0, item)))
            });
            first_of_each(edges)
        };
        while let Some(path) = shift(&loads, &movable(&fresh)) {
            fresh.extend(path.iter().map(|(item, _, to)| (*item, *to)));
            carry(&mut loads, &path);
        }
        fresh
    }

    /// Nodes that can take one more replica of the group.
    fn options(&self, group: u32, fresh: &BTreeMap<(u32, usize), NodeId>) -> Vec<NodeId> {
        let taken: Vec<_> = fresh.range((group, 0)..=(group, usize::MAX)).map(|(_, node)| *node).collect();
        let placement = &self.groups[&group];
        let free = |node: &&NodeId| placement.incarnation(**node).is_none() && !taken.contains(*node);
        self.able.iter().filter(free).copied().collect()
    }

    /// Moves a replica of a settled group from the fullest node to the emptiest, if they differ by more than one.
    fn move_one(&mut self) -> bool {
        let loads = self.loads();
        let by_load = |(_, load): &(&NodeId, &usize)| **load;
        let (Some((to, least)), Some(most)) = (loads.iter().min_by_key(by_load), loads.values().max()) else {
            return false;
        };
        if most - least <= 1 {
            return false;
        }
        for from in loads.iter().filter(|(_, load)| *load == most).map(|(node, _)| *node) {
            let movable = |group: &&u32| {
                let placement = &self.groups[group];
                self.known.settled.contains(group)
                    && !self.touched.contains(group)
                    && placement.incarnation(from).is_some()
                    && placement.incarnation(*to).is_none()
            };
            // Rather one that the node does not lead; of those, one that rested longest.
            let rank = |group: &&u32| (self.groups[group].leader == from, self.map.groups[group].revision, **group);
            let found = self.groups.range(SYSTEM + 1..).map(|(group, _)| group).filter(movable).min_by_key(rank);
            if let Some(&group) = found {
                let incarnation = self.incarnation(group);
                let mut replicas = self.groups[&group].replicas.clone();
                replicas.retain(|replica| replica.node != from);
                replicas.push(Replica { node: *to, incarnation });
                self.put(group, replicas);
                return true;
            }
        }
        false
    }

    /// Chooses leaders, evenly.
    fn lead(&mut self) {
        let mut led: BTreeMap<NodeId, usize> = self.able.iter().map(|node| (*node, 0)).collect();
        let mut without = Vec::new();
        for (&group, placement) in &self.groups {
            let fit = placement.incarnation(placement.leader).is_some() && self.able.contains(&placement.leader);
            if !fit {
                without.push(group);
            } else if group != SYSTEM {
                *led.entry(placement.leader).or_default() += 1;
            }
        }
        for group in without {
            let leader = self.any_leader(group, &led);
            if group != SYSTEM {
                led.entry(leader).and_modify(|count| *count += 1);
            }
            self.set_leader(group, leader);
        }
        while let Some(path) = shift(&led, &self.hand_overs(&led)) {
            for (group, _, to) in &path {
                self.set_leader(*group, *to);
            }
            carry(&mut led, &path);
        }
    }

    /// Between which nodes leadership can be handed over, and by which group: the one that rested longest.
    fn hand_overs(&self, led: &BTreeMap<NodeId, usize>) -> Edges<u32> {
        let edges = self.groups.range(SYSTEM + 1..).flat_map(|(&group, placement)| {
            let (from, age) = (placement.leader, self.map.groups[&group].revision);
            let others = placement.replicas.iter().map(|replica| replica.node).filter(move |to| *to != from);
            let able = others.filter(move |to| led.contains_key(&from) && led.contains_key(to));
            able.map(move |to| ((from, to), (age, group)))
        });
        first_of_each(edges)
    }

    /// The replica that leads least among the able ones; if there is none, one that stays; else who leads now, or anyone.
    fn any_leader(&self, group: u32, led: &BTreeMap<NodeId, usize>) -> NodeId {
        let placement = &self.groups[&group];
        let rank = |replica: &&Replica| {
            let node = replica.node;
            let unwell = self.known.unwell.contains(&node);
            let staying = self.staying.contains(&node);
            let drained = self.map.state(node) != Some(State::Active);
            (!self.able.contains(&node), unwell, !staying, drained, led.get(&node), node != placement.leader, node)
        };
        placement.replicas.iter().min_by_key(rank).map_or(placement.leader, |replica| replica.node)
    }

    /// The life of a replica that is placed now: no earlier one has it, and the record that places it replaces one of
    /// this revision, which happens once.
    fn incarnation(&self, group: u32) -> u64 {
        if group == SYSTEM { SYSTEM_INCARNATION } else { self.map.groups[&group].revision }
    }

    fn put(&mut self, group: u32, replicas: Vec<Replica>) {
        self.touched.insert(group);
        self.groups.entry(group).and_modify(|placement| placement.replicas = replicas);
    }

    fn set_leader(&mut self, group: u32, leader: NodeId) {
        self.groups.entry(group).and_modify(|placement| placement.leader = leader);
    }

    fn changes(self) -> BTreeMap<u32, Placement> {
        let Self { map, groups, .. } = self;
        groups.into_iter().filter(|(group, placement)| map.groups[group].value != *placement).collect()
    }
}

/// Whether these are the same replicas, in whatever order.
pub(super) fn same(a: &[Replica], b: &[Replica]) -> bool {
    BTreeSet::from_iter(a) == BTreeSet::from_iter(b)
}
