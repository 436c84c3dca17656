//! Following the registry: every change becomes a new map, and what follows from it at once is done.

use std::sync::Arc;
use std::time::Instant;

use super::config::ms;
use super::enter::taken;
use super::handle::Inner;
use super::lease::Follower;
use super::map::{Map, SYSTEM};
use super::record::State;

/// Pause before a registry that cannot be read is read again, in milliseconds.
const AGAIN_MS: u64 = 500;

/// Reads the map whenever the registry changes.
pub(super) async fn run(inner: Arc<Inner>, follower: Follower) {
    let mut replicas = inner.shards.changes();
    while inner.shards.group(SYSTEM).is_none() {
        if replicas.changed().await.is_err() {
            return;
        }
    }
    let Ok(mut changed) = inner.registry.changed() else { return };
    let mut said = String::new();
    loop {
        changed.mark_unchanged();
        match inner.registry.map().await {
            Ok(Some(map)) => {
                let revision = map.revision;
                publish(&inner, map);
                follower.reached(revision);
            }
            Ok(None) => {}
            Err(error) => {
                // The lease runs out by itself: this node starts nothing on a map that it cannot read.
                let text = error.to_string();
                if text != said {
                    tracing::error!(reason = text, "the registry cannot be followed");
                    said = text;
                }
                tokio::time::sleep(ms(AGAIN_MS)).await;
                continue;
            }
        }
        if changed.changed().await.is_err() {
            return;
        }
    }
}

fn publish(inner: &Inner, map: Map) {
    for (node, member) in map.members.iter().filter(|(node, _)| **node != inner.me) {
        match member.value.state {
            State::Removed => inner.addresses.ban(*node),
            State::Active | State::Draining | State::Leaving if member.value.peer.is_empty() => {}
            State::Active | State::Draining | State::Leaving => inner.addresses.learn(*node, &member.value.peer),
        }
    }
    if map.state(inner.me) == Some(State::Removed) {
        inner.unwelcome("the registry says that it was removed".to_owned());
    }
    if map.members.get(&inner.me).is_some_and(|known| known.value.life != inner.shards.life()) {
        inner.unwelcome(taken(inner.me));
    }
    inner.contacts.lock().follow(&map, inner.me, Instant::now());
    inner.map.send_replace(Some(Arc::new(map)));
}
