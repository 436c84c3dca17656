//! The router: the node's one implementation of `Call`. Every call that begins on this node goes through it.
//!
//! It finds the node that leads the actor's group, follows the hints of those that do not, and tries again what surely
//! did nothing, within the caller's one deadline. Where nobody could help it pauses, and goes on as soon as this node hears
//! of another leader. Calls that come from other nodes go to `Actors` at once: nothing is passed on twice.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use lethe_proto::NodeId;
use lethe_runtime::host::{ActorCall, ActorReply, CallError};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::again::Again;
use crate::{
    actor::{ActorRef, Call, Failed, Homes, Place},
    cluster::{Home, Pause},
};

/// Less time than this is not worth another attempt.
const ATTEMPT_MIN: Duration = Duration::from_millis(1);
/// Pauses between attempts: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));

/// The nodes of the cluster as places to call actors at.
pub trait Places: Send + Sync + 'static {
    /// A node; none if nothing is known of it.
    fn place(&self, node: NodeId) -> Option<Arc<dyn Place>>;
}

/// A node without others.
impl Places for () {
    fn place(&self, _: NodeId) -> Option<Arc<dyn Place>> {
        None
    }
}

/// Calls actors wherever they live. Cheap to clone.
#[derive(Clone)]
pub struct Router {
    inner: Arc<Inner>,
}

struct Inner {
    here: Arc<dyn Place>,
    homes: Arc<dyn Homes>,
    others: Arc<dyn Places>,
    /// Who answered last for a group. One entry per group at most.
    leaders: Mutex<HashMap<u32, NodeId>>,
    pauses: (Duration, Duration),
}

impl Router {
    /// A router over this node's actors and those of other nodes.
    pub fn new(here: Arc<dyn Place>, homes: Arc<dyn Homes>, others: Arc<dyn Places>) -> Self {
        Self::with_pauses(here, homes, others, PAUSES)
    }

    /// The same, with these pauses between attempts: the first, and the longest.
    pub(super) fn with_pauses(
        here: Arc<dyn Place>,
        homes: Arc<dyn Homes>,
        others: Arc<dyn Places>,
        pauses: (Duration, Duration),
    ) -> Self {
        Self { inner: Arc::new(Inner { here, homes, others, leaders: Mutex::default(), pauses }) }
    }
}

impl Call for Router {
    fn call(
        &self,
        to: ActorRef,
        call: ActorCall,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<ActorReply, CallError>> {
        let inner = self.inner.clone();
        Box::pin(async move { Ok(inner.route(to, call, deadline).await?) })
    }
}

/// What one call has learnt so far.
#[derive(Default)]
struct Round {
    /// Who leads, as somebody said last.
    hint: Option<NodeId>,
    /// Where it failed since the last pause.
    failed: Vec<NodeId>,
    /// Who leads the group as this node hears it, once an attempt has failed.
    heard: Option<watch::Receiver<Option<NodeId>>>,
}

impl Round {
    /// Begins anew after a pause, which ends early when this node hears of another leader. False at once if there would be
    /// no time left after it.
    async fn pause(&mut self, pause: &mut Pause, deadline: Instant) -> bool {
        self.failed.clear();
        let heard = async {
            if let Some(heard) = &mut self.heard
                && heard.changed().await.is_ok()
            {
                return;
            }
            // The replica is gone, or there is none: nothing more is heard.
            std::future::pending().await
        };
        tokio::select! {
            biased;
            goes_on = pause.before(deadline) => goes_on,
            () = heard => true,
        }
    }
}

impl Inner {
    async fn route(&self, to: ActorRef, call: ActorCall, deadline: Instant) -> Result<ActorReply, Failed> {
        let (first, longest) = self.pauses;
        let (mut again, mut pause, mut round) = (Again::new(call), Pause::new(first, longest), Round::default());
        let mut reason = Failed::NotLeader { leader: None };
        loop {
            let home = self.homes.home(to.id);
            let next = home.and_then(|home| Some((home.group, home.leader, self.choose(&home, &round)?)));
            let Some((group, leader, node)) = next else {
                if !round.pause(&mut pause, deadline - ATTEMPT_MIN).await {
                    return Err(reason);
                }
                continue;
            };
            let Some(place) = self.place(node) else {
                round.failed.push(node);
                continue;
            };
            let Some(call) = again.attempt() else { return Err(reason) };
            let failed = match place.attempt(to.clone(), call, deadline).await {
                Ok(reply) => {
                    self.leaders.lock().insert(group, node);
                    return Ok(reply);
                }
                Err(failed) => failed,
            };
            if !failed.may_be_tried_again() {
                return Err(failed);
            }
            tracing::debug!(group, %node, ?failed, "a call did nothing there; it is made again");
            self.learn(group, node, &failed);
            round.heard = round.heard.or_else(|| self.listen(group, leader));
            round.hint = match failed {
                Failed::NotLeader { leader } => leader,
                Failed::Call(_) => None,
            };
            round.failed.push(node);
            reason = failed;
            if Instant::now() + ATTEMPT_MIN >= deadline {
                return Err(reason);
            }
        }
    }

    /// The node that most likely leads, of those where the call has not failed since the last pause.
    fn choose(&self, home: &Home, round: &Round) -> Option<NodeId> {
        let me = self.homes.node();
        let leads = home.here.as_ref().is_some_and(|shard| shard.leadership().borrow().is_some()).then_some(me);
        let known = self.leaders.lock().get(&home.group).copied();
        let first = [leads, round.hint, home.leader, known].into_iter().flatten();
        let here = home.here.as_ref().map(|_| me);
        let untried = |node: &NodeId| !round.failed.contains(node);
        first.chain(here).find(untried).or_else(|| self.homes.replicas(home.group).into_iter().find(untried))
    }

    /// Who leads a group, as this node hears it; what differs from who led when the attempt began is news.
    fn listen(&self, group: u32, leader: Option<NodeId>) -> Option<watch::Receiver<Option<NodeId>>> {
        let mut heard = self.homes.leader(group)?;
        if *heard.borrow_and_update() != leader {
            heard.mark_changed();
        }
        Some(heard)
    }

    fn place(&self, node: NodeId) -> Option<Arc<dyn Place>> {
        if node == self.homes.node() { Some(self.here.clone()) } else { self.others.place(node) }
    }

    fn learn(&self, group: u32, node: NodeId, failed: &Failed) {
        let mut leaders = self.leaders.lock();
        match failed {
            Failed::NotLeader { leader: Some(leader) } => {
                leaders.insert(group, *leader);
            }
            Failed::NotLeader { leader: None } | Failed::Call(_) if leaders.get(&group) == Some(&node) => {
                leaders.remove(&group);
            }
            Failed::NotLeader { leader: None } | Failed::Call(_) => {}
        }
    }
}
