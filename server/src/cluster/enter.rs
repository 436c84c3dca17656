//! Entering the cluster: the founder makes it, every other node asks to be a member, and both say where they listen.
//!
//! Everything here can be done again: a node that crashes in between begins anew and finds what it did.

use std::sync::Arc;
use std::time::Instant;

use lethe_proto::NodeId;

use super::config::{Announce, Begin, ms};
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
    if inner.shards.group(SYSTEM).is_none() {
        inner.shards.create(SYSTEM, SYSTEM_INCARNATION, shard::Begin::Lead).await?;
    }
    if let Some(map) = inner.registry.map().await? {
        return announce(inner, &map).await;
    }
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
    change.put(record::node_name(me), None, &member(&inner.announce));
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
    let mut last = Error::NotNow("there is no address of another node to join at".to_owned());
    for address in addresses.iter().filter(|address| **address != inner.announce.peer) {
        match ask(inner, address).await {
            Ok(members) => {
                for (node, address) in members.into_iter().filter(|(node, _)| *node != inner.me) {
                    inner.addresses.learn(node, &address);
                }
                if inner.shards.group(SYSTEM).is_none() {
                    inner.shards.create(SYSTEM, SYSTEM_INCARNATION, shard::Begin::Join).await?;
                }
                let known = inner.now().and_then(|map| Some(says(map.members.get(&inner.me)?, &inner.announce)));
                return Ok(known == Some(true));
            }
            Err(Error::Unwelcome(reason)) => return Err(Error::Unwelcome(reason)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Asks the node at an address. Says who the members are and where.
async fn ask(inner: &Inner, address: &str) -> Result<Vec<(NodeId, String)>, Error> {
    let message = encode(&Join { node: inner.me, announce: inner.announce.clone() });
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
        Joined::Full => Err(not_now("the cluster has as many nodes as it may have".to_owned())),
        Joined::NotNow(reason) => Err(not_now(reason)),
    }
}

/// Writes where this node listens, if the registry says otherwise.
async fn announce(inner: &Inner, map: &Map) -> Result<bool, Error> {
    match enlist(&inner.registry, map, inner.me, &inner.announce, inner.config.members_max).await? {
        Joined::Welcome(_) => Ok(inner
            .now()
            .is_some_and(|map| map.members.get(&inner.me).is_some_and(|member| says(member, &inner.announce)))),
        Joined::Removed => Err(Error::Unwelcome("the registry says that it was removed".to_owned())),
        Joined::Full => Err(Error::NotNow("the cluster has as many nodes as it may have".to_owned())),
        Joined::NotNow(reason) => Err(Error::NotNow(reason)),
    }
}

/// Makes a node a member, or writes where it listens now.
pub(super) async fn enlist(
    registry: &Registry,
    map: &Map,
    node: NodeId,
    announce: &Announce,
    members_max: usize,
) -> Result<Joined, Error> {
    let mut change = Change::default();
    match map.members.get(&node) {
        Some(known) if known.value.state == State::Removed => return Ok(Joined::Removed),
        Some(known) if says(known, announce) => {}
        Some(known) => {
            let value = Member { state: known.value.state, rest: known.value.rest.clone(), ..member(announce) };
            change.put(record::node_name(node), Some(known.revision), &value);
        }
        None if map.present().count() >= members_max => return Ok(Joined::Full),
        None => change.put(record::node_name(node), None, &member(announce)),
    }
    if !change.ops.is_empty() {
        match registry.write(change.expect, change.ops).await {
            Ok(revision) => tracing::info!(%node, revision, address = announce.peer, "a node is a member"),
            // Somebody did the same, or this node's map is old: asking again tells.
            Err(error @ WriteError::Conflict(_)) => return Ok(Joined::NotNow(error.to_string())),
            Err(error) => return Err(error.into()),
        }
    }
    let others = map.present().filter(|other| *other != node);
    Ok(Joined::Welcome(others.map(|other| (other, map.members[&other].value.peer.clone())).collect()))
}

fn member(announce: &Announce) -> Member {
    let Announce { name, peer, grpc, http } = announce.clone();
    Member::active(name, peer, grpc, http)
}

/// Whether the registry says what the node says.
fn says(known: &Record<Member>, announce: &Announce) -> bool {
    let Member { name, peer, grpc, http, .. } = &known.value;
    [name, peer, grpc, http] == [&announce.name, &announce.peer, &announce.grpc, &announce.http]
}
