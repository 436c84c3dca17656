//! Snapshot files: the state of one group at one applied position, in one verified file.
//!
//! ```text
//! head   magic 8 | version u32 | bytes u32 | postcard(Head) | crc u32
//! block  bytes u32 | entries u32 | crc u32 | entries * (key bytes u16, value bytes u32, key, framed value)
//! ...
//! foot   bytes 0 u32 | magic 8 | blocks u64 | entries u64 | bytes of all blocks u64 | digest 16 | crc u32
//! ```
//!
//! Integers are little-endian; every crc is a CRC-32 over what stands before it in its part. The digest is the sum of
//! the values' checksums. Keys ascend through the whole file, so a block can be neither lost nor repeated.
//!
//! A file is written under a temporary name, synced, read back and compared, renamed, and its directory synced, before
//! anybody hears of it. So a name without `.tmp` is a file that was whole once.

mod dir;
mod format;
mod reader;
mod transfer;
mod writer;

pub use dir::{Dir, Found};
pub use format::Head;
pub use reader::Reader;
pub use transfer::{Checked, Incoming, Outgoing};
pub use writer::Writer;

#[cfg(test)]
mod tests;
