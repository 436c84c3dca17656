//! The cluster as its users see it, and its decisions as pure functions.

mod plan;
mod world;
