//! The applied state of this node's shards. Only this room names lsm-tree.
//!
//! ```text
//! Store     the directories under `state/`, one for each group
//!   Group   one shard's state: reads, and how far the log is applied
//!     Txn   changes that become visible in one batch with the applied position
//!     Scan  the group as of one position, while commits go on, for a snapshot
//!     Loader replaces the group as a whole, from a snapshot
//! ```
//!
//! Nothing here is the only copy: the write-ahead log and the snapshot files can make all of it again.

mod audit;
mod digest;
mod error;
mod group;
mod key;
mod life;
mod live;
mod load;
mod mark;
mod memtable;
mod open;
mod reclaim;
mod registry;
mod scan;
mod tree;
mod txn;
mod verify;

#[cfg(test)]
mod tests;

pub use audit::Audit;
pub use digest::Digest;
pub use error::Error;
pub use group::Group;
pub use key::{Key, RecordSet};
pub use life::{Actor, Life};
pub use load::Loader;
pub use mark::{Mark, Position};
pub use open::Store;
pub use registry::{NAME_BYTES_MAX, REGISTRY_BYTES_MAX, RegistryEntry, RegistryPage, VALUE_BYTES_MAX};
pub use scan::{Scan, Slice};
pub use tree::{CHUNK_BYTES, Config};
pub use txn::Txn;
