//! Which nodes there are, where groups live, and which keys they have.

mod even;
pub mod keys;
mod map;
mod plan;
mod record;

pub use keys::Keys;
pub use map::{Map, Record, SYSTEM, Unreadable};
pub use record::{Charter, Member, Placement, Replica, SLOTS, State};

#[cfg(test)]
mod tests;
