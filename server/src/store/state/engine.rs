//! sled, opened the one way we use it.
//!
//! sled does not make data durable (its flush does not fsync on Linux) and its files can be lost at any time: nothing
//! here is the only copy of anything. What does not open is removed and made anew; the caller rebuilds it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use super::Error;

/// Sizes of the engine.
#[derive(Clone, Debug)]
pub struct Config {
    /// Page cache of one database, in bytes.
    pub cache_bytes: u64,
    /// How often dirty pages are written out, in milliseconds.
    pub flush_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { cache_bytes: 32 << 20, flush_ms: 500 }
    }
}

/// A leaf of sled holds at most 17 values and one of more than a quarter of a segment goes to a file of its own that
/// is never synced; values are chunks of at most `CHUNK_BYTES`, so no leaf gets there.
const SEGMENT_BYTES: usize = 2 << 20;

/// Largest value handed to sled, in bytes, checksum not counted.
pub const CHUNK_BYTES: usize = 16 << 10;

const _: () = assert!(18 * (CHUNK_BYTES + 256 + super::registry::NAME_BYTES_MAX) < SEGMENT_BYTES / 4);

/// What sled says when another database, or an earlier one of ours, holds the directory.
const LOCKED: &str = "could not acquire lock";
const LOCK_WAIT: Duration = Duration::from_secs(10);
const LOCK_POLL: Duration = Duration::from_millis(5);

/// One open database.
pub struct Engine {
    db: sled::Db,
    path: PathBuf,
}

impl Engine {
    /// Opens the database in `path`, or makes it. Blocks.
    pub fn open(path: &Path, config: &Config) -> Result<Self, Error> {
        let failed = |reason: String| Error::Engine { path: path.to_owned(), source: reason.into() };
        let db = match patient(path, config) {
            Ok(db) => db,
            Err(reason) if reason.contains(LOCKED) => return Err(failed(reason)),
            Err(reason) => {
                tracing::warn!(path = %path.display(), %reason, "state does not open; it is wiped and rebuilt");
                remove(path)?;
                patient(path, config).map_err(failed)?
            }
        };
        Ok(Self { db, path: path.to_owned() })
    }

    /// Opens or makes a tree.
    pub(super) fn tree(&self, name: &str) -> Result<sled::Tree, Error> {
        self.db.open_tree(name).map_err(|e| self.error(e))
    }

    /// Names of all trees of ours.
    pub(super) fn trees(&self) -> Vec<String> {
        self.db.tree_names().iter().filter_map(|name| String::from_utf8(name.to_vec()).ok()).collect()
    }

    /// Drops a tree and all it holds.
    pub(super) fn drop_tree(&self, name: &str) -> Result<(), Error> {
        self.db.drop_tree(name).map(|_| ()).map_err(|e| self.error(e))
    }

    /// Bytes on disk.
    pub fn disk_bytes(&self) -> Result<u64, Error> {
        self.db.size_on_disk().map_err(|e| self.error(e))
    }

    /// Writes everything out and syncs the files. Blocks.
    pub fn sync(&self) -> Result<(), Error> {
        self.db.flush().map_err(|e| self.error(e))?;
        let io = |source| Error::Io { action: "sync", path: self.path.clone(), source };
        for entry in fs::read_dir(&self.path).map_err(io)? {
            let entry = entry.map_err(io)?;
            if entry.file_type().map_err(io)?.is_file() {
                fs::File::open(entry.path()).and_then(|file| file.sync_all()).map_err(io)?;
            }
        }
        fs::File::open(&self.path).and_then(|dir| dir.sync_all()).map_err(io)
    }

    pub(super) fn error(&self, source: sled::Error) -> Error {
        Error::Engine { path: self.path.clone(), source: source.into() }
    }
}

/// A database that was just closed in this process keeps its lock until the last of its garbage is collected.
fn patient(path: &Path, config: &Config) -> Result<sled::Db, String> {
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        match attempt(path, config) {
            Err(reason) if reason.contains(LOCKED) && Instant::now() < deadline => thread::sleep(LOCK_POLL),
            result => return result,
        }
    }
}

/// sled panics on some kinds of damage; to us that is only another way of not opening.
fn attempt(path: &Path, config: &Config) -> Result<sled::Db, String> {
    let open = || {
        sled::Config::new()
            .path(path)
            .segment_size(SEGMENT_BYTES)
            .cache_capacity(config.cache_bytes)
            .flush_every_ms(Some(config.flush_ms))
            .open()
    };
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("it panics".to_owned()),
    }
}

fn remove(path: &Path) -> Result<(), Error> {
    let result = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    result.map_err(|source| Error::Io { action: "remove", path: path.to_owned(), source })
}
