//! Maps made by hand, and what is asked of them.

use std::collections::{BTreeMap, BTreeSet};

use lethe_proto::{ClusterId, NodeId};
use serde::Serialize;

use crate::cluster::Announce;
use crate::cluster::map::{Map, Row, SYSTEM};
use crate::cluster::plan::{Known, SYSTEM_INCARNATION, plan, same};
use crate::cluster::record::{self, Charter, Member, Placement, Replica, Runs, State};
use crate::shard::Life;

/// A cluster as its founder makes it: the node 1 alone.
pub fn founded(groups: u32, replication: u32) -> Map {
    let charter =
        Charter { id: ClusterId::default(), groups, replication, created_at_ms: 0, rest: serde_json::Map::new() };
    let founder = NodeId::from(1);
    let alone = Placement::new(vec![Replica { node: founder, incarnation: SYSTEM_INCARNATION }], founder);
    let mut rows = vec![
        row(record::CLUSTER, &charter),
        row(record::SLOT_MAP, &Runs::even(groups)),
        row(&record::node_name(founder), &member()),
    ];
    rows.extend((SYSTEM..=groups).map(|group| row(&record::group_name(group), &alone)));
    Map::read(2, rows).unwrap().unwrap()
}

fn row<T: Serialize>(name: &str, record: &T) -> Row {
    (name.to_owned().into(), 2, record::encode(record))
}

pub fn member() -> Member {
    let [peer, grpc, http] = ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"].map(str::to_owned);
    Member::active(Announce { name: "n".to_owned(), peer, grpc, http }, Life(uuid::Uuid::nil()))
}

/// Sets a node's state, adding it if it is new.
pub fn set(map: &mut Map, node: u64, state: State) {
    map.revision += 1;
    let value = Member { state, ..member() };
    map.members.insert(node.into(), crate::cluster::map::Record { revision: map.revision, value });
}

/// Puts placements into the map as one change of the registry does. Says how many replicas were placed, and how many
/// groups got other replicas.
pub fn apply(map: &mut Map, changes: BTreeMap<u32, Placement>) -> (usize, usize) {
    map.revision += 1;
    let (mut placed, mut groups) = (0, 0);
    for (group, placement) in changes {
        let old = map.groups.get_mut(&group).unwrap();
        placed += placement.replicas.iter().filter(|replica| !old.value.replicas.contains(replica)).count();
        groups += usize::from(!same(&placement.replicas, &old.value.replicas));
        *old = crate::cluster::map::Record { revision: map.revision, value: placement };
    }
    (placed, groups)
}

/// Plans and applies until nothing is left to do, everything being settled each time. Says how many replicas were placed.
pub fn settle(map: &mut Map, unwell: &[u64], moves_max: usize) -> usize {
    let settled: BTreeSet<u32> = map.groups.keys().copied().collect();
    let unwell = unwell.iter().map(|node| NodeId::from(*node)).collect();
    let known = Known { settled: &settled, unwell: &unwell, moves_max, repairs_max: 16 };
    let mut total = 0;
    let rounds = 10 * (map.groups.len() + 10) * map.charter.replication as usize;
    for _ in 0..rounds {
        let changes = plan(map, &known);
        if changes.is_empty() {
            return total;
        }
        total += apply(map, changes).0;
    }
    panic!("the plan does not come to rest within {rounds} rounds");
}

/// Data replicas and leaders of each of these nodes.
pub fn counts(map: &Map, nodes: impl IntoIterator<Item = u64>) -> (Vec<usize>, Vec<usize>) {
    let data = || map.groups.range(SYSTEM + 1..).map(|(_, record)| &record.value);
    let count = |node: u64| {
        let node = NodeId::from(node);
        let replicas = data().filter(|placement| placement.incarnation(node).is_some()).count();
        (replicas, data().filter(|placement| placement.leader == node).count())
    };
    nodes.into_iter().map(count).unzip()
}
