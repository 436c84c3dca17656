//! Lethe's wire protocol: the types that cross process boundaries, and nothing that acts.

mod id;

pub use id::{ActorId, InvalidActorId};
