//! Handing a group's actors over: they end in an orderly way here before another node leads the group.
//!
//! ```text
//! serve on, while a call takes long ──> take no more, for a moment ──> no call is left: end all
//!         │        ▲                                │                             ▲
//!         │        └────── one turned out to take long: serve on                  │
//!         └── for too long ──> take no more, for longer moments ──────────────────┘
//! ```
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

use super::{Actors, error, live::Live, place::Failed};
use crate::cluster::HandOver;

/// Calls under way for longer are waited for before the group is without service.
const LONG: Duration = Duration::from_millis(50);
/// How often to look whether calls that take long have ended.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// How long the remaining calls have to end, while the group is without service.
const MOMENT: Duration = Duration::from_millis(150);
/// Where no moment was good by then, the group's calls are made to end in the last part of the whole time: no others come
/// for a longer moment, and then for one twice as long. A longer silence is better than calls cut off. In between the group
/// is served, because those inside may wait for calls to actors that are handed over themselves.
const LAST_PART: u32 = 3;
/// The first of those longer moments, as a part of the whole time.
const LONGER_MOMENT: u32 = 30;

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

    fn begin(self: &Arc<Self>, group: u32) -> Released {
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
    /// committed. No call enters an actor of the group here until what this returns is dropped. Before the last part of
    /// that time it is without service only while it holds one of the `turns`.
    pub async fn release(&self, group: u32, turns: Arc<Semaphore>) -> (Released, Option<OwnedSemaphorePermit>) {
        let wait = self.inner.config.release_wait;
        tracing::debug!(group, "a group is to be released");
        let last = Instant::now() + wait;
        while self.has_moment(group, last - wait / LAST_PART).await {
            // Fails only if there are no turns any more, and then nobody else has one.
            let turn = turns.clone().acquire_owned().await.ok();
            if self.inner.live_of(group).iter().any(|(_, _, live)| is_long(live)) {
                continue;
            }
            if let Some(released) = self.release_within(group, MOMENT).await {
                return (released, turn);
            }
        }
        let mut longer = wait / LONGER_MOMENT;
        while Instant::now() < last {
            if let Some(released) = self.release_within(group, longer).await {
                return (released, turns.acquire_owned().await.ok());
            }
            longer *= 2;
            tokio::time::sleep(LONG).await;
        }
        let turn = turns.acquire_owned().await.ok();
        let released = self.inner.releases.begin(group);
        tracing::debug!(group, ?wait, "calls are cut off, to release a group");
        self.end(self.inner.live_of(group));
        (released, turn)
    }

    /// Ends a group's actors if no call is left in them after a moment in which none came.
    async fn release_within(&self, group: u32, moment: Duration) -> Option<Released> {
        let began = Instant::now();
        let released = self.inner.releases.begin(group);
        let ending = self.inner.live_of(group);
        futures::future::join_all(ending.iter().map(|(_, _, live)| live.drain(moment))).await;
        let quiet = ending.iter().all(|(_, _, live)| live.oldest_call().is_none());
        let (actors, took) = (ending.len(), began.elapsed());
        tracing::debug!(group, actors, ?took, given_up = !quiet, "took no calls, to release a group");
        quiet.then(|| {
            self.end(ending);
            released
        })
    }

    /// Waits until no call in the group takes long. False if that is not so before `until`.
    async fn has_moment(&self, group: u32, until: Instant) -> bool {
        loop {
            let mut long = self.inner.live_of(group);
            long.retain(|(_, _, live)| is_long(live));
            if long.is_empty() {
                return Instant::now() < until;
            }
            // Only these are looked at again: a node has many actors, and many groups to hand over.
            while long.iter().any(|(_, _, live)| is_long(live)) {
                if Instant::now() >= until {
                    return false;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    }

    fn end(&self, ending: Vec<(ActorId, u64, Arc<Live>)>) {
        for (id, serial, live) in ending {
            live.end(error::unavailable("the actor's group is handed over to another node", Outcome::Unknown));
            self.inner.forget(id, serial);
        }
    }
}

impl HandOver for Actors {
    fn release(&self, group: u32, turns: Arc<Semaphore>) -> BoxFuture<'static, Box<dyn Send>> {
        let actors = self.clone();
        Box::pin(async move { Box::new(actors.release(group, turns).await) as Box<dyn Send> })
    }
}

fn is_long(live: &Arc<Live>) -> bool {
    live.oldest_call().is_some_and(|began| began.elapsed() > LONG)
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
