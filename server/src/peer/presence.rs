//! `Presence`: the last sign of life of a node, which all connections to it share.
//!
//! A node that was away is found again by one of its connections, or comes by itself. What the others know of it is old
//! then: without this, each of them would be refused until its own pause is over, and a node to which some messages get
//! through and others do not looks as if it could lead.

use std::time::Instant;

use parking_lot::Mutex;

/// When a node was last found to be there.
#[derive(Debug, Default)]
pub(super) struct Presence(Mutex<Option<Instant>>);

impl Presence {
    /// It is there.
    pub fn shown(&self) {
        *self.0.lock() = Some(Instant::now());
    }

    /// Whether it was there after this moment.
    pub fn since(&self, moment: Instant) -> bool {
        self.0.lock().is_some_and(|shown| shown > moment)
    }
}
