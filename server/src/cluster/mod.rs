//! Which nodes there are, where groups live, which keys they have, and whether this node's knowledge of it is fresh.
//!
//! ```text
//!  registry (system group, on every node) ──follow──> Map ──plan, govern──> registry     leader of the system group
//!                                                      │
//!                                                      └──steps──> replicas, members, leaders     every node
//!  other nodes <──pulse──> Contacts: reports, who is reachable, who is well
//! ```

mod acting;
mod addresses;
mod answers;
mod config;
mod contacts;
mod control;
mod enter;
mod error;
mod even;
mod follow;
mod fullness;
mod govern;
mod hand_over;
mod handle;
pub mod keys;
mod lease;
mod map;
mod message;
mod operate;
mod pause;
mod plan;
mod pulse;
mod record;
mod registry;
mod renew;
mod status;
mod steps;

pub use config::{Addresses, Announce, Begin, Config, Deps, KeyState};
pub use error::{Error, Stale, WriteError};
pub use hand_over::{Asked, HandOver, Patience, Wish};
pub use handle::{Cluster, Home};
pub use keys::Keys;
pub use lease::Follower;
pub use map::{Map, Record, SYSTEM, Unreadable};
pub(crate) use pause::Pause;
pub use record::{Charter, GROUPS_MAX, Member, Placement, Replica, State};
pub use registry::{Entry, Registry};
pub use status::{GroupStatus, NodeStatus, ReplicaStatus, Status};

#[cfg(test)]
mod tests;
