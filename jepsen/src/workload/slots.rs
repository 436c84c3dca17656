//! A few hot actors at a time, each used by a team of clients for a number of calls and then replaced by a new one.
//!
//! A team that has its actor to itself makes calls overlap however fast the machine is, and an actor that does not
//! answer keeps only its own team waiting. Replacing actors keeps each history short enough to be checked to the end:
//! an actor is given up after so many calls, and earlier after so many calls of which nobody knows whether they were
//! done, for those may make the checker's work double each.

use std::{collections::BTreeMap, ops::RangeInclusive};

use rand::{Rng, RngExt};

/// How long actors are used. Each gets a length of its own: short lives see many actors, long ones several faults.
#[derive(Clone, Debug)]
pub struct Life {
    /// Calls that an actor gets.
    pub calls: RangeInclusive<u32>,
    /// After so many calls without an answer it is given up.
    pub unanswered_max: u32,
}

/// The actors of a run.
pub struct Slots<T> {
    life: Life,
    /// The actor that each team uses now.
    teams: BTreeMap<usize, Slot<T>>,
    /// Whose each actor is or was.
    actors: BTreeMap<String, usize>,
}

#[derive(Default)]
struct Slot<T> {
    generation: u32,
    calls_left: u32,
    unanswered: u32,
    kept: bool,
    note: T,
}

/// The actor of one call.
pub struct Turn<'a, T> {
    /// Its name.
    pub actor: String,
    /// Calls that it gets after this one, if all goes well.
    pub calls_left: u32,
    /// What was noted about it.
    pub note: &'a mut T,
}

impl<T: Default> Slots<T> {
    /// Actors that live so long.
    pub fn new(life: Life) -> Self {
        Self { life, teams: BTreeMap::new(), actors: BTreeMap::new() }
    }

    /// The actor for the next call of a team.
    pub fn next(&mut self, team: usize, rng: &mut impl Rng) -> Turn<'_, T> {
        let slot = self.teams.entry(team).or_default();
        if !slot.kept && (slot.calls_left == 0 || slot.unanswered >= self.life.unanswered_max) {
            // The first life is a short one: even a slow run then sees an actor from its beginning to its end.
            let calls_left = match slot.generation {
                0 => *self.life.calls.start(),
                _ => rng.random_range(self.life.calls.clone()),
            };
            *slot = Slot { generation: slot.generation + 1, calls_left, ..Slot::default() };
        }
        slot.calls_left -= u32::from(!slot.kept);
        let actor = name(team, slot.generation);
        self.actors.insert(actor.clone(), team);
        Turn { actor, calls_left: slot.calls_left, note: &mut slot.note }
    }

    /// Gives a team a new actor, and lets it keep that one for as many calls as it likes.
    pub fn keep(&mut self, team: usize) -> String {
        let slot = self.teams.entry(team).or_default();
        let (generation, calls_left) = (slot.generation + 1, *self.life.calls.start());
        *slot = Slot { generation, calls_left, kept: true, ..Slot::default() };
        let actor = name(team, generation);
        self.actors.insert(actor.clone(), team);
        actor
    }

    /// The actor that a team keeps is replaced like any other from now on; all its calls are still before it.
    pub fn let_go(&mut self, team: usize) {
        if let Some(slot) = self.teams.get_mut(&team) {
            slot.kept = false;
        }
    }

    /// The notes about an actor that is in use.
    pub fn note(&mut self, actor: &str) -> Option<&mut T> {
        self.slot(actor).map(|slot| &mut slot.note)
    }

    /// Nobody will ever know whether a call of this actor was done.
    pub fn unanswered(&mut self, actor: &str) {
        if let Some(slot) = self.slot(actor) {
            slot.unanswered += 1;
        }
    }

    /// All actors that were chosen.
    pub fn actors(&self) -> Vec<String> {
        self.actors.keys().cloned().collect()
    }

    fn slot(&mut self, actor: &str) -> Option<&mut Slot<T>> {
        let team = *self.actors.get(actor)?;
        self.teams.get_mut(&team).filter(|slot| name(team, slot.generation) == actor)
    }
}

fn name(team: usize, generation: u32) -> String {
    format!("a{team}-{generation}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::StdRng};

    #[test]
    fn an_actor_is_replaced_after_its_calls_or_after_too_many_without_an_answer() {
        let mut slots = Slots::<u32>::new(Life { calls: 3..=3, unanswered_max: 2 });
        let mut rng = StdRng::seed_from_u64(1);
        let mut next = |slots: &mut Slots<u32>, team| {
            let turn = slots.next(team, &mut rng);
            (turn.actor, turn.calls_left)
        };
        for expected in [("a7-1", 2), ("a7-1", 1), ("a7-1", 0), ("a7-2", 2)] {
            assert_eq!(next(&mut slots, 7), (expected.0.to_string(), expected.1));
        }
        // What happened to an actor that is out of use concerns nobody.
        slots.unanswered("a7-1");
        slots.unanswered("a7-2");
        assert_eq!(next(&mut slots, 7).0, "a7-2");
        slots.unanswered("a7-2");
        assert_eq!(next(&mut slots, 7).0, "a7-3");
        assert_eq!(next(&mut slots, 8).0, "a8-1");
        assert_eq!(slots.note("a7-2"), None);
        assert_eq!(slots.note("a7-3"), Some(&mut 0));
        assert_eq!(slots.actors(), ["a7-1", "a7-2", "a7-3", "a8-1"]);
    }
    #[test]
    fn a_kept_actor_is_new_and_outlives_everything_until_it_is_let_go() {
        let mut slots = Slots::<()>::new(Life { calls: 2..=2, unanswered_max: 1 });
        let mut rng = StdRng::seed_from_u64(1);
        assert_eq!(slots.next(0, &mut rng).actor, "a0-1");
        assert_eq!(slots.keep(0), "a0-2");
        for _ in 0..10 {
            slots.unanswered("a0-2");
            let turn = slots.next(0, &mut rng);
            assert_eq!((turn.actor.as_str(), turn.calls_left), ("a0-2", 2));
        }
        slots.let_go(0);
        assert_eq!(slots.next(0, &mut rng).actor, "a0-3", "too much of it is not known");
    }
}
