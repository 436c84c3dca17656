//! Handing a group's actors over: they end in an orderly way here before another node leads the group.
//!
//! ```text
//! serve on, while a call takes long ──> take no more, for a moment ──> no call is left: end all
//!         │        ▲                                │                             ▲
//!         │        └────── one turned out to take long: serve on                  │
//!         └── for too long ──> take no more, for a moment, and end those that are left
//! ```
//!
//! How long what is ([`Terms`]) is a matter of its own. Whether the hand-over is wanted, and can be done, is asked all the time, and
//! right before anybody is disturbed. Response bodies that are still open are ended with their actors: their readers come
//! again, and find the next leader.
//!
//! Calls that come while nothing more is taken wait here for what becomes of it: they go on as soon as the group is served
//! here again, and are told who leads as soon as another node does; the router then goes there. So a group is without
//! service only from the last "take no more" until the next leader has its first actor.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use lethe_proto::{ActorId, NodeId};
use lethe_runtime::host::Outcome;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::{
    Actors, error,
    live::Live,
    place::Failed,
    terms::{LONG, Next, Oldest, Terms},
};
use crate::cluster::{Asked, HandOver, Wish};

/// How often to look whether calls that take long have ended.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// A body that has been open for so long will hardly end in the moment in which the group is without service.
const OLD_BODY: Duration = Duration::from_secs(1);

/// Groups whose actors are not to start here.
pub(super) struct Releases {
    node: NodeId,
    /// How long what comes waits for the end of a release.
    wait: Duration,
    groups: Mutex<HashMap<u32, UnderWay>>,
}

/// Releases of one group.
struct UnderWay {
    count: usize,
    /// Says nothing; it goes away with the last of them.
    over: watch::Sender<()>,
}

impl Releases {
    /// None, on this node.
    pub fn new(node: NodeId, wait: Duration) -> Arc<Self> {
        Arc::new(Self { node, wait, groups: Mutex::default() })
    }

    /// Refuses what would begin in a group that is being handed over.
    pub fn refuse(&self, group: u32) -> Result<(), Failed> {
        match self.groups.lock().contains_key(&group) {
            true => Err(Failed::NotLeader { leader: None }),
            false => Ok(()),
        }
    }

    /// Waits while a group is being handed over. Ends well when it is served here, and with who leads as soon as that is
    /// another node. Knows no leader when it has waited for long.
    pub async fn over(&self, group: u32, mut leader: watch::Receiver<Option<NodeId>>) -> Result<(), Failed> {
        let over = self.groups.lock().get(&group).map(|under_way| under_way.over.subscribe());
        let Some(mut over) = over else { return Ok(()) };
        let elsewhere = async {
            match leader.wait_for(|leader| leader.is_some_and(|leader| leader != self.node)).await {
                Ok(leader) => *leader,
                // The replica is gone.
                Err(_) => None,
            }
        };
        tokio::select! {
            biased;
            leader = elsewhere => Err(Failed::NotLeader { leader }),
            _ = over.changed() => Ok(()),
            () = tokio::time::sleep(self.wait) => Err(Failed::NotLeader { leader: None }),
        }
    }

    /// No call enters an actor of the group until what this gives is dropped.
    pub fn begin(self: &Arc<Self>, group: u32) -> Released {
        let mut groups = self.groups.lock();
        let under_way = groups.entry(group).or_insert_with(|| UnderWay { count: 0, over: watch::Sender::new(()) });
        under_way.count += 1;
        Released { releases: self.clone(), group }
    }
}

/// As long as this lives, no call enters an actor of the group on this node.
pub struct Released {
    releases: Arc<Releases>,
    group: u32,
}

impl Drop for Released {
    fn drop(&mut self) {
        let mut groups = self.releases.groups.lock();
        if let Some(under_way) = groups.get_mut(&self.group) {
            under_way.count -= 1;
            if under_way.count == 0 {
                groups.remove(&self.group);
            }
        }
    }
}

impl Actors {
    /// Ends all actors of a group: calls under way may finish within `Config::release_wait`, and what they wrote is
    /// committed. No call enters an actor of the group here until what this returns is dropped. The group is without
    /// service only while it holds one of the `turns`. None if the hand-over was given up meanwhile.
    pub async fn release(
        &self,
        group: u32,
        turns: Arc<Semaphore>,
        asked: Asked,
    ) -> Option<(Released, Option<OwnedSemaphorePermit>)> {
        tracing::debug!(group, "a group is to be released");
        let mut terms = Terms::new(self.inner.config.release_wait, Instant::now());
        loop {
            self.due(group, &mut terms, &asked).await?;
            // Fails only if there are no turns any more, and then nobody else has one.
            let turn = turns.clone().acquire_owned().await.ok();
            // Other calls may have come while it waited for its turn.
            let began = Instant::now();
            let next = match asked() {
                Wish::Go(patience) => terms.next(began, patience, oldest(&self.busy(group), began)),
                Wish::Hold | Wish::GiveUp => Next::Serve,
            };
            let released = match next {
                Next::Serve => None,
                Next::Silence(moment) => self.make_way(group, moment, false, &asked).await,
                Next::CutOff(moment) => self.make_way(group, moment, true, &asked).await,
            };
            if let Some(released) = released {
                return Some((released, turn));
            }
            terms.failed(began);
        }
    }

    /// Serves the group on until something else is to be done. None if nothing is any more.
    async fn due(&self, group: u32, terms: &mut Terms, asked: &Asked) -> Option<()> {
        let mut busy = Vec::new();
        loop {
            match asked() {
                Wish::GiveUp => return None,
                Wish::Hold => {}
                Wish::Go(patience) => {
                    let mut serve = |busy: &[Arc<Live>]| {
                        let now = Instant::now();
                        terms.next(now, patience, oldest(busy, now)) == Next::Serve
                    };
                    // Only those that take long are looked at again: a node has many actors, and many groups to hand over.
                    if !serve(&busy) {
                        busy = self.busy(group);
                        if !serve(&busy) {
                            return Some(());
                        }
                    }
                }
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Takes no calls for a moment, and ends the group's actors if no call is left in them then; if `cut_off`, in any case.
    async fn make_way(&self, group: u32, moment: Duration, cut_off: bool, asked: &Asked) -> Option<Released> {
        let began = Instant::now();
        let released = self.inner.releases.begin(group);
        let ending = self.inner.awake.of(group);
        let bodies = began.checked_sub(OLD_BODY).unwrap_or(began);
        futures::future::join_all(ending.iter().map(|(_, live)| live.rest(moment, bodies))).await;
        let quiet = ending.iter().all(|(_, live)| live.oldest_call().is_none());
        let ends = (quiet || cut_off) && matches!(asked(), Wish::Go(_));
        let (actors, took) = (ending.len(), began.elapsed());
        tracing::debug!(group, actors, ?took, quiet, given_up = !ends, "took no calls, to release a group");
        ends.then(|| {
            self.end(ending);
            released
        })
    }

    /// Actors of a group in which a call takes long, or whose bodies are read.
    fn busy(&self, group: u32) -> Vec<Arc<Live>> {
        let is_long = |live: &Live| live.oldest_call().is_some_and(|began| began.elapsed() > LONG);
        let live = self.inner.awake.of(group).into_iter().map(|(_, live)| live);
        live.filter(|live| is_long(live) || live.oldest_body().is_some()).collect()
    }

    fn end(&self, ending: Vec<(ActorId, Arc<Live>)>) {
        for (id, live) in ending {
            live.end(error::unavailable("the actor's group is handed over to another node", Outcome::Unknown));
            self.inner.forget(id, &live);
        }
    }
}

impl HandOver for Actors {
    fn release(&self, group: u32, turns: Arc<Semaphore>, asked: Asked) -> BoxFuture<'static, Option<Box<dyn Send>>> {
        let actors = self.clone();
        Box::pin(async move {
            let released = actors.release(group, turns, asked).await?;
            Some(Box::new(released) as Box<dyn Send>)
        })
    }
}

/// How old the oldest are that are under way in these.
fn oldest(busy: &[Arc<Live>], now: Instant) -> Oldest {
    let age = |began: Option<Instant>| began.map(|began| now.saturating_duration_since(began));
    Oldest {
        call: age(busy.iter().filter_map(|live| live.oldest_call()).min()),
        body: age(busy.iter().filter_map(|live| live.oldest_body()).min()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: u32 = 3;
    /// Longer than any test.
    const LONG: Duration = Duration::from_secs(3600);

    fn node(number: u64) -> NodeId {
        NodeId::from(number)
    }

    /// Waits for the end of a release on node 1 for at most `wait`, while `meanwhile` happens.
    async fn waited(
        wait: Duration,
        meanwhile: impl FnOnce(Released, &watch::Sender<Option<NodeId>>) -> Option<Released>,
    ) -> Result<(), Failed> {
        let releases = Releases::new(node(1), wait);
        let leader = watch::Sender::new(Some(node(1)));
        let released = releases.begin(GROUP);
        let mut waiting = Box::pin(releases.over(GROUP, leader.subscribe()));
        assert!(futures::poll!(&mut waiting).is_pending(), "there is something to wait for");
        let _kept = meanwhile(released, &leader);
        tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("it does not wait any more")
    }

    #[tokio::test]
    async fn whoever_waits_for_a_hand_over_goes_on_at_once_when_it_is_given_up() {
        let given_up = |released, _: &_| {
            drop(released);
            None
        };
        assert_eq!(waited(LONG, given_up).await, Ok(()));
    }

    #[tokio::test]
    async fn whoever_waits_for_a_hand_over_hears_at_once_who_leads_then() {
        let moved = |released, leader: &watch::Sender<_>| {
            leader.send_replace(None);
            leader.send_replace(Some(node(2)));
            Some(released)
        };
        assert_eq!(waited(LONG, moved).await, Err(Failed::NotLeader { leader: Some(node(2)) }));
    }

    #[tokio::test]
    async fn nobody_waits_for_a_hand_over_for_longer_than_he_said() {
        assert_eq!(
            waited(Duration::from_millis(1), |released, _| Some(released)).await,
            Err(Failed::NotLeader { leader: None })
        );
    }

    #[tokio::test]
    async fn the_last_of_several_releases_decides() {
        let releases = Releases::new(node(1), LONG);
        let leader = watch::Sender::new(Some(node(1)));
        let (first, second) = (releases.begin(GROUP), releases.begin(GROUP));
        let mut waiting = Box::pin(releases.over(GROUP, leader.subscribe()));
        drop(first);
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(second);
        assert_eq!(futures::poll!(&mut waiting), std::task::Poll::Ready(Ok(())));
    }
}
