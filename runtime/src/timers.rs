//! Timers of one isolate, ordered by when they are due and then by when they were set.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use crate::gate::Section;

/// Timers one isolate may have set.
pub(crate) const TIMERS_MAX: usize = 10_000;
/// Shortest period of a repeating timer.
const PERIOD_MIN: Duration = Duration::from_millis(1);

/// A timer that was set.
#[derive(Clone)]
pub(crate) struct Timer {
    /// What to call.
    pub(crate) handler: v8::Global<v8::Function>,
    /// Continuation-preserved embedder data of the code that set it.
    pub(crate) continuation: v8::Global<v8::Value>,
    /// Period of a repeating timer.
    pub(crate) period: Option<Duration>,
    /// Section of an actor's code that set it; none in a Worker.
    pub(crate) section: Option<Section>,
}

/// All timers of an isolate.
#[derive(Default)]
pub(crate) struct Timers {
    last_id: u32,
    due: BTreeMap<(Instant, u32), Timer>,
    when: HashMap<u32, Instant>,
    /// Timers whose time has come and that have not fired: an actor's wait at its input gate.
    ready: HashMap<u32, Timer>,
}

impl Timers {
    /// Sets a timer; `None` when there are too many.
    pub(crate) fn set(&mut self, delay: Duration, mut timer: Timer) -> Option<u32> {
        if self.due.len() + self.ready.len() >= TIMERS_MAX {
            return None;
        }
        timer.period = timer.period.map(|period| period.max(PERIOD_MIN));
        self.last_id += 1;
        self.insert(self.last_id, Instant::now() + delay, timer);
        Some(self.last_id)
    }

    fn insert(&mut self, id: u32, when: Instant, timer: Timer) {
        self.due.insert((when, id), timer);
        self.when.insert(id, when);
    }

    /// Forgets a timer.
    pub(crate) fn clear(&mut self, id: u32) {
        if let Some(when) = self.when.remove(&id) {
            self.due.remove(&(when, id));
        }
        self.ready.remove(&id);
    }

    /// When the next timer is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.first_key_value().map(|((when, _), _)| *when)
    }

    /// The first timer that is due at `now`, ready to fire. Until it does it can still be cleared.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<(u32, Option<Section>)> {
        let ((when, id), _) = self.due.first_key_value()?;
        let (when, id) = (*when, *id);
        if when > now {
            return None;
        }
        let timer = self.due.remove(&(when, id))?;
        self.when.remove(&id);
        let section = timer.section.clone();
        self.ready.insert(id, timer);
        Some((id, section))
    }

    /// A timer that is ready fires, unless it was cleared meanwhile; a repeating one is set anew.
    pub(crate) fn take_ready(&mut self, id: u32, now: Instant) -> Option<Timer> {
        let timer = self.ready.remove(&id)?;
        if let Some(period) = timer.period {
            self.insert(id, now + period, timer.clone());
        }
        Some(timer)
    }
}
