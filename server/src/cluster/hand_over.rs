//! Hand-overs that are under way, and what they are asked for meanwhile.
//!
//! A hand-over waits for calls, so what it is good for may pass while it does: the node that was to lead dies or stops,
//! this node is fresh again, its disk has room, the group is to be somewhere else. `Wanted` is what the control loop wants
//! now. Whoever ends calls for a hand-over asks right before, so that none is cut off for one that cannot happen.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use lethe_proto::NodeId;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// A hand-over that has not been wanted for so long is given up. In between it waits: reports come and go.
const GIVEN_UP: Duration = Duration::from_secs(1);

/// What becomes of a hand-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// It goes on.
    Go(Patience),
    /// It cannot be done now, but that may pass: nobody is disturbed for it.
    Hold,
    /// It is not wanted any more.
    GiveUp,
}

/// How long calls under way may hold a hand-over up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// The group is served until then, so calls have the time that is configured.
    Planned,
    /// The group takes no calls, or no writes: its other actors wait for the next leader.
    Urgent,
}

/// Asked for as long as the hand-over waits.
pub type Asked = Arc<dyn Fn() -> Wish + Send + Sync>;

/// Moves the actors of a group out of the way before another node leads it.
pub trait HandOver: Send + Sync + 'static {
    /// Lets calls under way end, and takes no new ones as long as what it returns lives, which has one of the turns.
    /// Many groups wait for the end of calls at once; few are without service. None if it was given up.
    fn release(&self, group: u32, turns: Arc<Semaphore>, asked: Asked) -> BoxFuture<'static, Option<Box<dyn Send>>>;
}

/// Where a group's leadership is to go, as long as it is to go anywhere.
pub(super) struct Wanted(Mutex<Target>);

struct Target {
    to: NodeId,
    patience: Patience,
    /// Since when the group is not to be handed over.
    unwanted: Option<Instant>,
}

impl Wanted {
    pub fn new(to: NodeId, patience: Patience) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Target { to, patience, unwanted: None })))
    }

    /// It is wanted now, and maybe to another node than before.
    pub fn want(&self, to: NodeId, patience: Patience) {
        *self.0.lock() = Target { to, patience, unwanted: None };
    }

    /// It is not wanted now.
    pub fn unwant(&self, now: Instant) {
        self.0.lock().unwanted.get_or_insert(now);
    }

    /// Who is to lead, if anybody.
    pub fn to(&self) -> Option<NodeId> {
        let target = self.0.lock();
        target.unwanted.is_none().then_some(target.to)
    }

    /// What is to be done. `able` says whether a node could lead now.
    pub fn wish(&self, now: Instant, able: impl FnOnce(NodeId) -> bool) -> Wish {
        let (to, patience, unwanted) = {
            let target = self.0.lock();
            (target.to, target.patience, target.unwanted)
        };
        match unwanted {
            Some(since) if now.saturating_duration_since(since) >= GIVEN_UP => Wish::GiveUp,
            Some(_) => Wish::Hold,
            None if able(to) => Wish::Go(patience),
            None => Wish::Hold,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hand_over_waits_while_its_target_cannot_lead_and_is_given_up_when_it_was_not_wanted_for_long_enough() {
        let start = Instant::now();
        let wanted = Wanted::new(NodeId::from(2), Patience::Planned);
        let two_leads = |node| node == NodeId::from(2);
        assert_eq!(wanted.wish(start, two_leads), Wish::Go(Patience::Planned));
        wanted.want(NodeId::from(3), Patience::Urgent);
        assert_eq!((wanted.wish(start, two_leads), wanted.to()), (Wish::Hold, Some(NodeId::from(3))));
        assert_eq!(wanted.wish(start, |_| true), Wish::Go(Patience::Urgent));
        wanted.unwant(start);
        wanted.unwant(start + GIVEN_UP / 2);
        assert_eq!((wanted.wish(start, |_| true), wanted.to()), (Wish::Hold, None));
        assert_eq!(wanted.wish(start + GIVEN_UP, |_| true), Wish::GiveUp);
        wanted.want(NodeId::from(2), Patience::Planned);
        assert_eq!(wanted.wish(start + GIVEN_UP, two_leads), Wish::Go(Patience::Planned));
    }
}
