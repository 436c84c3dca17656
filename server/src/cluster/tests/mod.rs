//! The cluster as its users see it, and its decisions as pure functions.

mod alone;
mod fleet;
mod life;
mod model;
mod plan;
mod steps;
pub(super) mod world;
