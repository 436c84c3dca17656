//! `Vfs`: the one door to files, small enough that a test can stand behind it and cut the power at every call.
//!
//! All calls are synchronous; callers own the thread they block. Nothing is durable before `sync_data`, `sync_all`
//! (contents of a file) or `sync_dir` (names in a directory) has returned `Ok`, and a failed sync must never be retried:
//! the kernel may have forgotten what it could not write.

use std::{
    any::Any,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

pub mod fault;
pub mod std_fs;

pub use fault::FaultVfs;
pub use std_fs::StdVfs;

/// Bytes written per call while a file is filled with zeros.
const FILL_BYTES: usize = 1 << 20;

/// Keeps a lock file locked until it is dropped.
pub type Lock = Box<dyn Any + Send + Sync>;

/// A file system.
pub trait Vfs: Send + Sync + fmt::Debug {
    /// Makes a new file, open for reading and writing. An existing file is an error of kind `AlreadyExists`.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Gives a file a new name, replacing what had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Open handles keep working.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Full paths of the files directly in a directory, sorted. Directories are left out.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;

    /// Makes a directory and its parents. Their names are durable when this returns.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Makes creations, renames and removals in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Whether a file or directory has this name.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Takes an exclusive lock on a file, made when missing. `None` when somebody else holds it.
    fn lock(&self, path: &Path) -> io::Result<Option<Lock>>;
}

/// An open file. Reads and writes name their offset, so a handle can be shared between threads.
pub trait File: Send + Sync + fmt::Debug {
    /// Reads up to `into.len()` bytes; 0 at the end of the file.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes a prefix of `bytes` and says how long it was.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Length of the file in bytes.
    fn size(&self) -> io::Result<u64>;

    /// Cuts the file, or extends it with zeros that may have no blocks behind them.
    fn set_len(&self, bytes: u64) -> io::Result<()>;

    /// Makes the contents durable, and the length if it changed.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes contents and metadata durable.
    fn sync_all(&self) -> io::Result<()>;

    /// Reads exactly `into.len()` bytes, or fails with `UnexpectedEof`.
    fn read_exact_at(&self, mut into: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !into.is_empty() {
            match self.read_at(into, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    into = &mut into[count..];
                    offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes all of `bytes`.
    fn write_all_at(&self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write_at(bytes, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    bytes = &bytes[count..];
                    offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes real zeros over a range, so that later writes into it need no new blocks. Not synced.
    fn fill_zero(&self, offset: u64, bytes: u64) -> io::Result<()> {
        let zeros = vec![0; FILL_BYTES.min(usize::try_from(bytes).unwrap_or(FILL_BYTES))];
        let mut done = 0;
        while done < bytes {
            let count = (bytes - done).min(FILL_BYTES as u64);
            self.write_all_at(&zeros[..count as usize], offset + done)?;
            done += count;
        }
        Ok(())
    }

    /// The whole file in memory; refuses one longer than `bytes_max` with `FileTooLarge`.
    fn read_whole(&self, bytes_max: u64) -> io::Result<Vec<u8>> {
        let size = self.size()?;
        if size > bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut bytes = vec![0; size as usize];
        self.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }
}
