//! The shard as its users see it, over real files.

mod faults;
mod fence;
mod golden;
pub(crate) mod net;
mod fleet;
mod replication;
mod power;
mod pressure;
mod registry;
mod replay;
mod restart;
mod suite;
mod world;
