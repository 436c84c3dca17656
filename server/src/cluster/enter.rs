//! Entering the cluster: the founder makes it, every other node asks to be a member, and both say where they listen.
//!
//! Everything here can be done again: a node that crashes in between begins anew and finds what it did.

use std::sync::Arc;
use std::time::Instant;

use lethe_proto::NodeId;

use super::config::{Begin, Config, ms};
use super::error::{Error, WriteError};
use super::govern::Change;
use super::handle::Inner;
use super::map::{Map, Record, SYSTEM};
use super::message::{Join, Joined, decode, encode};
use super::plan::SYSTEM_INCARNATION;
use super::record::{self, Charter, Member, Placement, Replica, Runs, State};
use super::registry::Registry;
use super::steps::FOUNDING;
use crate::clock;
use crate::peer::{self, Refusal, Topic};
use crate::shard;

/// Pause between two tries to enter, in milliseconds.
const AGAIN_MS: u64 = 200;

/// Tries until this node is a member and the registry says where it listens.
pub(super) async fn run(inner: Arc<Inner>) {
    let mut said = String::new();
    loop {
        let entered = match &inner.begin {
            Begin::Found { replication } => found(&inner, *replication).await,
            Begin::Join { addresses } => join(&inner, addresses).await,
        };
        match entered {
            Ok(true) => return,
            Ok(false) => {}
            Err(Error::Unwelcome(reason)) => return inner.unwelcome(reason),
            Err(error) => {
                let text = error.to_string();
                if text != said {
                    tracing::warn!(reason = text, "this node cannot enter the cluster yet");
                    said = text;
                }
            }
        }
        tokio::time::sleep(ms(AGAIN_MS)).await;
    }
}

/// Makes the cluster if it is not made yet. Says whether the registry knows where this node listens.
async fn found(inner: &Inner, replication: u32) -> Result<bool, Error> {
    let known = match inner.shards.group(SYSTEM) {
        Some(_) => inner.registry.map().await?,
        None => None,
    };
    if let Some(map) = known {
        return announce(inner, &map).await;
    }
    // Also where the replica is there: a crash may have left one that nobody leads.
    inner.shards.create(SYSTEM, SYSTEM_INCARNATION, shard::Begin::Lead).await?;
    let (me, mut change) = (inner.me, Change::default());
    let charter = Charter {
        id: inner.shards.cluster(),
        groups: inner.shards.groups(),
        replication,
        created_at_ms: clock::now_ms(),
        rest: Default::default(),
    };
    change.put(record::CLUSTER.to_owned(), None, &charter);
    change.put(record::SLOT_MAP.to_owned(), None, &Runs::even(charter.groups));
    change.put(record::node_name(me), None, &inner.join().member());
    for group in SYSTEM..=charter.groups {
        let incarnation = if group == SYSTEM { SYSTEM_INCARNATION } else { FOUNDING };
        let alone = Placement::new(vec![Replica { node: me, incarnation }], me);
        change.put(record::group_name(group), None, &alone);
    }
    inner.registry.write(change.expect, change.ops).await?;
    Ok(false)
}

/// Asks to be a member. Says whether the registry knows where this node listens.
async fn join(inner: &Inner, addresses: &[String]) -> Result<bool, Error> {
    // A node that was a member before may find everything in its own replica of the registry.
    if let Some(map) = inner.now().filter(|map| map.state(inner.me).is_some())
        && let Ok(true) = announce(inner, &map).await
    {
        return Ok(true);
    }
    let mut reasons = Vec::new();
    for address in addresses.iter().filter(|address| **address != inner.announce.peer) {
        match ask(inner, address).await {
            Ok(members) => {
                for (node, address) in members.into_iter().filter(|(node, _)| *node != inner.me) {
                    inner.addresses.learn(node, &address);
                }
                if inner.shards.group(SYSTEM).is_none() {
                    inner.shards.create(SYSTEM, SYSTEM_INCARNATION, shard::Begin::Join).await?;
                }
                return Ok(inner.is_known());
            }
            Err(Error::Unwelcome(reason)) => return Err(Error::Unwelcome(reason)),
            Err(error) => reasons.push(error.to_string()),
        }
    }
    if reasons.is_empty() {
        reasons.push("there is no address of another node to join at".to_owned());
    }
    Err(Error::NotNow(reasons.join("; ")))
}

/// Asks the node at an address. Says who the members are and where.
async fn ask(inner: &Inner, address: &str) -> Result<Vec<(NodeId, String)>, Error> {
    let message = encode(&inner.join());
    let deadline = Instant::now() + ms(inner.config.write_ms);
    let not_now = |reason: String| Error::NotNow(format!("{address}: {reason}"));
    let answer = match inner.addresses.ask(address, Topic::Join, message, deadline).await {
        Ok((_, answer)) => answer,
        Err(peer::Error::Refused(Refusal::Sender(reason))) => return Err(Error::Unwelcome(reason)),
        Err(error) => return Err(not_now(error.to_string())),
    };
    match decode(&answer).map_err(|refusal| not_now(refusal.to_string()))? {
        Joined::Welcome(members) => Ok(members),
        Joined::Removed => Err(Error::Unwelcome(format!("{address} says that it was removed"))),
        Joined::Taken => Err(Error::Unwelcome(taken(inner.me))),
        Joined::Full => Err(Error::Unwelcome(full(inner.config.members_max))),
        Joined::NotNow(reason) => Err(not_now(reason)),
    }
}

/// Writes where this node listens, if the registry says otherwise.
async fn announce(inner: &Inner, map: &Map) -> Result<bool, Error> {
    match enlist(&inner.registry, map, &inner.join(), &inner.config).await? {
        Joined::Welcome(_) => Ok(inner.is_known()),
        Joined::Removed => Err(Error::Unwelcome("the registry says that it was removed".to_owned())),
        Joined::Taken => Err(Error::Unwelcome(taken(inner.me))),
        Joined::Full => Err(Error::Unwelcome(full(inner.config.members_max))),
        Joined::NotNow(reason) => Err(Error::NotNow(reason)),
    }
}

/// Makes a node a member, or writes where it listens now. A member that comes with another data directory has forgotten
/// what it promised: it is refused before it has a replica that could vote. A map that is too old to know the member
/// makes the write fail.
pub(super) async fn enlist(registry: &Registry, map: &Map, join: &Join, config: &Config) -> Result<Joined, Error> {
    let (node, mut change) = (join.node, Change::default());
    match map.members.get(&node) {
        Some(known) if known.value.state == State::Removed => return Ok(Joined::Removed),
        Some(known) if known.value.life != join.life => return Ok(Joined::Taken),
        Some(known) if join.is_known(known) => {}
        Some(known) => {
            let value = Member { state: known.value.state, rest: known.value.rest.clone(), ..join.member() };
            change.put(record::node_name(node), Some(known.revision), &value);
        }
        None if map.present().count() >= config.members_max => {
            // Final for whoever hears it, so a map that lacks a removal must not say it.
            let newest = registry.confirm(Instant::now() + ms(config.message_ms)).await?;
            let is_old = map.revision < newest;
            return Ok(if is_old {
                Joined::NotNow("the map of the node asked is old".to_owned())
            } else {
                Joined::Full
            });
        }
        None => change.put(record::node_name(node), None, &join.member()),
    }
    if !change.ops.is_empty() {
        match registry.write(change.expect, change.ops).await {
            Ok(revision) => tracing::info!(%node, revision, address = join.announce.peer, "a node is a member"),
            // Somebody did the same, or this node's map is old: asking again tells.
            Err(error @ WriteError::Conflict(_)) => return Ok(Joined::NotNow(error.to_string())),
            Err(error) => return Err(error.into()),
        }
    }
    let others = map.present().filter(|other| *other != node);
    Ok(Joined::Welcome(others.map(|other| (other, map.members[&other].value.peer.clone())).collect()))
}

/// What a node is told whose place another data directory has.
pub(super) fn taken(node: NodeId) -> String {
    format!("node {node} is in use by another data directory; remove it and add a new one")
}

fn full(members_max: usize) -> String {
    format!("it has {members_max} nodes, as many as it may have; remove one, then start this one again")
}

impl Join {
    /// The record of the node.
    fn member(&self) -> Member {
        Member::active(self.announce.clone(), self.life)
    }

    /// Whether the registry says what the node says.
    fn is_known(&self, known: &Record<Member>) -> bool {
        let Member { state, rest, .. } = &known.value;
        known.value == Member { state: *state, rest: rest.clone(), ..self.member() }
    }
}

impl Inner {
    /// What this node asks for.
    fn join(&self) -> Join {
        Join { node: self.me, announce: self.announce.clone(), life: self.shards.life() }
    }

    /// Whether this node's map says where it listens.
    fn is_known(&self) -> bool {
        self.now().is_some_and(|map| map.members.get(&self.me).is_some_and(|known| self.join().is_known(known)))
    }
}
