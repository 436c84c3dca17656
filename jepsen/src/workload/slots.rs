//! A few hot actors at a time, each used for a number of calls and then replaced by a new one.
//!
//! Few hot actors make calls overlap; replacing them keeps each one's history short enough to be checked to the end.

use std::collections::BTreeMap;

use rand::{Rng, RngExt};

/// Actors in use at the same time.
const SLOTS: usize = 3;

/// The actors of a run.
pub struct Slots<T> {
    calls_max: u32,
    slots: [Slot<T>; SLOTS],
    actors: BTreeMap<String, usize>,
}

#[derive(Default)]
struct Slot<T> {
    generation: u32,
    calls: u32,
    note: T,
}

/// The actor of one call.
pub struct Turn<'a, T> {
    /// Its name.
    pub actor: String,
    /// Which of its calls this is, from 1.
    pub call: u32,
    /// What was noted about it.
    pub note: &'a mut T,
}

impl<T: Default> Slots<T> {
    /// Each actor gets `calls_max` calls.
    pub fn new(calls_max: u32) -> Self {
        Self { calls_max, slots: Default::default(), actors: BTreeMap::new() }
    }

    /// Chooses an actor for the next call.
    pub fn next(&mut self, rng: &mut impl Rng) -> Turn<'_, T> {
        let number = rng.random_range(0..SLOTS);
        let slot = &mut self.slots[number];
        slot.calls += 1;
        if slot.calls > self.calls_max {
            *slot = Slot { generation: slot.generation + 1, calls: 1, note: T::default() };
        }
        let actor = format!("a{number}-{}", slot.generation);
        self.actors.insert(actor.clone(), number);
        Turn { actor, call: slot.calls, note: &mut slot.note }
    }

    /// The notes about the slot of an actor; an actor that was replaced shares them with its successor.
    pub fn note(&mut self, actor: &str) -> Option<&mut T> {
        self.actors.get(actor).map(|number| &mut self.slots[*number].note)
    }

    /// All actors that were chosen.
    pub fn actors(&self) -> Vec<String> {
        self.actors.keys().cloned().collect()
    }
}
