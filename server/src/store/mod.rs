//! Storage on disk: the write-ahead log, the applied state, snapshot files. Only this room touches files, through `Vfs`.

pub mod vfs;
pub mod wal;
pub mod octets;
pub mod snapshot;
pub mod state;
mod record;

pub use record::{DestroyReason, Header, HeaderOrTombstone, KeyShare, RecordId, Tombstone};
