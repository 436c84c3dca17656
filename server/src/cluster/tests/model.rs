//! The decisions under faults: nodes that know different things, leaders that were deposed, steps that break off.
//!
//! A model of the cluster whose truth is simple: who is a member of each group, who leads it, which replicas exist. Nodes
//! see old maps and old reports, decide with the real functions, and their steps happen, or not, or halfway. After every
//! step what must never happen is checked; when the faults end, everything must come to where the map says.

use std::collections::{BTreeMap, BTreeSet};

use lethe_proto::NodeId;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, IteratorRandom};
use rand::{RngExt, SeedableRng};

use super::world::{founded, set};
use crate::cluster::govern::{govern, settled};
use crate::cluster::map::{Map, SYSTEM};
use crate::cluster::message::{Confirmed, GroupReport, Lead, Report};
use crate::cluster::plan::SYSTEM_INCARNATION;
use crate::cluster::record::{self, Replica, State};
use crate::cluster::steps::{Here, Leads, Step, View, replicas, steps};
use crate::shard::{Members, RegistryOp};

const GROUPS: u32 = 6;
const NODES: u64 = 6;

/// What is so.
struct Truth {
    members: Members,
    leader: NodeId,
    term: u64,
}

/// What a node believes of a group it leads, or led.
#[derive(Clone)]
struct Belief {
    term: u64,
    members: Members,
    confirmed: Option<Confirmed>,
}

struct Model {
    rng: StdRng,
    map: Map,
    groups: BTreeMap<u32, Truth>,
    /// Replicas that exist: (node, group) -> incarnation.
    replicas: BTreeMap<(NodeId, u32), u64>,
    /// Those that lack entries, and those that lack data keys.
    behind: BTreeSet<(NodeId, u32)>,
    keyless: BTreeSet<(NodeId, u32)>,
    /// The newest incarnation that was removed.
    removed: BTreeMap<(NodeId, u32), u64>,
    maps: BTreeMap<NodeId, Map>,
    beliefs: BTreeMap<(NodeId, u32), Belief>,
    /// What a node last heard of another.
    heard: BTreeMap<NodeId, BTreeMap<NodeId, Report>>,
    /// Nodes that take no requests.
    stale: BTreeSet<NodeId>,
    faults: bool,
}

impl Model {
    fn new(seed: u64) -> Self {
        let map = founded(GROUPS, 3);
        let founder = NodeId::from(1);
        let members = Members { voters: BTreeMap::from([(founder, 1)]), ..Members::default() };
        let truth = || Truth { members: members.clone(), leader: founder, term: 1 };
        let mut model = Self {
            rng: StdRng::seed_from_u64(seed),
            groups: (SYSTEM..=GROUPS).map(|group| (group, truth())).collect(),
            replicas: (SYSTEM..=GROUPS).map(|group| ((founder, group), 1)).collect(),
            behind: BTreeSet::new(),
            keyless: BTreeSet::new(),
            removed: BTreeMap::new(),
            maps: BTreeMap::from([(founder, map.clone())]),
            beliefs: BTreeMap::new(),
            heard: BTreeMap::new(),
            stale: BTreeSet::new(),
            faults: true,
            map,
        };
        (SYSTEM..=GROUPS).for_each(|group| model.learn_leadership(founder, group));
        model
    }

    fn nodes(&self) -> Vec<NodeId> {
        self.map.present().collect()
    }

    /// A node finds out whether it leads.
    fn learn_leadership(&mut self, node: NodeId, group: u32) {
        let truth = &self.groups[&group];
        if truth.leader != node || !self.replicas.contains_key(&(node, group)) {
            self.beliefs.remove(&(node, group));
            return;
        }
        let (term, members) = (truth.term, truth.members.clone());
        let fresh = Belief { term, members: members.clone(), confirmed: None };
        let belief = self.beliefs.entry((node, group)).or_insert_with(|| fresh.clone());
        if belief.term == term { belief.members = members } else { *belief = fresh }
    }

    fn here(&self, node: NodeId) -> BTreeMap<u32, Here> {
        let own = self.replicas.range((node, 0)..=(node, u32::MAX));
        let see = |(&(_, group), &incarnation): (&(NodeId, u32), &u64)| {
            let leads = self.beliefs.get(&(node, group)).map(|belief| {
                let has = |(member, life): (&NodeId, &u64)| self.replicas.get(&(*member, group)) == Some(life);
                let members = belief.members.voters.iter().chain(&belief.members.learners);
                let matched = |node: NodeId| if self.behind.contains(&(node, group)) { 8 } else { 9 };
                let progress = members.map(|member| (*member.0, has(member).then(|| matched(*member.0)))).collect();
                Leads { last: Some(9), progress, confirmed: belief.confirmed.clone() }
            });
            let believed = self.beliefs.get(&(node, group)).map(|belief| &belief.members);
            let members = believed.unwrap_or(&self.groups[&group].members).clone();
            (group, Here { incarnation, members, leads })
        };
        own.map(see).collect()
    }

    fn report(&self, node: NodeId) -> Report {
        let groups = self.here(node).into_iter().map(|(group, here)| {
            let lead = here.leads.map(|leads| Lead {
                term: self.beliefs[&(node, group)].term,
                last: leads.last,
                confirmed: leads.confirmed,
                progress: Vec::new(),
            });
            let (incarnation, missing_keys) = (here.incarnation, u32::from(self.keyless.contains(&(node, group))));
            GroupReport { group, incarnation, applied: Some(9), digest: [0; 16], missing_keys, lead }
        });
        Report { groups: groups.collect(), fresh: !self.stale.contains(&node), ..Report::default() }
    }

    /// Runs something on what a node sees. Everybody is reachable: who is not simply does nothing for a while.
    fn with_view<T>(&self, node: NodeId, work: impl FnOnce(&View<'_>) -> T) -> T {
        let (here, none) = (self.here(node), BTreeMap::new());
        let reports = self.heard.get(&node).unwrap_or(&none);
        let others: BTreeSet<NodeId> = self.map.present().filter(|other| *other != node).collect();
        let map = &self.maps[&node];
        let (reachable, well, fresh) = (&others, &others, &others);
        let (stale, stopping, log_full) = (self.stale.contains(&node), false, false);
        let view =
            View { me: node, map, here: &here, reports, reachable, well, fresh, lag_max: 0, stale, stopping, log_full };
        work(&view)
    }

    /// A node looks and acts.
    fn act(&mut self, node: NodeId) -> bool {
        if !self.maps.contains_key(&node) {
            return false;
        }
        let steps = self.with_view(node, steps);
        let mut acted = !steps.is_empty();
        for step in steps {
            if !self.faults || self.rng.random_bool(0.7) {
                self.take(node, step);
                self.check();
            }
        }
        let change = self.with_view(node, |view| govern(view, &BTreeSet::new(), 2, 16));
        if let Some(change) = change
            && self.groups[&SYSTEM].leader == node
            && (!self.faults || self.rng.random_bool(0.7))
        {
            acted = true;
            self.write(change.expect.iter().map(|expect| (expect.key.clone(), expect.revision)).collect(), change.ops);
        }
        acted
    }

    fn write(&mut self, expect: Vec<(bytes::Bytes, Option<u64>)>, ops: Vec<RegistryOp>) {
        let text = |key: &bytes::Bytes| String::from_utf8(key.to_vec()).unwrap();
        for (key, revision) in expect {
            let found = match text(&key).split_once('/').unwrap() {
                ("group", group) => self.map.groups[&group.parse::<u32>().unwrap()].revision,
                (_, node) => self.map.members[&NodeId(node.parse().unwrap())].revision,
            };
            if Some(found) != revision {
                return;
            }
        }
        self.map.revision += 1;
        let revision = self.map.revision;
        for op in ops {
            let RegistryOp::Put { key, value } = op else { panic!("nothing is deleted") };
            match text(&key).split_once('/').unwrap() {
                ("group", group) => {
                    let record = self.map.groups.get_mut(&group.parse().unwrap()).unwrap();
                    (record.revision, record.value) = (revision, record::decode(&value).unwrap());
                }
                (_, node) => {
                    let node = NodeId(node.parse().unwrap());
                    let record = self.map.members.get_mut(&node).unwrap();
                    (record.revision, record.value) = (revision, record::decode(&value).unwrap());
                    assert_eq!(record.value.state, State::Removed);
                    self.replicas.retain(|(at, group), _| *at != node || *group == SYSTEM);
                }
            }
        }
    }

    /// What a step does, if the one who takes it can.
    fn take(&mut self, node: NodeId, step: Step) {
        let group = step.group();
        match &step {
            Step::Create { incarnation, .. } => {
                let newer = self.removed.get(&(node, group)).is_none_or(|old| old < incarnation);
                if newer && !self.replicas.contains_key(&(node, group)) {
                    self.create(node, group, *incarnation);
                }
                return;
            }
            Step::Remove { .. } => {
                let life = self.replicas.remove(&(node, group)).unwrap();
                let member = self.groups[&group].members.incarnation(node);
                assert_ne!(member, Some(life), "group {group}: {node} removed a replica that is a member");
                self.removed.insert((node, group), life);
                self.beliefs.remove(&(node, group));
                return;
            }
            Step::Confirm { .. }
            | Step::AddLearner { .. }
            | Step::ChangeVoters { .. }
            | Step::RemoveLearner { .. }
            | Step::Transfer { .. } => {}
        }
        let truth = self.groups.get_mut(&group).unwrap();
        if truth.leader != node || self.beliefs.get(&(node, group)).is_none_or(|belief| belief.term != truth.term) {
            // Nobody follows a leader that was deposed.
            return;
        }
        let broken = self.faults && self.rng.random_bool(0.1);
        match step {
            Step::Confirm { .. } => {
                let newest = self.map.groups[&group].revision;
                self.maps.insert(node, self.map.clone());
                let (voters, learners) = (replicas(&truth.members.voters), replicas(&truth.members.learners));
                let confirmed = Confirmed { revision: newest, voters, learners };
                self.beliefs.get_mut(&(node, group)).unwrap().confirmed = Some(confirmed);
            }
            Step::AddLearner { replica: Replica { node, incarnation }, .. } => {
                if truth.members.incarnation(node).is_none() {
                    truth.members.learners.insert(node, incarnation);
                }
            }
            Step::RemoveLearner { node, .. } => drop(truth.members.learners.remove(&node)),
            Step::ChangeVoters { voters, keep, .. } => {
                for new in voters.iter().filter(|voter| !truth.members.voters.contains_key(voter)) {
                    let lacks = [&self.behind, &self.keyless].map(|lacking| lacking.contains(&(*new, group)));
                    assert_eq!(lacks, [false, false], "group {group}: {new} votes and lacks entries or keys");
                }
                change(&mut truth.members, &voters, keep, broken);
            }
            Step::Transfer { to, .. } => {
                assert!(truth.members.voters.contains_key(&to));
                (truth.leader, truth.term) = (to, truth.term + 1);
            }
            Step::Create { .. } | Step::Remove { .. } => {}
        }
        if !self.groups[&group].members.voters.contains_key(&node) {
            self.elect(group);
        }
        if !self.faults || self.rng.random_bool(0.5) {
            self.learn_leadership(node, group);
        }
    }

    /// A new replica has nothing yet, or was quick.
    fn create(&mut self, node: NodeId, group: u32, incarnation: u64) {
        self.replicas.insert((node, group), incarnation);
        for lacking in [&mut self.behind, &mut self.keyless] {
            if self.faults && self.rng.random_bool(0.7) {
                lacking.insert((node, group));
            } else {
                lacking.remove(&(node, group));
            }
        }
    }

    /// Some voter that has its replica leads from now on.
    fn elect(&mut self, group: u32) {
        let truth = self.groups.get_mut(&group).unwrap();
        let able = truth.members.voters.iter().filter(|(node, life)| self.replicas.get(&(**node, group)) == Some(life));
        let leader = *able.choose(&mut self.rng).expect("a voter has its replica").0;
        (truth.leader, truth.term) = (leader, truth.term + 1);
    }

    /// No group has lost what it acknowledged: a majority of its voters have their replicas.
    fn check(&self) {
        for (group, truth) in &self.groups {
            let has = |(node, life): &(&NodeId, &u64)| self.replicas.get(&(**node, *group)) == Some(*life);
            let alive = truth.members.voters.iter().filter(has).count();
            assert!(2 * alive > truth.members.voters.len(), "group {group}: {:?}", truth.members);
        }
    }

    fn hear(&mut self, node: NodeId, from: NodeId) {
        let report = self.report(from);
        self.heard.entry(node).or_default().insert(from, report);
    }

    fn fault(&mut self) {
        let nodes = self.nodes();
        let pick = |rng: &mut StdRng| *nodes.choose(rng).unwrap();
        let (node, other) = (pick(&mut self.rng), pick(&mut self.rng));
        let group = self.rng.random_range(SYSTEM..=GROUPS);
        match self.rng.random_range(0..17) {
            0..4 => drop(self.act(node)),
            4..7 => self.hear(node, other),
            7 => drop(self.maps.insert(node, self.map.clone())),
            8 => self.learn_leadership(node, group),
            9 => self.elect(group),
            10 => self.beliefs.retain(|(at, _), _| *at != node),
            11 if !self.stale.remove(&node) => drop(self.stale.insert(node)),
            11 => {}
            12 => self.operate(node),
            13..15 => self.behind.retain(|(at, _)| *at != node),
            _ => self.keyless.retain(|(at, _)| *at != node),
        }
        self.replicas.entry((node, SYSTEM)).or_insert(SYSTEM_INCARNATION);
    }

    /// An operator adds a node, drains one, takes one out, or takes that back.
    fn operate(&mut self, node: NodeId) {
        let fresh = (1..=NODES).map(NodeId::from).find(|node| self.map.state(*node).is_none());
        let state = match (self.rng.random_range(0..4), fresh) {
            (0, Some(fresh)) => return set(&mut self.map, fresh.0.as_u128() as u64, State::Active),
            (0 | 1, _) => State::Active,
            (2, _) => State::Draining,
            _ => State::Leaving,
        };
        if state == State::Active || self.map.nodes(State::Active).any(|other| other != node) {
            set(&mut self.map, node.0.as_u128() as u64, state);
        }
    }

    /// Without faults: everybody hears everything and acts, until nobody has anything to do.
    fn rest(&mut self) {
        self.faults = false;
        self.stale.clear();
        self.behind.clear();
        self.keyless.clear();
        for _ in 0..600 {
            let mut acted = false;
            for node in self.nodes() {
                self.maps.insert(node, self.map.clone());
                self.replicas.entry((node, SYSTEM)).or_insert(SYSTEM_INCARNATION);
                (SYSTEM..=GROUPS).for_each(|group| self.learn_leadership(node, group));
                self.nodes().into_iter().filter(|other| *other != node).for_each(|other| self.hear(node, other));
                acted |= self.act(node);
            }
            if !acted {
                return;
            }
        }
        panic!("it does not come to rest");
    }
}

/// A change of voters, as Raft makes it; broken off it stays joint.
fn change(members: &mut Members, voters: &BTreeSet<NodeId>, keep: bool, broken: bool) {
    let all: BTreeMap<NodeId, u64> =
        members.voters.iter().chain(&members.learners).map(|(node, life)| (*node, *life)).collect();
    let new: BTreeMap<NodeId, u64> = voters.iter().map(|node| (*node, all[node])).collect();
    assert!(!new.is_empty());
    if broken && !members.joint {
        members.voters.extend(new);
        members.learners.retain(|node, _| !voters.contains(node));
        members.joint = true;
        return;
    }
    let old = std::mem::replace(&mut members.voters, new);
    members.learners.retain(|node, _| !voters.contains(node));
    if keep {
        members.learners.extend(old.into_iter().filter(|(node, _)| !voters.contains(node)));
    }
    members.joint = false;
}

#[test]
fn whatever_breaks_off_no_needed_replica_is_removed_and_all_ends_where_the_map_says() {
    for seed in 0..100 {
        println!("seed {seed}");
        let mut model = Model::new(seed);
        for _ in 0..600 {
            model.fault();
            model.check();
        }
        let drained: Vec<NodeId> = model.map.nodes(State::Draining).collect();
        drained.into_iter().for_each(|node| set(&mut model.map, node.0.as_u128() as u64, State::Active));
        model.rest();

        let leader = model.groups[&SYSTEM].leader;
        assert_eq!(model.with_view(leader, settled), model.map.groups.keys().copied().collect());
        assert_eq!(model.map.nodes(State::Leaving).count(), 0, "who leaves is removed in the end");
        for (group, truth) in &model.groups {
            let placed = &model.map.groups[group].value;
            let wanted: BTreeMap<NodeId, u64> = placed.replicas.iter().map(|r| (r.node, r.incarnation)).collect();
            assert_eq!((&truth.members.voters, truth.leader), (&wanted, placed.leader), "group {group}");
            if *group != SYSTEM {
                let there = model.replicas.iter().filter(|((_, at), _)| at == group);
                assert_eq!(there.map(|((node, _), life)| (*node, *life)).collect::<BTreeMap<_, _>>(), wanted);
                assert_eq!(truth.members.learners, BTreeMap::new(), "group {group}");
            }
        }
    }
}
