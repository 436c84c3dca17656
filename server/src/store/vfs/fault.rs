//! `FaultVfs`: a file system in memory that can lose power at every operation and fail on demand. For tests.
//!
//! It is as unkind as a disk may be. Contents become durable only by a sync of the file, names only by a sync of the
//! directory. [`FaultVfs::power_cut`] gives the disk as it may look after a power cut: what was durable, and of the rest
//! any part: single sectors of 512 bytes of a write, lengths, creations, renames and removals, each decided by the
//! seed alone. A sync that fails leaves its data readable and never durable, as Linux does.
//!
//! ```text
//! vfs.cut_at(n); run the script until it fails; let after = vfs.power_cut(seed); open and check what is there
//! ```

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;

use super::{File, Lock, Vfs};

mod disk;
mod random;

use disk::{Change, Disk, NameChange};
pub use random::Random;

/// What a disk writes whole or not at all.
pub const SECTOR: usize = 512;

const ENOENT: i32 = 2;
const EEXIST: i32 = 17;
const ENOSPC: i32 = 28;
/// The number of the I/O error that a broken disk gives.
pub const EIO: i32 = 5;

/// Kinds of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// A file is made.
    Create,
    /// Bytes are written.
    Write,
    /// A length is set.
    SetLen,
    /// Contents are synced.
    Sync,
    /// Names are synced.
    SyncDir,
    /// A file gets another name.
    Rename,
    /// A file is removed.
    Remove,
    /// Bytes are read. Not counted by `ops` and never the point of a power cut, because it changes nothing.
    Read,
}

/// What an injected fault does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The operation fails with this error number and does nothing.
    Error(i32),
    /// At most so many bytes are written or read.
    Short(usize),
    /// The caller panics, as at a defect of its own.
    Panic,
}

/// A fault that waits for its operation.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The kind of operation.
    pub op: Op,
    /// Part of the path.
    pub path: String,
    /// Matching operations that pass first.
    pub skip: u64,
    /// Matching operations that fail then.
    pub times: u64,
    /// What happens to them.
    pub effect: Effect,
}

/// One operation of the past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// Its kind.
    pub op: Op,
    /// The file or directory.
    pub path: PathBuf,
    /// Offset of a write; new length of a `SetLen`.
    pub offset: u64,
    /// Bytes written.
    pub bytes: usize,
}

/// The file system. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct FaultVfs {
    disk: Arc<Mutex<Disk>>,
}

impl FaultVfs {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Operations so far that change something.
    pub fn ops(&self) -> u64 {
        self.disk.lock().ops
    }

    /// Operations of one kind so far.
    pub fn count(&self, op: Op) -> u64 {
        self.disk.lock().past.iter().filter(|done| done.op == op).count() as u64
    }

    /// Every operation so far that changed something, to print when a test fails.
    pub fn past(&self) -> Vec<Done> {
        self.disk.lock().past.clone()
    }

    /// Cuts the power during the operation with this number, counted like `ops`. It and everything after it fails.
    pub fn cut_at(&self, op: u64) {
        self.disk.lock().cut_at = Some(op);
    }

    /// Whether the power is off.
    pub fn is_off(&self) -> bool {
        self.disk.lock().is_off
    }

    /// Turns this one off and gives the disk as the next start may find it.
    pub fn power_cut(&self, seed: u64) -> Self {
        let mut disk = self.disk.lock();
        disk.is_off = true;
        Self { disk: Arc::new(Mutex::new(disk.after_power_cut(&mut Random::new(seed)))) }
    }

    /// Turns this one off and gives the disk as a start after `kill -9` finds it: nothing is lost, and nothing more is durable.
    pub fn process_crash(&self) -> Self {
        let mut disk = self.disk.lock();
        disk.is_off = true;
        Self { disk: Arc::new(Mutex::new(disk.after_process_crash())) }
    }

    /// Adds a fault.
    pub fn inject(&self, fault: Fault) {
        self.disk.lock().faults.push(fault);
    }

    /// Takes all faults away.
    pub fn heal(&self) {
        self.disk.lock().faults.clear();
    }

    /// Bounds the lengths of all files together; what would go over it fails with ENOSPC.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.disk.lock().capacity = bytes;
    }

    /// Lengths of all files together.
    pub fn used(&self) -> u64 {
        self.disk.lock().used()
    }

    /// Changes a file behind everybody's back, durably. Panics when there is no such file.
    pub fn edit(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        self.disk.lock().edit(path, change);
    }

    /// What a reader of the file sees. Panics when there is no such file.
    pub fn contents(&self, path: &Path) -> Vec<u8> {
        self.disk.lock().contents(path)
    }
}

fn error(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

impl Vfs for FaultVfs {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut disk = self.disk.lock();
        if disk.names.contains_key(path) {
            return Err(error(EEXIST));
        }
        let step = disk.step(Op::Create, path, 0, 0)?;
        let inode = disk.add_inode();
        disk.rename_now(NameChange::Link { path: path.into(), inode });
        step.finish()?;
        Ok(Arc::new(FaultFile { disk: self.disk.clone(), inode, path: path.into() }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let disk = self.disk.lock();
        disk.check_power()?;
        let inode = *disk.names.get(path).ok_or_else(|| error(ENOENT))?;
        Ok(Arc::new(FaultFile { disk: self.disk.clone(), inode, path: path.into() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        let inode = *disk.names.get(from).ok_or_else(|| error(ENOENT))?;
        let step = disk.step(Op::Rename, from, 0, 0)?;
        disk.rename_now(NameChange::Rename { from: from.into(), to: to.into(), inode });
        step.finish()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        if !disk.names.contains_key(path) {
            return Err(error(ENOENT));
        }
        let step = disk.step(Op::Remove, path, 0, 0)?;
        disk.rename_now(NameChange::Unlink { path: path.into() });
        step.finish()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let disk = self.disk.lock();
        disk.check_power()?;
        Ok(disk.names.keys().filter(|path| path.parent() == Some(dir)).cloned().collect())
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.check_power()?;
        disk.dirs.extend(dir.ancestors().map(Path::to_path_buf));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.step(Op::SyncDir, dir, 0, 0)?.finish()?;
        disk.sync_names(dir);
        Ok(())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let disk = self.disk.lock();
        disk.check_power()?;
        Ok(disk.names.contains_key(path) || disk.dirs.contains(path))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        let mut disk = self.disk.lock();
        disk.check_power()?;
        let is_free = disk.locks.insert(path.into());
        Ok(is_free.then(|| -> Lock { Box::new(HeldLock { disk: self.disk.clone(), path: path.into() }) }))
    }
}

struct HeldLock {
    disk: Arc<Mutex<Disk>>,
    path: PathBuf,
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        self.disk.lock().locks.remove(&self.path);
    }
}

#[derive(Debug)]
struct FaultFile {
    disk: Arc<Mutex<Disk>>,
    inode: u64,
    path: PathBuf,
}

impl FaultFile {
    fn sync(&self) -> io::Result<()> {
        let mut disk = self.disk.lock();
        match disk.step(Op::Sync, &self.path, 0, 0) {
            Ok(step) => step.finish()?,
            Err(error) => {
                // A disk that is off lost nothing yet: what a process crash leaves can still be synced after it.
                if !disk.is_off {
                    disk.inode(self.inode).lose_unsynced();
                }
                return Err(error);
            }
        }
        disk.inode(self.inode).sync();
        Ok(())
    }
}

impl File for FaultFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut disk = self.disk.lock();
        disk.check_power()?;
        let limit = disk.fault(Op::Read, &self.path)?.unwrap_or(usize::MAX);
        let current = &disk.inode(self.inode).current;
        let rest = current.get(offset as usize..).unwrap_or_default();
        let count = into.len().min(rest.len()).min(limit);
        into[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut disk = self.disk.lock();
        disk.check_space(self.inode, offset + bytes.len() as u64)?;
        let step = disk.step(Op::Write, &self.path, offset, bytes.len())?;
        let count = bytes.len().min(step.limit);
        disk.inode(self.inode).change(Change::Write { offset, bytes: bytes[..count].into() });
        step.finish()?;
        Ok(count)
    }

    fn size(&self) -> io::Result<u64> {
        let mut disk = self.disk.lock();
        disk.check_power()?;
        Ok(disk.inode(self.inode).current.len() as u64)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.check_space(self.inode, bytes)?;
        let step = disk.step(Op::SetLen, &self.path, bytes, 0)?;
        disk.inode(self.inode).change(Change::SetLen(bytes));
        step.finish()
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }
}

#[cfg(test)]
mod tests;
