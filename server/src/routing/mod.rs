//! Actor id to live actor: in this process, or over gRPC on the node that leads its shard.

mod router;

pub use router::Router;
