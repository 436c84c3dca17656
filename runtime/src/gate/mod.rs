//! Input gate: decides when an event may enter an actor, so that an `await` of storage is not a place where the
//! actor's state can change behind the program's back.
//!
//! ```text
//!  completion ──wait(section)──> [waiters] ──next()──> (lock, item): one turn of JavaScript
//!                                                          │ starts a storage call: lock_again(&lock)
//!                                                          └ turn is over: release(lock)
//! ```
//!
//! The gate is a plain data structure: it holds no clock, no task, no V8. Its owner, the actor's event loop, hands
//! every completion to it, runs what it lets in, and gives locks back.
//!
//! Promises:
//! * While a lock exists nothing that came through [`InputGate::wait`] enters.
//! * Waiters of one section enter in the order they came.
//! * While a section runs, only what belongs to it, or to a section inside it, enters.
//! * A broken gate stays broken, and lets nothing in.

mod door;
mod input;
mod section;

#[cfg(test)]
mod door_test;
#[cfg(test)]
mod input_test;
#[cfg(test)]
mod section_test;

pub(crate) use door::{Door, Pass};
pub(crate) use section::Section;

/// Sections inside sections: `blockConcurrencyWhile` or `transaction` called inside one another.
pub(crate) const SECTION_DEPTH_MAX: u32 = 64;

/// How long a section may run before the actor is reset. A section that waits for something that began outside of it
/// waits for ever, because the outside waits for the section.
pub(crate) const SECTION_TIMEOUT_MS: u64 = 30_000;
