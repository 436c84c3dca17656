//! `Cluster`: the handle of the room. Cheap to clone.
//!
//! `start` returns at once, and the room's tasks do the rest: enter the cluster, follow the registry, tell others how this
//! node is, keep the lease, and control replicas. `ready` waits until the node may take requests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

use lethe_proto::{ActorId, NodeId};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config::{Addresses, Announce, Begin, Config, Deps, KeyState, ms};
use super::contacts::Contacts;
use super::error::{Error, Stale};
use super::fullness::Fullness;
use super::hand_over::{HandOver, Wanted};
use super::lease::{Follower, Lease};
use super::map::Map;
use super::message::Confirmed;
use super::record::State;
use super::registry::Registry;
use super::{answers, control, enter, follow, pulse, renew};
use crate::peer::{self, Topic, Transport};
use crate::shard::{Epoch, Shard, Shards};

/// The cluster, as this node sees it.
#[derive(Clone)]
pub struct Cluster {
    pub(super) inner: Arc<Inner>,
}

/// What the room's tasks share.
pub(super) struct Inner {
    pub config: Arc<Config>,
    pub me: NodeId,
    pub started: Instant,
    pub shards: Arc<Shards>,
    pub transport: Arc<dyn Transport>,
    pub addresses: Arc<dyn Addresses>,
    pub keys: Arc<dyn KeyState>,
    pub announce: Announce,
    pub begin: Begin,
    pub registry: Registry,
    pub map: watch::Sender<Option<Arc<Map>>>,
    pub contacts: Mutex<Contacts>,
    pub lease: Lease,
    /// What this node has confirmed of groups it leads, and in which leadership.
    pub confirmed: Mutex<BTreeMap<u32, (Epoch, Confirmed)>>,
    /// Why this node cannot be a member, once it is known.
    pub fate: watch::Sender<Option<String>>,
    pub hand_over: OnceLock<Weak<dyn HandOver>>,
    /// Whether there was a group to hand over, and a node to take it, when it was last looked.
    pub hands_over: AtomicBool,
    /// Hand-overs that wait for calls, by their groups.
    pub hand_overs: Mutex<BTreeMap<u32, Arc<Wanted>>>,
    /// Groups that may be without service at a time, because they are handed over.
    pub turns: Arc<Semaphore>,
    pub stopping: AtomicBool,
    pub fullness: Mutex<Fullness>,
    /// Others should be told at once how this node is.
    pub news: Notify,
    pub stop: CancellationToken,
    pub tasks: TaskTracker,
}

/// Where an actor is.
#[derive(Clone)]
pub struct Home {
    /// The group that holds it.
    pub group: u32,
    /// This node's replica of the group, if it has one.
    pub here: Option<Shard>,
    /// Who leads the group, as far as this node knows. A hint.
    pub leader: Option<NodeId>,
}

impl Cluster {
    /// Starts the room's tasks. Messages of other nodes have to reach `handler` from now on.
    pub fn start(config: Config, deps: Deps) -> Self {
        let Deps { shards, transport, addresses, keys, announce, begin } = deps;
        let config = Arc::new(config);
        let turns = Arc::new(Semaphore::new(config.transfers_max));
        let inner = Arc::new(Inner {
            me: shards.node(),
            started: Instant::now(),
            registry: Registry::new(shards.clone(), transport.clone(), config.clone()),
            lease: Lease::new(config.lease_ms),
            config,
            shards,
            transport,
            addresses,
            keys,
            announce,
            begin,
            map: watch::Sender::new(None),
            contacts: Mutex::default(),
            confirmed: Mutex::default(),
            fate: watch::Sender::new(None),
            hand_over: OnceLock::new(),
            hands_over: AtomicBool::new(false),
            hand_overs: Mutex::default(),
            turns,
            stopping: AtomicBool::new(false),
            fullness: Mutex::default(),
            news: Notify::new(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        let follower = inner.lease.follower();
        inner.run(enter::run(inner.clone()));
        inner.run(follow::run(inner.clone(), follower));
        inner.run(pulse::run(inner.clone()));
        inner.run(renew::run(inner.clone()));
        inner.run(control::run(inner.clone()));
        Self { inner }
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.inner.me
    }

    /// Takes messages of other nodes about these topics.
    pub fn handlers(&self) -> Vec<(Topic, Arc<dyn peer::Handler>)> {
        let handler: Arc<dyn peer::Handler> = Arc::new(answers::Answers::new(&self.inner));
        [Topic::Join, Topic::Status, Topic::Registry].map(|topic| (topic, handler.clone())).to_vec()
    }

    /// Waits until this node is a member, knows the registry, and may take requests. An error is final.
    pub async fn ready(&self) -> Result<(), Error> {
        let mut fate = self.inner.fate.subscribe();
        let mut poll = tokio::time::interval(ms(READY_POLL_MS));
        loop {
            tokio::select! {
                end = self.fate_of(&mut fate) => return Err(end),
                _ = poll.tick() => if self.is_fresh().is_ok() && self.inner.map.borrow().is_some() {
                    return Ok(());
                }
            }
        }
    }

    /// Waits until this node cannot be a member any more, and says why. The node has to stop then.
    pub async fn fate(&self) -> Error {
        self.fate_of(&mut self.inner.fate.subscribe()).await
    }

    async fn fate_of(&self, fate: &mut watch::Receiver<Option<String>>) -> Error {
        tokio::select! {
            () = self.inner.stop.cancelled() => Error::Stopped,
            end = fate.wait_for(Option::is_some) => match end.map(|end| end.clone()) {
                Ok(Some(reason)) => Error::Unwelcome(reason),
                Ok(None) | Err(_) => Error::Stopped,
            }
        }
    }

    /// The registry's placement, as it changes; none before this node knows it.
    pub fn map(&self) -> watch::Receiver<Option<Arc<Map>>> {
        self.inner.map.subscribe()
    }

    /// The registry itself.
    pub fn registry(&self) -> &Registry {
        &self.inner.registry
    }

    /// Another part of this node acts on the registry: the node is fresh only as far as that part is.
    pub fn follower(&self) -> Follower {
        self.inner.lease.follower()
    }

    /// Whether this node may start anything new: it acts on all that was acknowledged before it is asked. What it acts on
    /// is looked at afterwards, or again.
    pub fn is_fresh(&self) -> Result<(), Stale> {
        self.inner.lease.check()
    }

    /// Where an actor is.
    pub fn home(&self, actor: ActorId) -> Result<Home, Stale> {
        let group = self.inner.map.borrow().as_ref().ok_or(Stale::Starting)?.group_of(actor);
        Ok(self.home_of(group))
    }

    /// Where a group is.
    pub fn home_of(&self, group: u32) -> Home {
        let here = self.inner.shards.group(group);
        let leader = here.as_ref().and_then(|shard| *shard.leader().borrow());
        Home { group, leader: leader.or_else(|| self.inner.heard_leader(group)), here }
    }

    /// Nodes that were heard lately, besides this one.
    pub fn reachable(&self) -> BTreeSet<NodeId> {
        self.inner.contacts.lock().reachable(Instant::now(), &self.inner.config)
    }

    /// Whom to ask before a group's leadership leaves this node. Held weakly; only the first one counts.
    pub fn before_hand_over(&self, hand_over: &Arc<dyn HandOver>) {
        drop(self.inner.hand_over.set(Arc::downgrade(hand_over)));
    }

    /// Hands the leadership of all groups over, as far as others can take it, and takes none back. Returns when nothing is
    /// led here that another node could lead, when no hand-over has been possible for a while, or at the deadline.
    pub async fn step_down(&self, deadline: Instant) {
        self.inner.stopping.store(true, Ordering::Relaxed);
        self.inner.news.notify_one();
        let mut hoped = Instant::now();
        while Instant::now() < deadline && self.inner.could_hand_over() {
            if self.inner.hands_over.load(Ordering::Relaxed) {
                hoped = Instant::now();
            }
            // A voter lacks entries, or a change of voters does not end.
            if hoped.elapsed() >= ms(self.inner.config.step_down_ms) {
                tracing::warn!("some groups are led here to the end: no other node can take them now");
                return;
            }
            tokio::time::sleep(ms(READY_POLL_MS)).await;
        }
    }

    /// Ends the room's tasks. The replicas go on.
    pub async fn stop(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }
}

/// How often waiting looks again, in milliseconds.
const READY_POLL_MS: u64 = 20;

impl Inner {
    /// Runs a task of the room until it ends or the room is stopped.
    fn run(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            stop.run_until_cancelled(work).await;
        });
    }

    /// This node cannot be a member any more.
    pub fn unwelcome(&self, reason: String) {
        self.fate.send_if_modified(|fate| match fate {
            Some(_) => false,
            None => {
                tracing::error!(reason, "this node cannot be a member of the cluster");
                *fate = Some(reason);
                true
            }
        });
    }

    /// The node that says it leads a group, in the newest term.
    pub fn heard_leader(&self, group: u32) -> Option<NodeId> {
        self.contacts.lock().leader(group)
    }

    /// Whether this node leads a group that another voter, which can be reached and is active, could lead.
    fn could_hand_over(&self) -> bool {
        let Some(map) = self.now() else { return false };
        let mut able = self.contacts.lock().able(Instant::now(), &self.config);
        able.retain(|node| map.state(*node) == Some(State::Active));
        self.shards.all().iter().any(|shard| {
            let leads = shard.leadership().borrow().is_some();
            leads && shard.members().voters.keys().any(|node| able.contains(node))
        })
    }

    /// The map, if it is known.
    pub fn now(&self) -> Option<Arc<Map>> {
        self.map.borrow().clone()
    }

    /// Members that were not removed, besides this node.
    pub fn others(&self) -> Vec<NodeId> {
        let map = self.now();
        map.iter().flat_map(|map| map.present()).filter(|node| *node != self.me).collect()
    }

    /// Whether a node may take part in the cluster's own business.
    pub fn is_member(&self, node: NodeId) -> bool {
        let state = self.now().and_then(|map| map.state(node));
        matches!(state, Some(State::Active | State::Draining | State::Leaving))
    }
}
