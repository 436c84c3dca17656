//! The applied state of this node's shards. Only this room names sled.
//!
//! ```text
//! Store     the databases under `state/`, a few groups in each
//!   Group   one shard's state: reads, and how far the log is applied
//!     Txn   changes that become visible in one batch with the applied position
//!     Scan  the group as of one position, while commits go on, for a snapshot
//!     Loader replaces the group as a whole, from a snapshot
//! ```
//!
//! Nothing here is the only copy: the write-ahead log and the snapshot files can make all of it again.

mod audit;
mod digest;
mod engine;
mod error;
mod group;
mod key;
mod life;
mod load;
mod mark;
mod open;
mod reclaim;
mod registry;
mod scan;
mod txn;
mod verify;

#[cfg(test)]
mod tests;

pub use audit::Audit;
pub use digest::Digest;
pub use engine::{CHUNK_BYTES, Config};
pub use error::Error;
pub use group::Group;
pub use key::{Key, RecordSet};
pub use life::{Actor, Life};
pub use load::Loader;
pub use mark::{Mark, Position};
pub use open::Store;
pub use registry::{NAME_BYTES_MAX, REGISTRY_BYTES_MAX, RegistryEntry, RegistryPage, VALUE_BYTES_MAX};
pub use scan::{Scan, Slice};
pub use txn::Txn;
