//! Output gate: holds everything an actor says until the batches it rests on are committed.
//!
//! `lock` takes a ticket per batch; `wait` returns when all tickets up to a mark are released. A ticket that fails, or is
//! dropped without being released, breaks the gate for good, and the instance is then dropped.

use std::{collections::BTreeSet, sync::Arc};

use lethe_runtime::host::CallError;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::error;

/// How far a gate has come.
#[derive(Clone, Default)]
struct Progress {
    /// All tickets up to here are released.
    released: u64,
    /// Why nothing will ever leave again.
    broken: Option<CallError>,
}

struct Tickets {
    issued: u64,
    /// Released tickets above `Progress::released`.
    early: BTreeSet<u64>,
}

/// What is done when a gate breaks.
type End = Box<dyn FnOnce(&CallError) + Send>;

/// The gate of one instance.
pub(super) struct OutputGate {
    tickets: Mutex<Tickets>,
    progress: watch::Sender<Progress>,
    end: Mutex<Option<End>>,
}

/// A point in an actor's history: everything locked before it. Later marks compare greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark(u64);

/// Keeps the gate closed until it is released. Dropping it unreleased breaks the gate.
pub(super) struct Ticket {
    gate: Arc<OutputGate>,
    number: u64,
    settled: bool,
}

impl OutputGate {
    pub fn new() -> Arc<Self> {
        let tickets = Mutex::new(Tickets { issued: 0, early: BTreeSet::new() });
        Arc::new(Self { tickets, progress: watch::Sender::new(Progress::default()), end: Mutex::new(None) })
    }

    /// Closes the gate for everything that comes after.
    pub fn lock(self: &Arc<Self>) -> Ticket {
        let mut tickets = self.tickets.lock();
        tickets.issued += 1;
        Ticket { gate: self.clone(), number: tickets.issued, settled: false }
    }

    /// The present point in the actor's history.
    pub fn mark(&self) -> Mark {
        Mark(self.tickets.lock().issued)
    }

    /// Everything locked before this point is released.
    pub fn released(&self) -> Mark {
        Mark(self.progress.borrow().released)
    }

    /// Waits until everything locked before `mark` is released.
    pub async fn wait(&self, mark: Mark) -> Result<(), CallError> {
        #[cfg(feature = "liar")]
        if crate::lies::is_told(crate::lies::Lie::ReleaseBeforeCommit) {
            return self.broken().map_or(Ok(()), Err);
        }
        let mut progress = self.progress.subscribe();
        let reached = progress.wait_for(|p| p.broken.is_some() || p.released >= mark.0).await;
        let reached = reached.expect("the sender lives in self");
        reached.broken.clone().map_or(Ok(()), Err)
    }

    /// Waits until everything locked so far is released.
    pub async fn wait_all(&self) -> Result<(), CallError> {
        self.wait(self.mark()).await
    }

    /// Why the gate is broken; `None` while it works.
    pub fn broken(&self) -> Option<CallError> {
        self.progress.borrow().broken.clone()
    }

    /// Breaks the gate: nothing will ever leave again. The first reason stays.
    pub fn fail(&self, reason: CallError) {
        self.progress.send_if_modified(|p| {
            let first = p.broken.is_none();
            p.broken.get_or_insert(reason);
            first
        });
        self.end_if_broken();
    }

    /// Calls `end` once when the gate breaks, and now if it is broken.
    pub fn when_broken(&self, end: impl FnOnce(&CallError) + Send + 'static) {
        *self.end.lock() = Some(Box::new(end));
        self.end_if_broken();
    }

    fn end_if_broken(&self) {
        let Some(reason) = self.broken() else { return };
        let end = self.end.lock().take();
        if let Some(end) = end {
            end(&reason);
        }
    }

    /// Resolves when the gate breaks.
    pub async fn until_broken(&self) -> CallError {
        let mut progress = self.progress.subscribe();
        let broken = progress.wait_for(|p| p.broken.is_some()).await.expect("the sender lives in self");
        broken.broken.clone().expect("waited for it")
    }

    fn release(&self, number: u64) {
        let mut tickets = self.tickets.lock();
        tickets.early.insert(number);
        self.progress.send_modify(|p| {
            while tickets.early.remove(&(p.released + 1)) {
                p.released += 1;
            }
        });
    }
}

impl Ticket {
    /// What this ticket stood for is committed.
    pub fn release(mut self) {
        self.settled = true;
        self.gate.release(self.number);
    }

    /// What this ticket stood for is lost, or may be.
    pub fn fail(mut self, reason: CallError) {
        self.settled = true;
        self.gate.fail(reason);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.settled {
            self.gate.fail(error::reset("a batch of writes was given up before it was committed"));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn an_unlocked_gate_lets_everything_out() {
        let gate = OutputGate::new();
        assert_eq!(gate.wait_all().now_or_never(), Some(Ok(())));
    }

    #[test]
    fn output_waits_for_earlier_tickets_and_not_for_later_ones() {
        let gate = OutputGate::new();
        let first = gate.lock();
        let mark = gate.mark();
        let _later = gate.lock();
        assert_eq!(gate.wait(mark).now_or_never(), None);
        first.release();
        assert_eq!(gate.wait(mark).now_or_never(), Some(Ok(())));
    }

    #[test]
    fn tickets_released_out_of_order_open_the_gate_in_order() {
        let gate = OutputGate::new();
        let (first, second) = (gate.lock(), gate.lock());
        let mark = gate.mark();
        second.release();
        assert_eq!(gate.wait(mark).now_or_never(), None);
        first.release();
        assert_eq!(gate.wait(mark).now_or_never(), Some(Ok(())));
    }

    #[test]
    fn a_failed_ticket_breaks_the_gate_for_good() {
        let gate = OutputGate::new();
        let (first, second) = (gate.lock(), gate.lock());
        let reason = error::reset("lost");
        second.fail(reason.clone());
        first.release();
        assert_eq!(gate.wait_all().now_or_never(), Some(Err(reason.clone())));
        gate.fail(error::reset("a later reason"));
        assert_eq!(gate.broken(), Some(reason));
    }

    #[test]
    fn who_waits_for_the_end_is_called_once_whether_he_came_before_it_or_after() {
        let gate = OutputGate::new();
        let calls = Arc::new(Mutex::new(Vec::new()));
        let noted = |who: &'static str| {
            let calls = calls.clone();
            move |reason: &CallError| calls.lock().push((who, reason.clone()))
        };
        gate.when_broken(noted("before"));
        assert!(calls.lock().is_empty());
        let reason = error::reset("lost");
        gate.fail(reason.clone());
        gate.fail(error::reset("a later reason"));
        gate.when_broken(noted("after"));
        assert_eq!(*calls.lock(), [("before", reason.clone()), ("after", reason)]);
    }

    #[test]
    fn a_dropped_ticket_breaks_the_gate() {
        let gate = OutputGate::new();
        drop(gate.lock());
        assert!(gate.wait_all().now_or_never().is_some_and(|result| result.is_err()));
    }
}
