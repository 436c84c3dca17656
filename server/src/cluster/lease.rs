//! `Lease`: whether this node's knowledge of the registry is fresh enough to start anything new.
//!
//! The node asks the leader of the system group again and again for the newest revision, waits until it acts on that
//! revision, and remembers when it *began* to ask: all that was written before then it knows. The lease runs from that
//! moment, so a deploy that was written at some time is known to every node that still starts anything a lease later.
//! Time goes on while the process is stopped and while the machine sleeps.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::config::ms;
use super::error::Stale;
use crate::clock::Moment;

/// When the registry was last confirmed, and what acts on it.
pub(super) struct Lease {
    lease_ms: u64,
    confirmed: Mutex<Confirmed>,
    /// For each part of the node that acts on the registry: the revision it acts on.
    followers: Mutex<Vec<watch::Receiver<u64>>>,
}

#[derive(Default)]
struct Confirmed {
    at: Option<Moment>,
    /// When the last part was added that has to reach a revision: what began before did not wait for it.
    since: Option<Moment>,
}

/// A part of the node that acts on the registry, and has to say how far it is.
pub struct Follower {
    reached: watch::Sender<u64>,
}

impl Follower {
    /// From now on this part acts on everything up to `revision`, also if nothing in it concerns it.
    pub fn reached(&self, revision: u64) {
        self.reached.send_if_modified(|reached| {
            let newer = revision > *reached;
            *reached = revision.max(*reached);
            newer
        });
    }
}

impl Lease {
    pub fn new(lease_ms: u64) -> Self {
        Self { lease_ms, confirmed: Mutex::default(), followers: Mutex::default() }
    }

    /// Another part of the node that has to reach a revision before it counts. Nothing is confirmed before it has.
    pub fn follower(&self) -> Follower {
        let (reached, followed) = watch::channel(0);
        self.followers.lock().push(followed);
        *self.confirmed.lock() = Confirmed { at: None, since: Some(Moment::now()) };
        Follower { reached }
    }

    /// Waits until all parts act on this revision. A part that ended is not waited for: the node stops then.
    pub async fn all_reach(&self, revision: u64) {
        let followers = self.followers.lock().clone();
        for mut follower in followers {
            drop(follower.wait_for(|reached| *reached >= revision).await);
        }
    }

    /// The revision that all parts act on, of those this node has up to `newest`.
    pub fn acts_on(&self, newest: u64) -> u64 {
        self.followers.lock().iter().map(|follower| *follower.borrow()).fold(newest, u64::min)
    }

    /// All that was written before `began` is known here and acted on.
    pub fn confirm(&self, began: Moment) {
        let mut confirmed = self.confirmed.lock();
        if Some(began) >= confirmed.since {
            confirmed.at = confirmed.at.max(Some(began));
        }
    }

    /// Whether anything new may be started now.
    pub fn check(&self) -> Result<(), Stale> {
        self.check_at(Moment::now())
    }

    fn check_at(&self, now: Moment) -> Result<(), Stale> {
        match self.confirmed.lock().at {
            None => Err(Stale::Starting),
            Some(began) => {
                let age = now.since(began);
                if age < ms(self.lease_ms) { Ok(()) } else { Err(Stale::Lapsed(age.as_millis() as u64)) }
            }
        }
    }

    /// Whether nothing new could be started for so long: since the lease ended, or since there is one.
    pub fn stale_for(&self, time: Duration) -> bool {
        self.stale_for_at(time, Moment::now())
    }

    fn stale_for_at(&self, time: Duration, now: Moment) -> bool {
        let confirmed = self.confirmed.lock();
        let ended = confirmed.at.map(|at| at + ms(self.lease_ms)).or(confirmed.since);
        ended.is_some_and(|ended| now >= ended + time)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn the_lease_runs_from_when_the_question_began_and_never_backwards() {
        let (lease, start) = (Lease::new(3_000), Moment::now());
        assert_eq!(lease.check_at(start), Err(Stale::Starting));
        lease.confirm(start + ms(1_000));
        lease.confirm(start);
        assert_eq!(lease.check_at(start + ms(3_999)), Ok(()));
        assert_eq!(lease.check_at(start + ms(4_000)), Err(Stale::Lapsed(3_000)));
        assert_eq!(lease.check_at(start + ms(9_000)), Err(Stale::Lapsed(8_000)));
    }

    #[test]
    fn a_node_is_stale_for_as_long_as_its_lease_is_over_or_never_began() {
        let lease = Lease::new(3_000);
        assert!(!lease.stale_for_at(ms(0), Moment::now()), "there is nothing to confirm yet");
        let _part = lease.follower();
        let start = Moment::now();
        assert!(lease.stale_for_at(ms(1_000), start + ms(1_000)));
        assert!(!lease.stale_for_at(ms(1_000), start + ms(500)));
        lease.confirm(start + ms(500));
        assert!(!lease.stale_for_at(ms(1_000), start + ms(4_499)));
        assert!(lease.stale_for_at(ms(1_000), start + ms(4_500)));
    }

    #[test]
    fn what_was_confirmed_without_a_part_does_not_count_once_it_is_there() {
        let (lease, before) = (Lease::new(3_000), Moment::now());
        lease.confirm(before);
        while Moment::now() == before {}
        let part = lease.follower();
        assert_eq!(lease.check_at(before), Err(Stale::Starting));
        // Began before the part was there, so it was not waited for.
        lease.confirm(before);
        assert_eq!(lease.check_at(before), Err(Stale::Starting));
        let after = Moment::now();
        lease.confirm(after);
        assert_eq!(lease.check_at(after), Ok(()));
        drop(part);
    }

    #[test]
    fn a_revision_counts_only_when_every_part_acts_on_it() {
        let lease = Lease::new(3_000);
        assert_eq!(lease.acts_on(7), 7);
        assert!(lease.all_reach(7).now_or_never().is_some());
        let (one, two) = (lease.follower(), lease.follower());
        one.reached(7);
        two.reached(6);
        two.reached(5);
        assert_eq!(lease.acts_on(7), 6);
        assert!(lease.all_reach(7).now_or_never().is_none());
        two.reached(7);
        assert!(lease.all_reach(7).now_or_never().is_some());
    }
}
