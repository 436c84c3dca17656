//! The cluster as its users see it, and its decisions as pure functions.

mod alone;
mod plan;
pub(super) mod world;
