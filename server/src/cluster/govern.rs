//! What the leader of the system group writes into the registry: placements, and that a node is removed.
//!
//! A pure function as well: it says the next change, which is made only if the records are as they were seen.

use std::collections::BTreeSet;

use lethe_proto::NodeId;

use super::map::SYSTEM;
use super::message::Confirmed;
use super::plan::{Known, plan, same};
use super::record::{self, Member, State};
use super::steps::View;
use crate::shard::{Expect, RegistryOp};

/// A change of the registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    pub expect: Vec<Expect>,
    pub ops: Vec<RegistryOp>,
}

impl Change {
    /// Puts a name that has this revision now; none: that does not exist.
    pub fn put<T: serde::Serialize>(&mut self, name: String, revision: Option<u64>, record: &T) {
        let key = bytes::Bytes::from(name);
        self.expect.push(Expect { key: key.clone(), revision });
        self.ops.push(RegistryOp::Put { key, value: record::encode(record) });
    }
}

/// The next change, if this node leads the system group and there is one.
pub(super) fn govern(
    view: &View<'_>,
    unwell: &BTreeSet<NodeId>,
    moves_max: usize,
    repairs_max: usize,
) -> Option<Change> {
    view.here.get(&SYSTEM)?.leads.as_ref()?;
    let settled = settled(view);
    let known = Known { settled: &settled, unwell, moves_max, repairs_max };
    let mut change = Change::default();
    for (group, placement) in plan(view.map, &known) {
        change.put(record::group_name(group), Some(view.map.groups[&group].revision), &placement);
    }
    for node in view.map.nodes(State::Leaving).filter(|node| is_gone(view, *node)) {
        let member = &view.map.members[&node];
        let removed = Member { state: State::Removed, ..member.value.clone() };
        change.put(record::node_name(node), Some(member.revision), &removed);
    }
    (!change.ops.is_empty()).then_some(change)
}

/// Groups whose voters are as the map says.
pub(super) fn settled(view: &View<'_>) -> BTreeSet<u32> {
    let as_placed = |group: &u32| {
        let placed = &view.map.groups[group].value.replicas;
        current(view, *group).any(|confirmed| same(&confirmed.voters, placed))
    };
    view.map.groups.keys().copied().filter(as_placed).collect()
}

/// What was confirmed of a group under its newest placement.
fn current<'a>(view: &View<'a>, group: u32) -> impl Iterator<Item = &'a Confirmed> {
    let revision = view.map.groups[&group].revision;
    view.confirmed(group).filter(move |confirmed| confirmed.revision == revision)
}

/// Whether no group needs the node any more. It still has a replica of the system group, which does not vote.
fn is_gone(view: &View<'_>, node: NodeId) -> bool {
    view.map.groups.iter().all(|(group, record)| {
        let without = |confirmed: &Confirmed| {
            let votes = confirmed.voters.iter().any(|replica| replica.node == node);
            let learns = *group != SYSTEM && confirmed.learners.iter().any(|replica| replica.node == node);
            !votes && !learns
        };
        record.value.incarnation(node).is_none() && current(view, *group).any(without)
    })
}
