//! `Tree`: sorted keys and values, which is lsm-tree opened the one way we use it.
//!
//! Changes stand in memory until `flush` writes all of them into a sorted file at once and syncs it, so what is on disk is
//! at any time what the tree was at some flush. lsm-tree keeps no log: what was not written out before a crash is made
//! good from ours. Nothing here is the only copy of anything; what does not open is removed and made anew.

use std::collections::HashSet;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use lsm_tree::compaction::Leveled;
use lsm_tree::{AbstractTree, AnyTree, Cache, DescriptorTable, Guard, SeqNo, SequenceNumberCounter, Table, TableId};

use super::Error;

/// A key or a value. Clones share the bytes.
pub(super) type Bytes = lsm_tree::Slice;

/// Sizes of the state store.
#[derive(Clone, Debug)]
pub struct Config {
    /// Blocks of files that are kept in memory, in bytes, for all groups together.
    pub cache_bytes: u64,
    /// Changes of a group that are kept in memory before they are written out, in bytes, give or take.
    pub memtable_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { cache_bytes: 64 << 20, memtable_bytes: 1 << 20 }
    }
}

/// Largest value under one key, in bytes, checksum not counted. Larger ones are cut in chunks, so that one read never
/// holds much.
pub const CHUNK_BYTES: usize = 16 << 10;

/// Size of a file after compaction, in bytes.
const FILE_BYTES: u64 = 8 << 20;
/// Where lsm-tree puts the files of a tree, each named by its number.
const FILES_DIR: &str = "tables";
/// Files of all trees that are kept open.
const FILES_OPEN: usize = 512;

/// Opens trees: each is a directory, and all share a cache.
pub(super) struct Engine {
    dir: PathBuf,
    cache: Arc<Cache>,
    files: Arc<DescriptorTable>,
    strategy: Arc<Leveled>,
}

/// An open tree. Clones are handles of the same one.
#[derive(Clone)]
pub(super) struct Tree {
    tree: AnyTree,
    path: PathBuf,
    strategy: Arc<Leveled>,
    /// Number of the next change; a change with a lower number is there.
    next: SequenceNumberCounter,
}

/// Changes of a tree, which are seen together by who begins to read afterwards.
pub(super) struct Change<'t> {
    tree: &'t AnyTree,
    number: SeqNo,
}

impl Engine {
    /// Keeps trees in `dir`, which need not exist.
    pub fn new(dir: &Path, config: &Config) -> Self {
        Self {
            dir: dir.to_owned(),
            cache: Arc::new(Cache::with_capacity_bytes(config.cache_bytes)),
            files: Arc::new(DescriptorTable::new(FILES_OPEN)),
            strategy: Arc::new(Leveled::default().with_table_target_size(FILE_BYTES)),
        }
    }

    /// Opens a tree, or makes it. Blocks.
    pub fn open(&self, name: &str) -> Result<Tree, Error> {
        let path = self.dir.join(name);
        let (tree, next) = match self.attempt(&path) {
            Ok(opened) => opened,
            Err(reason) => {
                tracing::warn!(path = %path.display(), %reason, "state does not open; it is wiped and rebuilt");
                self.remove(name)?;
                self.attempt(&path).map_err(|reason| Error::Engine { path: path.clone(), source: reason.into() })?
            }
        };
        Ok(Tree { tree, path, strategy: self.strategy.clone(), next })
    }

    /// lsm-tree may panic on some kinds of damage; to us that is only another way of not opening.
    fn attempt(&self, path: &Path) -> Result<(AnyTree, SequenceNumberCounter), String> {
        let next = SequenceNumberCounter::default();
        let config = lsm_tree::Config::new(path, next.clone(), SequenceNumberCounter::default())
            .use_cache(self.cache.clone())
            .use_descriptor_table(Some(self.files.clone()));
        let tree = match catch_unwind(AssertUnwindSafe(|| config.open())) {
            Ok(opened) => opened.map_err(|error| error.to_string())?,
            Err(_) => return Err("it panics".to_owned()),
        };
        next.fetch_max(tree.get_highest_seqno().map_or(0, |newest| newest + 1));
        Ok((tree, next))
    }

    /// Names of all trees, in no order.
    pub fn names(&self) -> Result<Vec<String>, Error> {
        let io = |source| Error::Io { action: "list", path: self.dir.clone(), source };
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io(error)),
        };
        let names = entries.map(|entry| Ok(entry.map_err(io)?.file_name().into_string().ok()));
        names.filter_map(Result::transpose).collect()
    }

    /// Removes a tree, which must not be in use, and all it holds. Blocks.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        let path = self.dir.join(name);
        let removed = match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => fs::remove_dir_all(&path),
            Ok(_) => fs::remove_file(&path),
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::Io { action: "remove", path, source: error })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

impl Change<'_> {
    /// Sets a key, or removes it. Each key once.
    pub fn set(&mut self, key: Bytes, value: Option<Bytes>) {
        match value {
            Some(value) => self.tree.insert(key, value, self.number),
            None => self.tree.remove(key, self.number),
        };
    }
}

impl Tree {
    /// A value.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.tree.get(key, SeqNo::MAX).map_err(|e| self.error(e))
    }

    /// Whether there is a value.
    pub fn contains(&self, key: &[u8]) -> Result<bool, Error> {
        self.tree.contains_key(key, SeqNo::MAX).map_err(|e| self.error(e))
    }

    /// Keys and values from `start` on, in order, as they are now: what changes later is not seen.
    pub fn from(&self, start: Bound<Vec<u8>>) -> impl Iterator<Item = Result<(Bytes, Bytes), Error>> + Send + use<> {
        let tree = self.clone();
        let entries = self.tree.range((start, Bound::Unbounded), self.next.get(), None);
        entries.map(move |entry| entry.into_inner().map_err(|e| tree.error(e)))
    }

    /// Keys that begin with `prefix`, and their values, in order, as they are now.
    pub fn prefix(&self, prefix: &[u8]) -> impl Iterator<Item = Result<(Bytes, Bytes), Error>> + Send + use<> {
        let tree = self.clone();
        let entries = self.tree.prefix(prefix, self.next.get(), None);
        entries.map(move |entry| entry.into_inner().map_err(|e| tree.error(e)))
    }

    /// Sets keys, or removes those without a value. Nobody may read meanwhile, or change anything.
    pub fn apply(&self, changes: impl IntoIterator<Item = (Vec<u8>, Option<Bytes>)>) {
        let mut change = self.change();
        changes.into_iter().for_each(|(key, value)| change.set(Bytes::from(key), value));
    }

    /// Begins a change. Nobody may read until it is dropped, or change anything.
    pub fn change(&self) -> Change<'_> {
        Change { tree: &self.tree, number: self.next.next() }
    }

    /// Bytes of changes that are not written out and not sealed either.
    pub fn unsealed_bytes(&self) -> u64 {
        self.tree.active_memtable().size()
    }

    /// Ends what the next `flush` writes; later changes are not part of it. Nobody may change anything meanwhile.
    pub fn seal(&self) {
        self.tree.rotate_memtable();
    }

    /// Writes out what is sealed, all or nothing, and syncs it; then merges files where there are too many. Blocks. One at a
    /// time; what failed is written by the next flush.
    pub fn flush(&self) -> Result<(), Error> {
        let first = self.tree.next_table_id();
        let flushed = self.try_flush();
        if flushed.is_err() {
            self.remove_unfinished(first);
        }
        flushed.map_err(|e| self.error(e))
    }

    /// Removes files from a number on that the tree does not consist of. lsm-tree leaves what it began and could not
    /// finish until the tree is opened again, and perhaps the disk is full of it.
    fn remove_unfinished(&self, first: TableId) {
        let used: HashSet<TableId> = self.tree.current_version().iter_tables().map(Table::id).collect();
        for file in (first..self.tree.next_table_id()).filter(|file| !used.contains(file)) {
            drop(fs::remove_file(self.path.join(FILES_DIR).join(file.to_string())));
        }
    }

    fn try_flush(&self) -> lsm_tree::Result<()> {
        let threshold = self.next.get();
        let flushing = self.tree.get_flush_lock();
        self.tree.flush(&flushing, threshold)?;
        drop(flushing);
        self.tree.compact(self.strategy.clone(), threshold)
    }

    /// Bytes on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.tree.disk_space()
    }

    fn error(&self, source: lsm_tree::Error) -> Error {
        Error::Engine { path: self.path.clone(), source: source.into() }
    }
}
