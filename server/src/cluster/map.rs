//! `Map`: the registry's placement at one revision, as a whole and unchanging.
//!
//! Made by `Map::read` from the records; everybody who decides anything decides it on one map.

use std::collections::BTreeMap;

use bytes::Bytes;
use lethe_proto::{ActorId, NodeId};

use super::record::{self, Charter, Member, Placement, Runs, State};

/// The group of the registry itself.
pub const SYSTEM: u32 = 0;

/// The registry's placement at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// The newest revision of the registry that is in it.
    pub revision: u64,
    /// What the cluster is.
    pub charter: Charter,
    /// All nodes that ever were members.
    pub members: BTreeMap<NodeId, Record<Member>>,
    /// Where each group should be; `SYSTEM` and `1..=charter.groups`.
    pub groups: BTreeMap<u32, Record<Placement>>,
    slots: Vec<u32>,
}

/// A value of the registry and the revision at which it was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<T> {
    /// When it was put.
    pub revision: u64,
    /// What was put.
    pub value: T,
}

/// A record of the registry cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is not there.
    #[error("the registry has no record `{0}`")]
    Missing(String),
    /// It is damaged, or of a later version.
    #[error("the registry's record `{name}` cannot be read by this version: {reason}")]
    Record {
        /// Which one.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

/// A name, its revision and its value, as the registry has them.
pub(super) type Row = (Bytes, u64, Bytes);

impl Map {
    /// Reads the records. None if there is no cluster yet. Names that this version does not know are passed over.
    pub(super) fn read(revision: u64, rows: impl IntoIterator<Item = Row>) -> Result<Option<Self>, Unreadable> {
        let (mut charter, mut slots) = (None, None);
        let (mut members, mut groups) = (BTreeMap::new(), BTreeMap::new());
        for (name, put, value) in rows {
            let Ok(name) = std::str::from_utf8(&name) else { continue };
            let unreadable = |reason| Unreadable::Record { name: name.to_owned(), reason };
            if name == record::CLUSTER {
                let known: Charter = record::decode(&value).map_err(unreadable)?;
                if !(1..=record::GROUPS_MAX).contains(&known.groups) {
                    return Err(unreadable(format!("a cluster has no {} data groups", known.groups)));
                }
                charter = Some(known);
            } else if name == record::SLOT_MAP {
                slots = Some(record::decode::<Runs>(&value).map_err(unreadable)?);
            } else if let Some(id) = name.strip_prefix(record::NODE) {
                let id = id.parse().map_err(|error: uuid::Error| unreadable(error.to_string()))?;
                let value = record::decode(&value).map_err(unreadable)?;
                members.insert(NodeId(id), Record { revision: put, value });
            } else if let Some(group) = name.strip_prefix(record::GROUP) {
                let group = group.parse().map_err(|error: std::num::ParseIntError| unreadable(error.to_string()))?;
                let value: Placement = record::decode(&value).map_err(unreadable)?;
                if value.replicas.is_empty() {
                    return Err(unreadable("it has no replicas".to_owned()));
                }
                groups.insert(group, Record { revision: put, value });
            }
        }
        let Some(charter) = charter else { return Ok(None) };
        let missing = |name: &str| Unreadable::Missing(name.to_owned());
        let slots = slots.ok_or_else(|| missing(record::SLOT_MAP))?.slots(charter.groups).ok_or_else(|| {
            Unreadable::Record { name: record::SLOT_MAP.to_owned(), reason: "not every slot has a group".to_owned() }
        })?;
        if let Some(group) = (SYSTEM..=charter.groups).find(|group| !groups.contains_key(group)) {
            return Err(missing(&record::group_name(group)));
        }
        Ok(Some(Self { revision, charter, members, groups, slots }))
    }

    /// The group that holds an actor.
    pub fn group_of(&self, actor: ActorId) -> u32 {
        self.slots[usize::from(u16::from_be_bytes([actor.0[0], actor.0[1]]) >> 4)]
    }

    /// A node's state; none if it never was a member.
    pub fn state(&self, node: NodeId) -> Option<State> {
        self.members.get(&node).map(|member| member.value.state)
    }

    /// Where a group should be.
    pub fn placement(&self, group: u32) -> Option<&Placement> {
        self.groups.get(&group).map(|record| &record.value)
    }

    /// The nodes in this state, in order.
    pub fn nodes(&self, state: State) -> impl Iterator<Item = NodeId> + '_ {
        self.members.iter().filter(move |(_, member)| member.value.state == state).map(|(node, _)| *node)
    }

    /// The nodes that were not removed, in order.
    pub fn present(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.members.iter().filter(|(_, member)| member.value.state != State::Removed).map(|(node, _)| *node)
    }

    /// Replicas that each group should have, as far as there are nodes that stay.
    pub fn replicas_wanted(&self) -> usize {
        let staying = self.nodes(State::Active).count() + self.nodes(State::Draining).count();
        staying.min(self.charter.replication as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_with_too_few_or_too_many_groups_is_unreadable() {
        for groups in [0, 513, u32::MAX] {
            let id = lethe_proto::ClusterId::default();
            let charter = Charter { id, groups, replication: 3, created_at_ms: 0, rest: Default::default() };
            let row = (record::CLUSTER.into(), 2, record::encode(&charter));
            let reason = format!("a cluster has no {groups} data groups");
            assert_eq!(Map::read(2, [row]), Err(Unreadable::Record { name: "cluster".to_owned(), reason }));
        }
    }
}
