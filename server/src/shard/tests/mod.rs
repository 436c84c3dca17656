//! The shard as its users see it, over real files.

mod faults;
mod fence;
mod gather;
mod golden;
pub(crate) mod net;
mod chaos;
pub(crate) mod fleet;
mod lease;
mod lives;
mod many;
mod membership;
mod partition;
mod power;
mod pressure;
mod registry;
mod replay;
mod replication;
mod restart;
mod snapshots;
mod suite;
pub(crate) mod world;
