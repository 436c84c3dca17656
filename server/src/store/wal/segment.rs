//! A segment file: its name, and how one is made ready for use.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    WalConfig,
    frame::{SegmentHeader, VERSION},
};
use crate::store::vfs::{File, Vfs};

const EXTENSION: &str = "wal";

/// An open segment.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Its number, 1 for the first of the log.
    pub number: u64,
    /// Its name.
    pub path: PathBuf,
    /// The file.
    pub file: Arc<dyn File>,
}

/// Name of a segment.
pub fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}.{EXTENSION}"))
}

/// Number in the name of a segment; `None` for other files.
pub fn number(path: &Path) -> Option<u64> {
    if path.extension()? != EXTENSION {
        return None;
    }
    let stem = path.file_stem()?.to_str()?;
    if stem.len() != 16 {
        return None;
    }
    u64::from_str_radix(stem, 16).ok()
}

/// Bytes of a new segment that are written before they are synced. The log's own syncs wait for what is under way, so it
/// is little at a time; `docs/performance.md` has what that is worth.
const SLICE_BYTES: u64 = 1 << 20;

/// Fills a new segment with zeros, in durable slices.
fn fill(file: &dyn File, bytes: u64) -> io::Result<()> {
    for from in (0..bytes).step_by(SLICE_BYTES as usize) {
        file.fill_zero(from, SLICE_BYTES.min(bytes - from))?;
        file.sync_data()?;
    }
    Ok(())
}

/// Makes a segment: zeros first, then the header, everything durable. So a file with a header is complete.
pub fn make(vfs: &dyn Vfs, dir: &Path, number: u64, config: &WalConfig) -> io::Result<Segment> {
    let path = path(dir, number);
    let file = vfs.create(&path)?;
    let header =
        SegmentHeader { version: VERSION, node: config.node, segment: number, bytes: config.segment_bytes }.encode();
    let filled = fill(&*file, config.segment_bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| file.write_all_at(&header, 0))
        .and_then(|()| file.sync_all());
    if let Err(error) = filled {
        if is_full(&error) {
            vfs.remove(&path)?;
        }
        return Err(error);
    }
    vfs.sync_dir(dir)?;
    Ok(Segment { number, path, file })
}

/// Whether an error only says that there is no space.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
