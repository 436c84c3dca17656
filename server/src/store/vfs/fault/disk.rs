//! The state of a faulty disk: what readers see, what is durable, and what lies between.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use super::{Done, ENOSPC, Effect, Fault, Op, Random, SECTOR, error};

/// A change of a file's contents.
#[derive(Clone, Debug)]
pub enum Change {
    /// Bytes at an offset.
    Write {
        /// Where.
        offset: u64,
        /// What.
        bytes: Vec<u8>,
    },
    /// A length.
    SetLen(u64),
}

/// A change of a name.
#[derive(Clone, Debug)]
pub enum NameChange {
    /// A new file.
    Link {
        /// Its name.
        path: PathBuf,
        /// The file.
        inode: u64,
    },
    /// A removed file.
    Unlink {
        /// Its name.
        path: PathBuf,
    },
    /// A renamed file.
    Rename {
        /// Old name.
        from: PathBuf,
        /// New name.
        to: PathBuf,
        /// The file.
        inode: u64,
    },
}

/// A file, with or without a name.
#[derive(Clone, Debug, Default)]
pub struct Inode {
    /// What readers see.
    pub current: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
    /// Changes that a failed sync gave up: no later sync makes them durable.
    lost: Vec<Change>,
}

/// The disk.
#[derive(Debug, Default)]
pub struct Disk {
    /// Names as readers see them.
    pub names: BTreeMap<PathBuf, u64>,
    /// Directories; always durable.
    pub dirs: BTreeSet<PathBuf>,
    /// Locks that are held.
    pub locks: BTreeSet<PathBuf>,
    /// Operations so far.
    pub ops: u64,
    /// The same, one by one.
    pub past: Vec<Done>,
    /// Operation during which the power is cut.
    pub cut_at: Option<u64>,
    /// The power is off.
    pub is_off: bool,
    /// Faults that wait.
    pub faults: Vec<Fault>,
    /// Bound of all lengths together.
    pub capacity: Option<u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    unsynced_names: Vec<NameChange>,
    inodes: BTreeMap<u64, Inode>,
    last_inode: u64,
}

/// An operation that is allowed to begin.
pub struct Step {
    /// Most bytes it may move.
    pub limit: usize,
    is_cut: bool,
}

impl Step {
    /// Ends the operation; fails when the power was cut during it.
    pub fn finish(self) -> io::Result<()> {
        if self.is_cut { Err(power_is_off()) } else { Ok(()) }
    }
}

fn power_is_off() -> io::Error {
    io::Error::other("the power is off")
}

fn apply(contents: &mut Vec<u8>, change: &Change) {
    match change {
        Change::SetLen(bytes) => contents.resize(*bytes as usize, 0),
        Change::Write { offset, bytes } => write(contents, *offset as usize, bytes),
    }
}

fn write(contents: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if contents.len() < end {
        contents.resize(end, 0);
    }
    contents[offset..end].copy_from_slice(bytes);
}

impl Inode {
    /// Makes a change that readers see at once.
    pub fn change(&mut self, change: Change) {
        apply(&mut self.current, &change);
        self.unsynced.push(change);
    }

    /// Makes all changes durable that were not given up.
    pub fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            apply(&mut self.durable, &change);
        }
    }

    /// Gives up what is not durable, without taking it from readers.
    pub fn lose_unsynced(&mut self) {
        self.lost.append(&mut self.unsynced);
    }

    /// The file after a power cut.
    fn after_power_cut(&self, random: &mut Random) -> Self {
        let percent = [0, 100, 50, 10, 90][random.below(5) as usize];
        let mut durable = self.durable.clone();
        for change in self.lost.iter().chain(&self.unsynced) {
            match change {
                Change::SetLen(_) if random.percent(percent) => apply(&mut durable, change),
                Change::SetLen(_) => {}
                Change::Write { offset, bytes } => {
                    for (at, part) in sectors(*offset as usize, bytes) {
                        if random.percent(percent) {
                            write(&mut durable, at, part);
                        }
                    }
                }
            }
        }
        Self { current: durable.clone(), durable, ..Self::default() }
    }
}

/// Parts of a write that each reach the disk whole or not at all.
fn sectors(offset: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = offset;
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let count = (SECTOR - at % SECTOR).min(rest.len());
        let (part, left) = rest.split_at(count);
        let item = (at, part);
        at += count;
        rest = left;
        (count > 0).then_some(item)
    })
}

fn apply_name(names: &mut BTreeMap<PathBuf, u64>, change: &NameChange) {
    match change {
        NameChange::Link { path, inode } => {
            names.insert(path.clone(), *inode);
        }
        NameChange::Unlink { path } => {
            names.remove(path);
        }
        NameChange::Rename { from, to, inode } => {
            names.remove(from);
            names.insert(to.clone(), *inode);
        }
    }
}

impl NameChange {
    fn touches(&self, dir: &Path) -> bool {
        match self {
            Self::Link { path, .. } | Self::Unlink { path } => path.parent() == Some(dir),
            Self::Rename { from, to, .. } => from.parent() == Some(dir) || to.parent() == Some(dir),
        }
    }
}

impl Disk {
    /// Begins an operation that changes something.
    pub fn step(&mut self, op: Op, path: &Path, offset: u64, bytes: usize) -> io::Result<Step> {
        self.check_power()?;
        self.ops += 1;
        self.past.push(Done { op, path: path.into(), offset, bytes });
        let limit = self.fault(op, path)?.unwrap_or(usize::MAX);
        self.is_off = self.cut_at.is_some_and(|cut_at| self.ops >= cut_at);
        Ok(Step { limit, is_cut: self.is_off })
    }

    /// The fault that waits for this operation, if any.
    pub fn fault(&mut self, op: Op, path: &Path) -> io::Result<Option<usize>> {
        let path = path.to_string_lossy();
        for fault in self.faults.iter_mut().filter(|fault| fault.op == op && path.contains(&fault.path)) {
            if fault.skip > 0 {
                fault.skip -= 1;
            } else if fault.times > 0 {
                fault.times -= 1;
                return match fault.effect {
                    Effect::Error(number) => Err(error(number)),
                    Effect::Short(bytes) => Ok(Some(bytes)),
                    Effect::Panic => panic!("an injected defect"),
                };
            }
        }
        Ok(None)
    }

    /// Fails when the power is off.
    pub fn check_power(&self) -> io::Result<()> {
        if self.is_off { Err(power_is_off()) } else { Ok(()) }
    }

    /// Lengths of all files with a name.
    pub fn used(&self) -> u64 {
        self.names.values().filter_map(|inode| self.inodes.get(inode)).map(|inode| inode.current.len() as u64).sum()
    }

    /// Fails when a file that ends at `end` would not fit.
    pub fn check_space(&mut self, inode: u64, end: u64) -> io::Result<()> {
        let grows = end.saturating_sub(self.inode(inode).current.len() as u64);
        match self.capacity {
            Some(capacity) if grows > 0 && self.used() + grows > capacity => Err(error(ENOSPC)),
            _ => Ok(()),
        }
    }

    /// A new file without a name.
    pub fn add_inode(&mut self) -> u64 {
        self.last_inode += 1;
        self.inodes.insert(self.last_inode, Inode::default());
        self.last_inode
    }

    /// A file.
    pub fn inode(&mut self, inode: u64) -> &mut Inode {
        self.inodes.entry(inode).or_default()
    }

    /// Changes a name for readers; durable only after `sync_names`.
    pub fn rename_now(&mut self, change: NameChange) {
        apply_name(&mut self.names, &change);
        self.unsynced_names.push(change);
    }

    /// Makes the names in a directory durable.
    pub fn sync_names(&mut self, dir: &Path) {
        let (synced, rest) = self.unsynced_names.drain(..).partition(|change| change.touches(dir));
        self.unsynced_names = rest;
        let synced: Vec<NameChange> = synced;
        for change in &synced {
            apply_name(&mut self.durable_names, change);
        }
    }

    /// What a reader sees. Panics when there is no file of this name.
    pub fn contents(&self, path: &Path) -> Vec<u8> {
        let inode = self.names.get(path).unwrap_or_else(|| panic!("there is no {}", path.display()));
        self.inodes.get(inode).map(|inode| inode.current.clone()).unwrap_or_default()
    }

    /// Changes a file durably. Panics when there is none of this name.
    pub fn edit(&mut self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let inode = *self.names.get(path).unwrap_or_else(|| panic!("there is no {}", path.display()));
        let inode = self.inode(inode);
        change(&mut inode.current);
        inode.durable = inode.current.clone();
        inode.unsynced.clear();
    }

    /// The disk after a power cut.
    pub fn after_power_cut(&mut self, random: &mut Random) -> Self {
        let percent = [0, 100, 50][random.below(3) as usize];
        let mut names = self.durable_names.clone();
        for change in &self.unsynced_names {
            if random.percent(percent) {
                apply_name(&mut names, change);
            }
        }
        let mut inodes = BTreeMap::new();
        for inode in names.values() {
            inodes.insert(*inode, self.inode(*inode).after_power_cut(random));
        }
        Self {
            durable_names: names.clone(),
            names,
            inodes,
            dirs: self.dirs.clone(),
            last_inode: self.last_inode,
            capacity: self.capacity,
            ..Self::default()
        }
    }

    /// The disk after the process died.
    pub fn after_process_crash(&self) -> Self {
        Self {
            names: self.names.clone(),
            durable_names: self.durable_names.clone(),
            unsynced_names: self.unsynced_names.clone(),
            inodes: self.inodes.clone(),
            dirs: self.dirs.clone(),
            last_inode: self.last_inode,
            capacity: self.capacity,
            ..Self::default()
        }
    }
}
