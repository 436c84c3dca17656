//! The Lethe node. Each room may use only those listed below it.

pub mod cli;
pub mod node;
pub mod worker;
pub mod gateway;
pub mod grpc;
pub mod routing;
pub mod actor;
pub mod deploy;
pub mod cluster;
pub mod egress;
pub mod shard;
pub mod vault;
pub mod peer;
pub mod store;
pub mod clock;
mod journal;
#[cfg(feature = "liar")]
pub mod lies;
