//! `Keys`: data keys of actors on all replicas of their groups.
//!
//! ```text
//! creation   leader ── ring: key epochs of the members ──> shares in the log ── apply ──> each replica's key table
//! afterwards a replica that missed its share ── Topic::Keys ──> a member that has the key, sealed to the asker's epoch
//! ```
//!
//! An acknowledged creation is readable after the loss of any minority: it is proposed only with shares for a majority of
//! the voters. A replica without some key is not caught up (`missing`); it asks the other members, in the background and
//! when an actor is to be activated. Only members of a group get its keys, and none of an actor that was destroyed. Keys of groups that left
//! this node are erased, key epochs are replaced on a timer.

mod effects;
mod fetch;
mod message;
mod ring;
mod rotation;
mod serve;
mod sweep;
mod wanted;

#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use lethe_proto::ActorId;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::ring::Uncovered;
use self::{ring::Ring, wanted::AllWanted};
use crate::{
    peer::{Handler, Transport},
    shard::{Effects, Shards},
    vault::Vault,
};

/// Times of the hand-off of keys.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long a key epoch is the current one. Its private key lives as long again, for replicas that come late; what was
    /// erased can be had from the log until then.
    pub rotate: Duration,
    /// How long another node may take to answer.
    pub answer: Duration,
    /// Pause before what is missing is asked for again.
    pub retry: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { rotate: Duration::from_secs(600), answer: Duration::from_secs(5), retry: Duration::from_secs(1) }
    }
}

/// Which group holds an actor; none while it is not known.
pub type GroupOf = Arc<dyn Fn(ActorId) -> Option<u32> + Send + Sync>;

/// Handle of the keys of a node.
#[derive(Clone)]
pub struct Keys {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    vault: Vault,
    wanted: Mutex<AllWanted>,
    /// Something is wanted.
    wake: Notify,
    ring: Ring,
    reach: OnceLock<Reach>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What there is once the node's shards run.
struct Reach {
    shards: Weak<Shards>,
    transport: Arc<dyn Transport>,
    group_of: GroupOf,
}

impl Keys {
    /// Keys over a vault. Until `start` only creations that are applied are served.
    pub fn new(vault: Vault, config: Config) -> Self {
        let inner = Inner {
            ring: Ring::new(config.rotate / 2),
            config,
            vault,
            wanted: Mutex::default(),
            wake: Notify::new(),
            reach: OnceLock::new(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// What applying entries does to keys; for the shards.
    pub fn effects(&self) -> Arc<dyn Effects> {
        self.inner.clone()
    }

    /// Answers `Topic::Keys`.
    pub fn handler(&self) -> Arc<dyn Handler> {
        self.inner.clone()
    }

    /// The vault they are in.
    pub fn vault(&self) -> &Vault {
        &self.inner.vault
    }

    /// Begins to look for missing keys, to replace key epochs, and to erase keys of groups that are not on this node. Once
    /// per `Keys`; later calls do nothing.
    pub fn start(&self, shards: &Arc<Shards>, transport: Arc<dyn Transport>, group_of: GroupOf) {
        let reach = Reach { shards: Arc::downgrade(shards), transport, group_of };
        if self.inner.reach.set(reach).is_err() {
            return;
        }
        for shard in shards.all() {
            self.inner.wanted.lock().scan(shard.id());
        }
        let inner = &self.inner;
        inner.wake.notify_one();
        inner.tasks.spawn(fetch::run(inner.clone()));
        inner.tasks.spawn(rotation::run(inner.clone()));
        inner.tasks.spawn(ring::run(inner.clone()));
        inner.tasks.spawn(sweep::run(inner.clone(), shards.changes()));
    }

    /// How many keys of a group this node is known to lack; above 0 also while it still looks. A replica is caught up only
    /// when this is 0.
    pub fn missing(&self, group: u32) -> usize {
        self.inner.wanted.lock().missing(group)
    }

    /// Ends the tasks that `start` began.
    pub async fn stop(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }
}

impl Inner {
    /// The shards, while they run.
    fn shards(&self) -> Option<Arc<Shards>> {
        self.reach.get()?.shards.upgrade()
    }
}
