//! Actor id to live actor: in this process, or over gRPC on the node that leads its shard.

mod ids;

pub use ids::{IdError, Ids, NAME_BYTES_MAX};
