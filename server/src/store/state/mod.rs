//! The applied state of this node's shards.

mod error;

pub use error::Error;
