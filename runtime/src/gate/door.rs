//! `Door`: the input gate as an actor's event loop uses it, with the turn that is going on and the sections' deadlines.
//!
//! ```text
//! loop: arrive(pass, completion)            a completion shows how it may come in
//!       while let Some(item) = enter(now)   one turn: JavaScript starts operations, each takes a pass along
//!           leave()
//! ```
//!
//! The section of an operation is the section of the turn that started it, whichever promise or callback that was. So
//! the gate needs no asynchronous context, and what a section began stays in it until the section ends.
//!
//! Promise: between `enter` and `leave` of one item no other item enters; after `leave`, an item that arrives with a held
//! lock enters before all others.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{
    input::{Broken, InputGate},
    section::{Lock, Section, TooDeep},
};

/// How a completion may come in.
#[derive(Debug)]
pub(crate) enum Pass {
    /// The turn that began it kept the gate shut for it.
    Held(Lock),
    /// It waits until the gate of its section is open.
    Waits(Section),
}

/// The gate of one actor, with what its event loop needs around it.
#[derive(Debug)]
pub(crate) struct Door<T> {
    gate: InputGate<T>,
    /// Lock of the turn that is going on.
    turn: Option<Lock>,
    /// What arrived with a lock.
    held: VecDeque<(Lock, T)>,
    /// When the sections that run expire; the outermost first, so the first is the next.
    deadlines: VecDeque<(Section, Instant)>,
    section_timeout: Duration,
    /// What found the gate broken. It is kept until the isolate ends: dropping a call answers it, and the reason to
    /// answer with is known only by then.
    left: Vec<T>,
}

impl<T> Door<T> {
    /// An open door; a section may run for `section_timeout`.
    pub(crate) fn new(section_timeout: Duration) -> Self {
        Self {
            gate: InputGate::new(),
            turn: None,
            held: VecDeque::new(),
            deadlines: VecDeque::new(),
            section_timeout,
            left: Vec::new(),
        }
    }

    /// Something wants in.
    pub(crate) fn arrive(&mut self, pass: Pass, item: T) {
        match pass {
            Pass::Held(lock) => self.held.push_back((lock, item)),
            Pass::Waits(section) => self.left.extend(self.gate.wait(&section, item).err()),
        }
    }

    /// The next item that may run; its turn goes on until [`Self::leave`].
    pub(crate) fn enter(&mut self, now: Instant) -> Option<T> {
        assert!(self.turn.is_none(), "the turn before must leave first");
        if self.gate.broken().is_some() {
            return None;
        }
        let (lock, item) = match self.held.pop_front() {
            Some(held) => held,
            None => {
                let entry = self.gate.next()?;
                if entry.begins {
                    self.deadlines.push_back((entry.lock.section().clone(), now + self.section_timeout));
                }
                (entry.lock, entry.item)
            }
        };
        self.turn = Some(lock);
        Some(item)
    }

    /// What [`Self::enter`] would let in.
    pub(crate) fn peek(&self) -> Option<&T> {
        if self.turn.is_some() || self.gate.broken().is_some() {
            return None;
        }
        self.held.front().map(|(_, item)| item).or_else(|| self.gate.peek())
    }

    /// The turn is over.
    pub(crate) fn leave(&mut self) {
        let lock = self.turn.take().expect("only a turn leaves");
        self.gate.release(lock);
    }

    /// A pass for an operation that keeps the gate shut until it has come back.
    pub(crate) fn hold(&mut self) -> Pass {
        match &self.turn {
            Some(lock) => Pass::Held(self.gate.lock_again(lock)),
            None => self.wait(),
        }
    }

    /// A pass for an operation during which others may enter.
    pub(crate) fn wait(&self) -> Pass {
        Pass::Waits(self.section())
    }

    /// A pass for an event from outside.
    pub(crate) fn outside(&self) -> Pass {
        Pass::Waits(self.gate.outermost())
    }

    /// The section of the turn that is going on.
    pub(crate) fn section(&self) -> Section {
        self.turn.as_ref().map_or_else(|| self.gate.outermost(), |lock| lock.section().clone())
    }

    /// Asks for a section inside the current one; `item` makes the number of it enter when it runs.
    pub(crate) fn begin(&mut self, item: impl FnOnce(u64) -> T) -> Result<(), TooDeep> {
        let outer = self.section();
        self.gate.begin(&outer, item).map(drop)
    }

    /// Ends the section of that number. Gives the pass with which the code around it goes on; `None` when it does not run.
    pub(crate) fn end(&mut self, id: u64) -> Option<Pass> {
        let at = self.deadlines.iter().position(|(section, _)| section.id() == id)?;
        let (section, _) = self.deadlines.remove(at)?;
        self.gate.succeed(&section).map(Pass::Held)
    }

    /// Breaks the gate for good.
    pub(crate) fn fail(&mut self, reason: impl Into<String>) {
        self.left.extend(self.gate.fail(reason));
        self.deadlines.clear();
    }

    /// Breaks the gate if a section runs for too long.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<&Broken> {
        let (section, when) = self.deadlines.front()?;
        if *when > now {
            return None;
        }
        self.left.extend(self.gate.expire(section)?);
        self.deadlines.clear();
        self.gate.broken()
    }

    /// When the next section expires.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadlines.front().map(|(_, when)| *when)
    }

    /// How many items wait to enter.
    pub(crate) fn waiting(&self) -> usize {
        self.held.len() + self.gate.waiting()
    }
}
