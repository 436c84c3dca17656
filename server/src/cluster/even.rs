//! Evening out: things that are on nodes are shifted until no node has two more than another that it could give to.
//!
//! ```text
//! busy ──thing a──> between ──thing b──> idle          `between` has as many as before
//! ```
//!
//! A thing may be unable to go straight from the busiest to the idlest node, so chains are looked for. When there is no
//! chain any more, no other arrangement is more even.

use std::collections::BTreeMap;

use lethe_proto::NodeId;

/// Which thing can be shifted from one node to another; of several the one with the least age.
pub(super) type Edges<T> = BTreeMap<(NodeId, NodeId), (u64, T)>;

/// Things to shift, with where from and where to; each goes to where the next comes from.
pub(super) type Path<T> = Vec<(T, NodeId, NodeId)>;

/// Keeps the least of all things that go the same way.
pub(super) fn first_of_each<T: Ord + Copy>(all: impl Iterator<Item = ((NodeId, NodeId), (u64, T))>) -> Edges<T> {
    let mut edges = Edges::new();
    for (way, thing) in all {
        edges.entry(way).and_modify(|best: &mut (u64, T)| *best = thing.min(*best)).or_insert(thing);
    }
    edges
}

/// The next chain to shift along: from the busiest node that can, to the idlest it reaches.
pub(super) fn shift<T: Copy>(loads: &BTreeMap<NodeId, usize>, edges: &Edges<T>) -> Option<Path<T>> {
    let mut busiest: Vec<_> = loads.iter().map(|(node, load)| (*load, *node)).collect();
    busiest.sort_unstable_by(|a, b| b.cmp(a));
    busiest.into_iter().find_map(|(load, from)| {
        let mut paths = reach(from, edges);
        let idle =
            paths.keys().filter(|node| loads[node] + 2 <= load).min_by_key(|node| (loads[node], **node)).copied();
        idle.and_then(|node| paths.remove(&node))
    })
}

/// Counts a shift: only the ends have one less and one more.
pub(super) fn carry<T>(loads: &mut BTreeMap<NodeId, usize>, path: &Path<T>) {
    for (_, from, to) in path {
        loads.entry(*from).and_modify(|load| *load -= 1);
        loads.entry(*to).and_modify(|load| *load += 1);
    }
}

/// Shortest chains from a node to every node that can be reached.
fn reach<T: Copy>(from: NodeId, edges: &Edges<T>) -> BTreeMap<NodeId, Path<T>> {
    let mut paths = BTreeMap::from([(from, Vec::new())]);
    let mut front = vec![from];
    while !front.is_empty() {
        let mut next = Vec::new();
        for node in front {
            let leaving = edges.range((node, NodeId::default())..).take_while(|((at, _), _)| *at == node);
            for (&(_, to), &(_, thing)) in leaving {
                if !paths.contains_key(&to) {
                    let mut path = paths[&node].clone();
                    path.push((thing, node, to));
                    paths.insert(to, path);
                    next.push(to);
                }
            }
        }
        front = next;
    }
    paths.remove(&from);
    paths
}
