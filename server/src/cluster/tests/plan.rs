//! The plan: even, stable, no more moves than needed, never too few replicas.

use std::collections::BTreeSet;

use lethe_proto::NodeId;
use proptest::prelude::*;

use super::world::{apply, counts, founded, set, settle};
use crate::cluster::map::{Map, SYSTEM};
use crate::cluster::plan::{Known, plan, same};
use crate::cluster::record::State;

const MOVES: usize = 2;

fn cluster(nodes: u64, groups: u32, replication: u32) -> Map {
    let mut map = founded(groups, replication);
    for node in 2..=nodes {
        set(&mut map, node, State::Active);
    }
    settle(&mut map, &[], MOVES);
    map
}

fn spread(counts: &[usize]) -> usize {
    counts.iter().max().unwrap() - counts.iter().min().unwrap()
}

/// Even to one replica and one leader, all groups whole, leaders among replicas.
fn check(map: &Map, active: &[u64]) {
    let wanted = (map.charter.replication as usize).min(active.len());
    let active_ids: BTreeSet<NodeId> = active.iter().map(|node| NodeId::from(*node)).collect();
    for (group, record) in &map.groups {
        let nodes: BTreeSet<_> = record.value.replicas.iter().map(|replica| replica.node).collect();
        assert_eq!(nodes.len(), record.value.replicas.len(), "group {group} is twice on a node");
        assert_eq!(nodes.len(), wanted, "group {group}");
        assert!(nodes.is_subset(&active_ids), "group {group} is on {nodes:?}");
        assert!(nodes.contains(&record.value.leader), "group {group} is led from outside");
    }
    let (replicas, leaders) = counts(map, active.iter().copied());
    assert!(spread(&replicas) <= 1, "replicas {replicas:?}");
    assert!(spread(&leaders) <= 1, "leaders {leaders:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_cluster_of_any_size_is_even_and_the_plan_of_its_own_output_is_empty(
        nodes in 3_u64..=7, groups in 16_u32..=128, replication in prop::sample::select(vec![1_u32, 3, 5]),
    ) {
        let map = cluster(nodes, groups, replication);
        check(&map, &(1..=nodes).collect::<Vec<_>>());
    }

    #[test]
    fn a_new_node_gets_its_share_and_nothing_else_moves(
        nodes in 3_u64..=6, groups in 16_u32..=128, replication in prop::sample::select(vec![1_u32, 3]),
    ) {
        let mut map = cluster(nodes, groups, replication);
        set(&mut map, nodes + 1, State::Active);
        let placed = settle(&mut map, &[], MOVES);
        let all: Vec<_> = (1..=nodes + 1).collect();
        check(&map, &all);
        let share = counts(&map, [nodes + 1]).0[0];
        // The system group gets one more voter when there were too few nodes for its replication; here there never are.
        prop_assert_eq!(placed, share);
    }

    #[test]
    fn a_node_that_leaves_loses_everything_and_few_others_move(
        nodes in 4_u64..=7, groups in 16_u32..=128, replication in prop::sample::select(vec![1_u32, 3]), pick in 0_u64..7,
    ) {
        let mut map = cluster(nodes, groups, replication);
        let gone = 1 + pick % nodes;
        let lost = counts(&map, [gone]).0[0] + usize::from(map.groups[&SYSTEM].value.incarnation(gone.into()).is_some());
        set(&mut map, gone, State::Leaving);
        let placed = settle(&mut map, &[], MOVES);
        check(&map, &(1..=nodes).filter(|node| *node != gone).collect::<Vec<_>>());
        prop_assert!(placed <= lost + 2 + groups as usize / 8, "{} placed, {} lost", placed, lost);
    }

    #[test]
    fn any_history_of_nodes_ends_even_and_never_has_too_few_replicas(
        groups in 16_u32..=64, replication in prop::sample::select(vec![1_u32, 3, 5]),
        steps in prop::collection::vec((1_u64..=7, 0_u8..4), 1..8),
    ) {
        let mut map = cluster(3, groups, replication);
        for (node, what) in steps {
            let known = map.state(node.into());
            let staying = map.nodes(State::Active).count() + map.nodes(State::Draining).count();
            match (what, known) {
                (_, Some(State::Removed)) => continue,
                (0 | 1, _) => set(&mut map, node, State::Active),
                (2, Some(_)) => set(&mut map, node, State::Draining),
                (_, Some(_)) if staying > 1 => set(&mut map, node, State::Leaving),
                _ => continue,
            }
            if map.nodes(State::Active).count() == 0 {
                set(&mut map, node, State::Active);
            }
            settle(&mut map, &[], MOVES);
            let active = map.nodes(State::Active).count();
            let staying = active + map.nodes(State::Draining).count();
            let replication = replication as usize;
            for record in map.groups.values() {
                // Nodes that drain keep what they have, but get nothing.
                let allowed = active.min(replication)..=staying.min(replication);
                prop_assert!(allowed.contains(&record.value.replicas.len()), "{:?}", record);
            }
        }
        let back: Vec<u64> = (1..=7).filter(|node| map.state((*node).into()).is_some()).collect();
        for node in &back {
            set(&mut map, *node, State::Active);
        }
        settle(&mut map, &[], MOVES);
        check(&map, &back);
    }
}

#[test]
fn six_nodes_with_three_replicas_hold_half_of_the_groups_each() {
    for groups in [64, 512] {
        let map = cluster(6, groups, 3);
        let (replicas, leaders) = counts(&map, 1..=6);
        assert_eq!(replicas, [groups as usize / 2; 6]);
        assert!(spread(&leaders) <= 1, "{leaders:?}");
    }
}

#[test]
fn only_so_many_groups_move_at_a_time() {
    let mut map = cluster(3, 64, 3);
    set(&mut map, 4, State::Active);
    let mut settled: BTreeSet<u32> = map.groups.keys().copied().collect();
    let ask = |map: &Map, settled: &BTreeSet<u32>| {
        plan(map, &Known { settled, unwell: &BTreeSet::new(), moves_max: MOVES, repairs_max: 16 })
    };
    let first = ask(&map, &settled);
    let moved = |group: &u32| !same(&first[group].replicas, &map.groups[group].value.replicas);
    let moving: Vec<u32> = first.keys().copied().filter(moved).collect();
    assert_eq!(apply(&mut map, first).1, MOVES);

    moving.iter().for_each(|group| assert!(settled.remove(group)));
    let second = ask(&map, &settled);
    assert_eq!(apply(&mut map, second).1, 0, "moved more while two were under way");
    settled.insert(moving[0]);
    let third = ask(&map, &settled);
    assert_eq!(apply(&mut map, third).1, 1);
}

#[test]
fn a_draining_node_leads_nothing_and_keeps_its_replicas() {
    let mut map = cluster(4, 64, 3);
    let before = counts(&map, 1..=4).0;
    set(&mut map, 2, State::Draining);
    assert_eq!(settle(&mut map, &[], MOVES), 0);
    let (replicas, leaders) = counts(&map, 1..=4);
    assert_eq!((replicas, leaders[1]), (before, 0));
    assert!(spread(&[leaders[0], leaders[2], leaders[3]]) <= 1, "{leaders:?}");

    set(&mut map, 2, State::Active);
    assert_eq!(settle(&mut map, &[], MOVES), 0);
    check(&map, &[1, 2, 3, 4]);
}

#[test]
fn a_silent_node_keeps_its_replicas_but_others_are_to_lead() {
    let mut map = cluster(4, 64, 3);
    let before = counts(&map, 1..=4).0;
    assert_eq!(settle(&mut map, &[3], MOVES), 0);
    let (replicas, leaders) = counts(&map, 1..=4);
    assert_eq!((replicas, leaders[2]), (before, 0));
}

#[test]
fn a_replica_on_a_node_that_leaves_stays_until_a_node_that_is_well_can_take_it() {
    let mut map = cluster(4, 16, 3);
    set(&mut map, 1, State::Leaving);
    // All that is left to take replicas is silent: with it three stay, so three are wanted, and none may be given up.
    let without: Vec<u32> = (0..=16).filter(|group| map.groups[group].value.incarnation(4.into()).is_none()).collect();
    settle(&mut map, &[4], MOVES);
    for group in without {
        assert!(map.groups[&group].value.incarnation(1.into()).is_some(), "group {group} lost a replica");
    }
    settle(&mut map, &[], MOVES);
    check(&map, &[2, 3, 4]);
}

#[test]
fn a_new_life_has_a_number_that_no_earlier_life_had() {
    let mut map = cluster(4, 16, 3);
    let mut seen: BTreeSet<(u32, NodeId, u64)> = BTreeSet::new();
    for round in 0..12_u64 {
        let all = map.groups.range(SYSTEM + 1..).flat_map(|(group, record)| {
            record.value.replicas.iter().map(|replica| (*group, replica.node, replica.incarnation))
        });
        let now: BTreeSet<_> = all.collect();
        for (group, node, incarnation) in now.difference(&seen) {
            let newer = seen.iter().all(|(g, n, i)| (g, n) != (group, node) || i < incarnation);
            assert!(newer, "group {group} on {node} lives again as {incarnation}");
        }
        seen.extend(now);
        set(&mut map, 1 + round % 4, if round % 8 < 4 { State::Leaving } else { State::Active });
        if map.nodes(State::Active).count() == 0 {
            set(&mut map, 1 + round % 4, State::Active);
        }
        settle(&mut map, &[], MOVES);
    }
}
