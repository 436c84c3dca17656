//! `InputGate`: who may enter an actor now.
//!
//! Sections that run form a chain: one starts only when nothing holds a lock in the section around it, and then keeps a
//! lock there itself. So the chain is a stack, and only its innermost section can let anybody in.

use std::collections::VecDeque;

use super::{
    SECTION_DEPTH_MAX,
    section::{Lock, Section, TooDeep},
};

/// The gate is broken: the actor must be reset. Holds the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Broken(pub(crate) String);

/// What may enter now.
#[derive(Debug, PartialEq)]
pub(crate) struct Entry<T> {
    /// Released by the owner when the turn is over.
    pub(crate) lock: Lock,
    /// What was handed to [`InputGate::wait`] or [`InputGate::begin`].
    pub(crate) item: T,
    /// Whether this entry is the start of a section: `lock.section()` runs from now on.
    pub(crate) begins: bool,
}

/// Input gate of one actor over items of type `T`, usually completions.
#[derive(Debug)]
pub(crate) struct InputGate<T> {
    /// Sections that run, outermost first. Never empty.
    running: Vec<Running<T>>,
    next_id: u64,
    broken: Option<Broken>,
}

/// One section that runs.
#[derive(Debug)]
struct Running<T> {
    section: Section,
    locks: usize,
    /// Sections that want to start in here; they go before `waiters`.
    starting: VecDeque<(Section, T)>,
    waiters: VecDeque<T>,
}

impl<T> Running<T> {
    fn new(section: Section) -> Self {
        Self { section, locks: 0, starting: VecDeque::new(), waiters: VecDeque::new() }
    }
}

impl<T> InputGate<T> {
    /// An open gate.
    pub(crate) fn new() -> Self {
        Self { running: vec![Running::new(Section::outermost())], next_id: 1, broken: None }
    }

    /// The section of everything that begins outside: calls, events.
    pub(crate) fn outermost(&self) -> Section {
        self.running[0].section.clone()
    }

    /// Queues `item`, which began in `section`. Err gives it back when the gate is broken.
    pub(crate) fn wait(&mut self, section: &Section, item: T) -> Result<(), T> {
        if self.broken.is_some() {
            return Err(item);
        }
        let at = self.position(section);
        self.running[at].waiters.push_back(item);
        Ok(())
    }

    /// Queues the start of a new section inside `outer`; [`Self::next`] gives the item back when it starts. `item` gets
    /// the section's id.
    pub(crate) fn begin(&mut self, outer: &Section, item: impl FnOnce(u64) -> T) -> Result<Section, TooDeep> {
        let at = self.position(outer);
        let around = self.running[at].section.clone();
        if around.depth() >= SECTION_DEPTH_MAX {
            return Err(TooDeep);
        }
        let section = Section::inside(&around, self.next_id);
        self.next_id += 1;
        if self.broken.is_none() {
            self.running[at].starting.push_back((section.clone(), item(section.id())));
        }
        Ok(section)
    }

    /// The next item that may enter, if one may. It is inside until its lock is released.
    #[allow(clippy::should_implement_trait)] // An iterator could not be asked again after a `None`.
    pub(crate) fn next(&mut self) -> Option<Entry<T>> {
        if self.broken.is_some() {
            return None;
        }
        let innermost = self.running.last_mut().expect("the outermost section always runs");
        if innermost.locks > 0 {
            return None;
        }
        if let Some((section, item)) = innermost.starting.pop_front() {
            innermost.locks = 1; // Held by the section until it succeeds.
            let mut inner = Running::new(section.clone());
            inner.locks = 1;
            self.running.push(inner);
            return Some(Entry { lock: Lock { section }, item, begins: true });
        }
        let item = innermost.waiters.pop_front()?;
        innermost.locks = 1;
        Some(Entry { lock: Lock { section: innermost.section.clone() }, item, begins: false })
    }

    /// What [`Self::next`] would let in.
    pub(crate) fn peek(&self) -> Option<&T> {
        let innermost = self.running.last().filter(|running| self.broken.is_none() && running.locks == 0)?;
        innermost.starting.front().map(|(_, item)| item).or_else(|| innermost.waiters.front())
    }

    /// A second lock beside `lock`: the gate opens only when both are released.
    pub(crate) fn lock_again(&mut self, lock: &Lock) -> Lock {
        let at = self.position(&lock.section);
        self.running[at].locks += 1;
        Lock { section: self.running[at].section.clone() }
    }

    /// Gives a lock back.
    pub(crate) fn release(&mut self, lock: Lock) {
        let at = self.position(&lock.section);
        let locks = &mut self.running[at].locks;
        *locks = locks.checked_sub(1).expect("a lock is released once");
    }

    /// Ends `section` well. Returns the lock it held around itself, so that whoever waits for the section's result can
    /// go on before anybody else enters. What the section began and has not finished now belongs to the section around
    /// it. `None` when it does not run, or the gate is broken.
    #[must_use = "the lock must be released"]
    pub(crate) fn succeed(&mut self, section: &Section) -> Option<Lock> {
        if self.broken.is_some() || section.depth() == 0 {
            return None;
        }
        let at = self.running.iter().rposition(|running| running.section == *section)?;
        let ended = self.running.remove(at);
        let around = &mut self.running[at - 1];
        around.locks += ended.locks;
        around.starting.extend(ended.starting);
        around.waiters.extend(ended.waiters);
        Some(Lock { section: around.section.clone() })
    }

    /// Breaks the gate for good, for the first reason given. Returns what was waiting; none of it may enter.
    pub(crate) fn fail(&mut self, reason: impl Into<String>) -> Vec<T> {
        if self.broken.is_none() {
            self.broken = Some(Broken(reason.into()));
        }
        let mut left = Vec::new();
        for running in &mut self.running {
            left.extend(running.starting.drain(..).map(|(_, item)| item));
            left.extend(running.waiters.drain(..));
        }
        left
    }

    /// Breaks the gate because `section` ran for longer than `engine::Config::section_timeout_ms`. `None` when it had
    /// ended in time.
    pub(crate) fn expire(&mut self, section: &Section) -> Option<Vec<T>> {
        self.is_running(section).then(|| {
            self.fail(
                "a blockConcurrencyWhile() or transaction() callback waited for too long; \
                 it may be waiting for something that began outside of it",
            )
        })
    }

    /// Whether `section` has started and not ended.
    pub(crate) fn is_running(&self, section: &Section) -> bool {
        self.broken.is_none() && self.running.iter().any(|running| running.section == *section)
    }

    /// Why nothing will ever enter again; `None` while the gate works.
    pub(crate) fn broken(&self) -> Option<&Broken> {
        self.broken.as_ref()
    }

    /// Whether nobody is inside and nobody waits.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.running.len() == 1 && self.running[0].locks == 0 && self.waiting() == 0
    }

    /// How many items wait, in all sections.
    pub(crate) fn waiting(&self) -> usize {
        self.running.iter().map(|running| running.starting.len() + running.waiters.len()).sum()
    }

    /// Index of the innermost running section that `section` stands for.
    fn position(&self, section: &Section) -> usize {
        let mut wanted = section;
        loop {
            if let Some(at) = self.running.iter().rposition(|running| running.section == *wanted) {
                return at;
            }
            wanted = wanted.outer().expect("the outermost section always runs");
        }
    }
}
