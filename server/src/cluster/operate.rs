//! What operators can ask for: changes of one record of the registry each.

use std::sync::Arc;
use std::time::Instant;

use lethe_proto::NodeId;

use super::config::ms;
use super::error::{Error, WriteError};
use super::govern::Change;
use super::handle::{Cluster, Inner};
use super::map::Map;
use super::record::{self, Member, Placement, State};

/// How often waiting looks again, in milliseconds.
const POLL_MS: u64 = 20;
/// Times that a change is tried again because something else changed the same record first.
const TRIES_MAX: usize = 10;

impl Cluster {
    /// Lets a node lead nothing where another can. It keeps its replicas.
    pub async fn drain(&self, node: NodeId) -> Result<(), Error> {
        self.set_state(node, State::Draining).await
    }

    /// Undoes a drain, or a removal that has not ended.
    pub async fn undrain(&self, node: NodeId) -> Result<(), Error> {
        self.set_state(node, State::Active).await
    }

    /// Takes a node out for good, be it alive or dead: its replicas move to others, then nobody listens to it any more.
    /// Returns when that is decided.
    pub async fn remove(&self, node: NodeId) -> Result<(), Error> {
        self.set_state(node, State::Leaving).await
    }

    async fn set_state(&self, node: NodeId, state: State) -> Result<(), Error> {
        let next = |map: &Map| {
            let member = map.members.get(&node).ok_or(Error::NoSuchNode(node))?;
            let mut change = Change::default();
            if member.value.state == State::Removed {
                return Err(Error::NotNow(format!("node {node} was removed for good")));
            }
            if member.value.state == state {
                return Ok(change);
            }
            if state != State::Active && !map.nodes(State::Active).any(|other| other != node) {
                return Err(Error::NotNow("no other node is active: nobody could take its place".to_owned()));
            }
            change.put(record::node_name(node), Some(member.revision), &Member { state, ..member.value.clone() });
            Ok(change)
        };
        self.inner.change(format!("node {node}"), next).await
    }

    /// Hands the leadership of a group to a node that has a replica of it, and prefers that node from now on. Returns when
    /// it leads.
    pub async fn transfer(&self, group: u32, node: NodeId) -> Result<(), Error> {
        self.prefer(group, node).await?;
        let deadline = Instant::now() + ms(self.inner.config.recovered_ms + self.inner.config.write_ms);
        while self.home_of(group).leader != Some(node) {
            if Instant::now() > deadline {
                return Err(Error::Unknown(format!("node {node} is to lead group {group}, but does not do so yet")));
            }
            tokio::time::sleep(ms(POLL_MS)).await;
        }
        Ok(())
    }

    async fn prefer(&self, group: u32, node: NodeId) -> Result<(), Error> {
        let next = |map: &Map| {
            let placed = map.groups.get(&group).ok_or(Error::NoSuchGroup(group))?;
            let mut change = Change::default();
            if map.state(node).ok_or(Error::NoSuchNode(node))? != State::Active {
                return Err(Error::NotNow(format!("node {node} is not active")));
            }
            if placed.value.incarnation(node).is_none() {
                return Err(Error::NotNow(format!("node {node} has no replica of group {group}")));
            }
            if placed.value.leader != node {
                let placement = Placement { leader: node, ..placed.value.clone() };
                change.put(record::group_name(group), Some(placed.revision), &placement);
            }
            Ok(change)
        };
        self.inner.change(format!("group {group}"), next).await
    }
}

impl Inner {
    /// Makes the change that `next` finds due in the newest map, if any, and waits until this node shows it. When
    /// something else changes the record of `whose` first, it looks again.
    async fn change(&self, whose: String, next: impl Fn(&Map) -> Result<Change, Error>) -> Result<(), Error> {
        for _ in 0..TRIES_MAX {
            let map = self.fresh_map().await?;
            let Change { expect, ops } = next(&map)?;
            if ops.is_empty() {
                return Ok(());
            }
            match self.registry.write(expect, ops).await {
                Ok(revision) => {
                    self.followed(revision).await;
                    return Ok(());
                }
                Err(WriteError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::NotNow(format!("the record of {whose} changes too fast")))
    }

    /// A map that has everything that was written before the call.
    async fn fresh_map(&self) -> Result<Arc<Map>, Error> {
        let deadline = Instant::now() + ms(self.config.write_ms);
        let newest = self.registry.confirm(deadline).await?;
        let map = self.map_at(newest, deadline).await?;
        map.ok_or_else(|| Error::NotNow("this node does not follow the registry".to_owned()))
    }

    /// Waits until this node shows what was just written, so that whoever wrote it sees it here. It is written in any case.
    async fn followed(&self, revision: u64) {
        let deadline = Instant::now() + ms(self.config.write_ms);
        // A node that stops meanwhile shows nothing any more.
        let _ = self.map_at(revision, deadline).await;
    }

    /// The map once it has reached a revision; none if it does not until then.
    pub async fn map_at(&self, revision: u64, deadline: Instant) -> Result<Option<Arc<Map>>, Error> {
        let mut maps = self.map.subscribe();
        let seen = maps.wait_for(|map| map.as_ref().is_some_and(|map| map.revision >= revision));
        match tokio::time::timeout_at(deadline.into(), seen).await {
            Ok(Ok(map)) => Ok(map.clone()),
            Ok(Err(_)) => Err(Error::Stopped),
            Err(_) => Ok(None),
        }
    }
}
