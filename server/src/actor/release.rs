//! Handing a group's actors over: they end in an orderly way here before another node leads the group.
//!
//! ```text
//! serve on, while a call takes long ──> take no more, for a moment ──> no call is left: end all
//!                  ▲                                │
//!                  └────── one turned out to take long: serve on
//! ```
//!
//! Calls that come while nothing more is taken are told that this node does not lead, and are tried again by the router.
//! So a group is without service only from the last "take no more" until the next leader has its first actor.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use lethe_runtime::host::Outcome;
use parking_lot::Mutex;

use super::{Actors, error, live::Live, place::Failed};
use crate::cluster::HandOver;

/// Calls under way for longer are waited for before the group is without service.
const LONG: Duration = Duration::from_millis(50);
/// How often to look for calls that take long.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// How long the remaining calls have to end, while the group is without service.
const MOMENT: Duration = Duration::from_millis(150);
/// And this long when no moment was good: where every call takes long, a longer silence is better than calls cut off.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// Groups whose actors are not to start here, and by how many that is asked for.
#[derive(Default)]
pub(super) struct Releases {
    groups: Mutex<HashMap<u32, usize>>,
}

impl Releases {
    /// Refuses what would begin in a group that is being handed over.
    pub fn refuse(&self, group: u32) -> Result<(), Failed> {
        match self.groups.lock().contains_key(&group) {
            true => Err(Failed::NotLeader { leader: None }),
            false => Ok(()),
        }
    }

    fn begin(self: &Arc<Self>, group: u32) -> Released {
        *self.groups.lock().entry(group).or_default() += 1;
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
        if let Some(count) = groups.get_mut(&self.group) {
            *count -= 1;
            if *count == 0 {
                groups.remove(&self.group);
            }
        }
    }
}

impl Actors {
    /// Ends all actors of a group: calls under way may finish within `Config::release_wait`, and what they wrote is
    /// committed. No call enters an actor of the group here until what this returns is dropped.
    pub async fn release(&self, group: u32) -> Released {
        let until = Instant::now() + self.inner.config.release_wait;
        loop {
            while Instant::now() < until && self.inner.live_of(group).iter().any(|(_, _, live)| is_long(live)) {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            let released = self.inner.releases.begin(group);
            let ending = self.inner.live_of(group);
            let last = Instant::now() >= until;
            let moment = if last { LAST_MOMENT } else { MOMENT };
            futures::future::join_all(ending.iter().map(|(_, _, live)| live.drain(moment))).await;
            let quiet = ending.iter().all(|(_, _, live)| live.oldest_call().is_none());
            if quiet || last {
                for (id, serial, live) in ending {
                    live.end(error::unavailable("the actor's group is handed over to another node", Outcome::Unknown));
                    self.inner.forget(id, serial);
                }
                return released;
            }
        }
    }
}

impl HandOver for Actors {
    fn release(&self, group: u32) -> BoxFuture<'static, Box<dyn Send>> {
        let actors = self.clone();
        Box::pin(async move { Box::new(actors.release(group).await) as Box<dyn Send> })
    }
}

fn is_long(live: &Arc<Live>) -> bool {
    live.oldest_call().is_some_and(|began| began.elapsed() > LONG)
}
