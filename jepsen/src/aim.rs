//! What the nemesis aims at, shared with the clients: one actor that a team uses, and the node that leads its group.
//!
//! ```text
//!   team, first half ──┐                                ┌── team, second half: held still, then let go
//!   witnesses ─────────┴─> victim    ╳   other nodes <──┘   once another node leads
//!         (calls, or reads only)               (calls)
//! ```
//!
//! Half of the witnesses are held too, until a change was answered elsewhere; of a victim that will stand still, everybody.
//!
//! A stale answer takes a leader that is gone for the others, clients that still talk to it, and a newer write that the
//! others answered: chance alone hardly ever brings the three together. Nothing here waits for a time to pass; stages
//! change when clients were answered. A write that the victim can never commit keeps all its later replies at its output
//! gate, so every other time nobody writes there once it is hit.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;

/// Workers that share an actor.
pub const TEAM: usize = 4;
/// Clients that do nothing but read what is aimed at.
pub const WITNESSES: usize = 4;

/// What clients of the chosen actor do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// All of them call, through the victim or through others as they stand.
    Call,
    /// Those who call through others make no new call: it would end up at the victim, and wait there.
    Hold,
    /// Another node leads: all of them call, and what the others are answered is newer than what the victim knows.
    Overtake,
}

/// What was seen through the sights since they were raised.
#[derive(Debug, Default)]
pub struct Tally {
    /// Calls that the victim answered.
    pub at_victim: AtomicU64,
    /// Changes that were asked for in [`Stage::Overtake`] and answered by other nodes.
    pub overtaken: AtomicU64,
    /// Reads that the victim was asked for after the first of these changes.
    pub asked: AtomicU64,
    /// Those of them that have ended in whatever way.
    pub witnessed: AtomicU64,
    /// Calls under way that nobody begins in [`Stage::Hold`].
    pub busy: AtomicU64,
}

/// The actor and the node.
#[derive(Clone, Debug)]
pub struct Aim {
    /// The team that uses the actor.
    pub team: usize,
    /// Its name.
    pub actor: String,
    /// Where the victim stands in the list of addresses.
    pub victim: usize,
    /// Nobody writes through the victim after [`Stage::Call`].
    pub quiet: bool,
    /// The victim will stand still: nobody asks it anything from [`Stage::Hold`] until it was overtaken.
    pub still: bool,
    /// What clients do.
    pub stage: Stage,
    /// What they saw.
    pub tally: Arc<Tally>,
}

/// Through which node a worker has to call.
#[derive(Clone, Debug)]
pub enum Post {
    /// Through any.
    Free,
    /// Through the victim.
    Victim(Aim),
    /// Only reads, through the victim.
    Reads(Aim),
    /// Through any other.
    Others(Aim),
    /// Through none, for now.
    Hold,
}

/// A read of a witness.
#[derive(Debug)]
pub struct Look {
    /// What is read, and where.
    pub aim: Aim,
    overtaken: bool,
    /// It is among those that are waited for before the victim is hit.
    busy: bool,
}

impl Look {
    /// Takes note that the read has ended in whatever way.
    pub fn end(self) {
        self.aim.tally.witnessed.fetch_add(u64::from(self.overtaken), Ordering::SeqCst);
        self.aim.tally.busy.fetch_sub(u64::from(self.busy), Ordering::SeqCst);
    }
}

/// The sights: raised by the nemesis, watched by clients.
#[derive(Debug)]
pub struct Sights {
    aim: watch::Sender<Option<Aim>>,
}

/// Actors in use, of whatever class.
pub trait Actors: Sync {
    /// Gives a team a new actor that it keeps until it is let go.
    fn keep(&self, team: usize) -> String;

    /// The team's actor is replaced in its time again.
    fn let_go(&self, team: usize);
}

impl Default for Sights {
    fn default() -> Self {
        Self { aim: watch::Sender::new(None) }
    }
}

impl Sights {
    /// From now on clients of this actor stand where they are wanted. A victim that will stand still is quiet too.
    pub fn raise(&self, team: usize, actor: &str, victim: usize, quiet: bool, still: bool) -> Arc<Tally> {
        let tally = Arc::<Tally>::default();
        let (actor, stage) = (actor.to_owned(), Stage::Call);
        let aim = Aim { team, actor, victim, quiet: quiet || still, still, stage, tally: Arc::clone(&tally) };
        self.aim.send_replace(Some(aim));
        tally
    }

    /// The next stage.
    pub fn stage(&self, stage: Stage) {
        self.aim.send_modify(|aim| {
            if let Some(aim) = aim {
                aim.stage = stage;
            }
        });
    }

    /// Nobody is aimed at.
    pub fn lower(&self) {
        self.aim.send_replace(None);
    }

    /// What a witness reads now, if anything. Half of them ask nothing from when others are held until the victim was
    /// overtaken, and none of them if it will stand still: it finds what they ask then when it goes on, and an old answer to
    /// that is stale, while what it was asked before may be answered with what was true then, and stands before it in the
    /// actor's mailbox.
    pub fn look(&self, witness: usize) -> Option<Look> {
        // Decided and counted under the lock that a change of the stage takes, as in `post`.
        let aim = self.aim.borrow();
        let aim = aim.as_ref()?;
        let fresh = aim.still || witness % WITNESSES >= WITNESSES / 2;
        let overtaken = aim.is_overtaken();
        if fresh && aim.stage != Stage::Call && !overtaken {
            return None;
        }
        let busy = fresh && aim.stage == Stage::Call;
        aim.tally.busy.fetch_add(u64::from(busy), Ordering::SeqCst);
        aim.tally.asked.fetch_add(u64::from(overtaken), Ordering::SeqCst);
        Some(Look { aim: aim.clone(), overtaken, busy })
    }

    /// Where a worker stands now. One that gets [`Post::Others`] or [`Post::Victim`] says so when its call is over, to
    /// [`Aim::free`] or [`Aim::free_at_victim`].
    pub fn post(&self, worker: usize) -> Post {
        // Decided and counted under the lock that a change of the stage takes, so that who is held is not busy.
        let aim = self.aim.borrow();
        let Some(aim) = aim.as_ref().filter(|aim| aim.team == worker / TEAM) else { return Post::Free };
        let at_victim = worker % TEAM < TEAM / 2;
        match (at_victim, aim.stage) {
            (true, Stage::Hold | Stage::Overtake) if aim.still && !aim.is_overtaken() => return Post::Hold,
            (true, Stage::Hold | Stage::Overtake) if aim.quiet => return Post::Reads(aim.clone()),
            (false, Stage::Hold) => return Post::Hold,
            (true, _) if !aim.quiet => {}
            _ => drop(aim.tally.busy.fetch_add(1, Ordering::SeqCst)),
        }
        if at_victim { Post::Victim(aim.clone()) } else { Post::Others(aim.clone()) }
    }
}

impl Aim {
    /// Takes note that a call through the victim is over, and whether it was answered.
    pub fn free_at_victim(&self, answered: bool) {
        self.tally.at_victim.fetch_add(u64::from(answered), Ordering::SeqCst);
        self.tally.busy.fetch_sub(u64::from(self.quiet), Ordering::SeqCst);
    }

    /// Takes note that a call through another node is over, and whether it was answered and changed the actor.
    pub fn free(&self, changed: bool) {
        let overtakes = changed && self.stage == Stage::Overtake;
        self.tally.overtaken.fetch_add(u64::from(overtakes), Ordering::SeqCst);
        self.tally.busy.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether a change that the victim does not know was answered.
    pub fn is_overtaken(&self) -> bool {
        self.tally.overtaken.load(Ordering::SeqCst) > 0
    }
}

/// Waits until a count is reached; `false` if that takes longer than `time_max`.
pub async fn reaches(count: &AtomicU64, at_least: u64, time_max: Duration) -> bool {
    holds(|| count.load(Ordering::SeqCst) >= at_least, time_max).await
}

/// Waits until something holds; `false` if that takes longer than `time_max`.
pub async fn holds(condition: impl Fn() -> bool, time_max: Duration) -> bool {
    const POLL: Duration = Duration::from_millis(5);
    let until = Instant::now() + time_max;
    while !condition() {
        if Instant::now() > until {
            return false;
        }
        tokio::time::sleep(POLL).await;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_team_stands_at_the_victim_and_the_other_half_can_be_held() {
        let sights = Sights::default();
        assert!(matches!(sights.post(5), Post::Free));
        let tally = sights.raise(1, "a1-2", 2, false, false);
        assert!(matches!(sights.post(3), Post::Free), "of another team");
        assert!(matches!(sights.post(5), Post::Victim(aim) if aim.victim == 2 && aim.actor == "a1-2"));
        let Post::Others(aim) = sights.post(6) else { panic!("it is not held yet") };
        sights.stage(Stage::Hold);
        assert!(matches!(sights.post(6), Post::Hold));
        assert_eq!(tally.busy.load(Ordering::SeqCst), 1, "who was held is not busy");
        aim.free(true);
        assert_eq!(tally.overtaken.load(Ordering::SeqCst), 0, "nobody else led when that was asked");
        sights.stage(Stage::Overtake);
        let Post::Others(aim) = sights.post(7) else { panic!("it is let go") };
        aim.free(true);
        assert!(aim.is_overtaken());
        assert_eq!(tally.busy.load(Ordering::SeqCst), 0);
        sights.lower();
        assert!(matches!(sights.post(5), Post::Free));
    }

    #[test]
    fn nobody_writes_through_a_victim_that_is_to_be_quiet() {
        let sights = Sights::default();
        let tally = sights.raise(0, "a0-1", 0, true, false);
        let Post::Victim(aim) = sights.post(1) else { panic!("nothing has happened yet") };
        sights.stage(Stage::Hold);
        assert!(matches!(sights.post(1), Post::Reads(_)));
        assert_eq!(tally.busy.load(Ordering::SeqCst), 1, "a write may be under way");
        aim.free_at_victim(true);
        assert_eq!((tally.busy.load(Ordering::SeqCst), tally.at_victim.load(Ordering::SeqCst)), (0, 1));
        sights.stage(Stage::Overtake);
        assert!(matches!(sights.post(0), Post::Reads(_)));
        assert!(matches!(sights.post(2), Post::Others(_)));
    }

    #[test]
    fn half_of_the_witnesses_ask_nothing_between_the_hit_and_the_first_change_elsewhere() {
        let sights = Sights::default();
        assert!(sights.look(0).is_none());
        let tally = sights.raise(0, "a0-1", 0, true, false);
        let all = || (0..WITNESSES).filter_map(|witness| sights.look(witness)).collect::<Vec<_>>();
        let early = all();
        assert_eq!(early.len(), WITNESSES);
        assert_eq!(tally.busy.load(Ordering::SeqCst), 2, "those that will be held are waited for");
        sights.stage(Stage::Hold);
        assert_eq!(all().len(), 2);
        early.into_iter().for_each(Look::end);
        sights.stage(Stage::Overtake);
        assert_eq!(all().len(), 2, "nothing has changed yet");
        let Post::Others(aim) = sights.post(2) else { panic!("it is let go") };
        aim.free(true);
        assert_eq!(tally.asked.load(Ordering::SeqCst), 0);
        let late = all();
        assert_eq!((late.len(), tally.asked.load(Ordering::SeqCst)), (WITNESSES, 4));
        late.into_iter().for_each(Look::end);
        assert_eq!((tally.witnessed.load(Ordering::SeqCst), tally.busy.load(Ordering::SeqCst)), (4, 0));
    }

    #[test]
    fn a_victim_that_stands_still_is_asked_by_nobody_until_it_was_overtaken_and_then_by_all_who_read() {
        let sights = Sights::default();
        let tally = sights.raise(0, "a0-1", 0, false, true);
        let Post::Victim(aim) = sights.post(0) else { panic!("nothing has happened yet") };
        let look = sights.look(0).expect("nothing has happened yet");
        sights.stage(Stage::Hold);
        assert_eq!(tally.busy.load(Ordering::SeqCst), 2, "both are waited for");
        aim.free_at_victim(true);
        look.end();
        assert_eq!(tally.busy.load(Ordering::SeqCst), 0);
        sights.stage(Stage::Overtake);
        assert!(matches!(sights.post(0), Post::Hold) && sights.look(0).is_none());
        let Post::Others(aim) = sights.post(2) else { panic!("it is let go") };
        aim.free(true);
        assert!(matches!(sights.post(0), Post::Reads(_)) && sights.look(0).is_some());
    }
}
