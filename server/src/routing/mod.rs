//! Actor id to live actor: in this process, or on the node that leads its group.
//!
//! ```text
//! call ── Homes: which group, who leads it? ── here ──> Actors
//!            ▲                                └─ there ─> Places: the node's `Actors` service
//!            └── not the leader, or surely nothing done: the hint, then the other replicas, then a pause
//! ```

mod again;
mod router;

#[cfg(test)]
mod tests;

pub use router::{Places, Router};
