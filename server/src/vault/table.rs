//! `KeyTable`: the file that holds the data keys, one slot of 512 bytes each, overwritten in place.
//!
//! ```text
//! file   header (512) | slot (512) | slot | ...          grows by whole extents of zeroed slots
//! slot   magic u32 | state u8, 0 u8, 0 u16 | epoch u32 | key bytes u32 | actor (32) | incarnation (16)
//!        | crc of all that u32 | crc of the key u32 | key (up to 256) | zeros
//! ```
//!
//! A slot is a sector of its own, so writing or erasing one never touches another key. A slot that is all zero is free;
//! an erased one looks the same. Two checksums let a key with damaged bytes still be found and erased by its owner's name.
//! Keys are not kept in memory here; `get` reads the slot.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{
    DataKey, Error,
    slot::{self, Owner, SLOT_BYTES, Slot, TableHeader, VERSION},
};
use crate::store::vfs::{File, Lock, Vfs};

const FILE: &str = "keys.table";
const FILE_NEW: &str = "keys.table.new";
const LOCK_FILE: &str = "keys.lock";

/// Slots read at once while opening.
const READ_SLOTS: u32 = 2048;
/// Erased incarnations that are remembered, so that a key on its way here does not arrive after it was erased.
const ERASED_MAX: usize = 1 << 16;

/// Limits of the table.
#[derive(Clone, Copy, Debug)]
pub struct TableConfig {
    /// The node; a table of another node is refused.
    pub node: Uuid,
    /// Slots added whenever all are taken.
    pub extent_slots: u32,
    /// Most slots there can be.
    pub slots_max: u32,
}

impl TableConfig {
    /// The configuration of a node: grows by half a megabyte, up to four million keys in two gigabytes.
    pub fn new(node: Uuid) -> Self {
        Self { node, extent_slots: 1024, slots_max: 4 << 20 }
    }
}

/// The key table. All calls may block on the disk.
#[derive(Debug)]
pub struct KeyTable {
    config: TableConfig,
    path: PathBuf,
    file: Arc<dyn File>,
    inner: Mutex<Inner>,
    /// Number of the last write that is durable. Held while syncing, so that whoever waits shares the next sync.
    synced: Mutex<u64>,
    _lock: Lock,
}

#[derive(Debug, Default)]
struct Inner {
    /// Slots in the file.
    slots: u32,
    /// Slots in use.
    taken: HashMap<Owner, u32>,
    /// Free slots, the lowest last.
    free: Vec<u32>,
    /// Slots that were promised to keys which are not here yet.
    reserved: usize,
    /// The newest erasures, of keys that were here and of keys that were not.
    erased: Erased,
    /// Number of the last write.
    written: u64,
    /// The first I/O error of a write or a sync.
    failed: Option<Error>,
}

impl KeyTable {
    /// Opens the table in `dir`, both made when missing. Slots that do not even name an owner are zeroed: no key can be
    /// had from them.
    pub fn open(vfs: Arc<dyn Vfs>, dir: &Path, config: TableConfig) -> Result<Self, Error> {
        let (path, lock_path) = (dir.join(FILE), dir.join(LOCK_FILE));
        vfs.create_dir_all(dir).map_err(Error::io("make the directory", dir))?;
        let lock = vfs.lock(&lock_path).map_err(Error::io("lock", &lock_path))?;
        let lock = lock.ok_or(Error::Locked { path: lock_path })?;
        if !vfs.exists(&path).map_err(Error::io("look for", &path))? {
            create(&*vfs, dir, &config).map_err(Error::io("make", &path))?;
        }
        let file = vfs.open(&path).map_err(Error::io("open", &path))?;
        let slots = check_header(&*file, &path, &config)?;
        let table = Self { config, path, file, inner: Mutex::default(), synced: Mutex::new(0), _lock: lock };
        let inner = table.load(slots)?;
        *table.inner.lock() = inner;
        Ok(table)
    }

    /// Stores a key. It is durable when this returns. The same key again is no error, another one is `Exists`.
    pub fn insert(&self, owner: Owner, key: &DataKey) -> Result<(), Error> {
        self.insert_all(&[(owner, key)])
    }

    /// Stores keys with one sync. Those before one that is refused are stored, but not yet durable.
    pub fn insert_all(&self, keys: &[(Owner, &DataKey)]) -> Result<(), Error> {
        let written = {
            let mut inner = self.inner.lock();
            inner.refuse_failed()?;
            for (owner, key) in keys {
                self.put(&mut inner, *owner, key)?;
            }
            inner.written
        };
        self.sync(written)
    }

    /// Stores keys that come from another node, with one sync, unless their owners were erased here lately: `false` for
    /// those. A damaged slot of the same owner is replaced. What is wrong with one key does not stop the others.
    pub fn insert_late(&self, keys: &[(Owner, &DataKey)]) -> Result<Vec<Result<bool, Error>>, Error> {
        let (written, results) = {
            let mut inner = self.inner.lock();
            inner.refuse_failed()?;
            let results = keys.iter().map(|(owner, key)| self.put_late(&mut inner, *owner, key)).collect();
            inner.refuse_failed()?;
            (inner.written, results)
        };
        self.sync(written)?;
        Ok(results)
    }

    fn put_late(&self, inner: &mut Inner, owner: Owner, key: &DataKey) -> Result<bool, Error> {
        if inner.erased.set.contains(&owner) {
            return Ok(false);
        }
        match inner.taken.get(&owner).copied() {
            Some(slot) if self.read_key(slot, owner).is_err() => {
                self.write(inner, slot, &slot::encode(owner, key))?;
            }
            _ => self.put(inner, owner, key)?,
        }
        Ok(true)
    }

    /// Promises a free slot to a key that comes later; `unreserve` gives it back.
    pub fn reserve(&self) -> Result<(), Error> {
        let mut inner = self.inner.lock();
        inner.refuse_failed()?;
        if inner.free.len() <= inner.reserved {
            self.grow(&mut inner)?;
        }
        inner.reserved += 1;
        Ok(())
    }

    /// Takes back a promise.
    pub fn unreserve(&self) {
        let mut inner = self.inner.lock();
        inner.reserved = inner.reserved.saturating_sub(1);
    }

    /// Whether there is a key, damaged or not.
    pub fn contains(&self, owner: Owner) -> bool {
        self.inner.lock().taken.contains_key(&owner)
    }

    fn put(&self, inner: &mut Inner, owner: Owner, key: &DataKey) -> Result<(), Error> {
        match inner.taken.get(&owner).copied() {
            Some(slot) if self.read_key(slot, owner)?.as_ref() == Some(key) => {}
            Some(_) => return Err(Error::Exists { actor: owner.actor, incarnation: owner.incarnation }),
            None => {
                let slot = self.take_free(inner)?;
                self.write(inner, slot, &slot::encode(owner, key))?;
                inner.taken.insert(owner, slot);
            }
        }
        Ok(())
    }

    /// The key of an incarnation, if it is here; `Damaged` if it was and cannot be read.
    pub fn get(&self, owner: Owner) -> Result<Option<DataKey>, Error> {
        let inner = self.inner.lock();
        match inner.taken.get(&owner) {
            Some(slot) => self.read_key(*slot, owner),
            None => Ok(None),
        }
    }

    /// Erases a key; `false` when there is none. When this returns, its slot was overwritten with zeros, synced, and read
    /// back as zeros.
    pub fn erase(&self, owner: Owner) -> Result<bool, Error> {
        self.erase_all(&[owner]).map(|erased| erased > 0)
    }

    /// Erases keys with one sync; gives how many there were.
    pub fn erase_all(&self, owners: &[Owner]) -> Result<usize, Error> {
        let (slots, written) = {
            let mut inner = self.inner.lock();
            inner.refuse_failed()?;
            let mut slots = Vec::new();
            for owner in owners {
                inner.erased.note(*owner);
                if let Some(slot) = inner.taken.remove(owner) {
                    slots.push(slot);
                    self.write(&mut inner, slot, &[0; SLOT_BYTES])?;
                }
            }
            (slots, inner.written)
        };
        self.sync(written)?;
        for slot in &slots {
            let mut back = Zeroizing::new([0; SLOT_BYTES]);
            self.file.read_exact_at(&mut *back, offset(*slot)).map_err(Error::io("read back", &self.path))?;
            if slot::decode(&back) != Slot::Free {
                let error = Error::NotErased { path: self.path.clone(), slot: *slot };
                self.inner.lock().failed.get_or_insert(error.clone());
                return Err(error);
            }
        }
        self.inner.lock().free.extend(&slots);
        Ok(slots.len())
    }

    /// Every incarnation that has a key here, in no order. One whose `insert` was cut off by a crash may be among them.
    pub fn iter(&self) -> Vec<Owner> {
        self.inner.lock().taken.keys().copied().collect()
    }

    fn read_key(&self, slot: u32, owner: Owner) -> Result<Option<DataKey>, Error> {
        let mut bytes = Zeroizing::new([0; SLOT_BYTES]);
        self.file.read_exact_at(&mut *bytes, offset(slot)).map_err(Error::io("read", &self.path))?;
        match slot::decode(&bytes) {
            Slot::Key(found, key) if found == owner => Ok(Some(key)),
            _ => {
                let Owner { actor, incarnation } = owner;
                Err(Error::Damaged { path: self.path.clone(), slot, actor, incarnation })
            }
        }
    }

    fn write(&self, inner: &mut Inner, slot: u32, bytes: &[u8; SLOT_BYTES]) -> Result<(), Error> {
        let written = self.file.write_all_at(bytes, offset(slot)).map_err(Error::io("write", &self.path));
        inner.written += 1;
        inner.note(written)
    }

    /// Makes writes up to this one durable, together with whatever else was written meanwhile.
    fn sync(&self, written: u64) -> Result<(), Error> {
        let mut synced = self.synced.lock();
        if *synced >= written {
            return Ok(());
        }
        let upto = {
            let inner = self.inner.lock();
            inner.refuse_failed()?;
            inner.written
        };
        let result = self.file.sync_data().map_err(Error::io("sync", &self.path));
        self.inner.lock().note(result)?;
        *synced = upto;
        Ok(())
    }

    fn take_free(&self, inner: &mut Inner) -> Result<u32, Error> {
        if inner.free.is_empty() {
            self.grow(inner)?;
        }
        inner.free.pop().ok_or(Error::Full { max: self.config.slots_max })
    }

    /// Adds an extent: zeros first, durable, then the header that counts them.
    fn grow(&self, inner: &mut Inner) -> Result<(), Error> {
        let slots = inner.slots.saturating_add(self.config.extent_slots).min(self.config.slots_max);
        if slots <= inner.slots {
            return Err(Error::Full { max: self.config.slots_max });
        }
        let zeros = u64::from(slots - inner.slots) * SLOT_BYTES as u64;
        let filled = self.file.fill_zero(offset(inner.slots), zeros);
        if filled.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::StorageFull) {
            return Err(Error::NoSpace { path: self.path.clone() });
        }
        let header = TableHeader { version: VERSION, node: self.config.node, slots }.encode();
        let grown = filled
            .and_then(|()| self.file.sync_all())
            .and_then(|()| self.file.write_all_at(&header, 0))
            .and_then(|()| self.file.sync_data());
        inner.note(grown.map_err(Error::io("grow", &self.path)))?;
        inner.free.extend((inner.slots..slots).rev());
        inner.slots = slots;
        Ok(())
    }

    fn load(&self, slots: u32) -> Result<Inner, Error> {
        let mut inner = Inner { slots, ..Inner::default() };
        let mut garbage = Vec::new();
        let mut block = Zeroizing::new(vec![0; READ_SLOTS as usize * SLOT_BYTES]);
        for start in (0..slots).step_by(READ_SLOTS as usize) {
            let count = READ_SLOTS.min(slots - start) as usize;
            let part = &mut block[..count * SLOT_BYTES];
            self.file.read_exact_at(part, offset(start)).map_err(Error::io("read", &self.path))?;
            for (slot, bytes) in (start..).zip(part.as_chunks::<SLOT_BYTES>().0) {
                match slot::decode(bytes) {
                    Slot::Free => inner.free.push(slot),
                    Slot::Key(owner, _) => self.load_key(&mut inner, slot, owner)?,
                    Slot::Damaged(owner) => {
                        tracing::error!(slot, actor = %owner.actor, incarnation = %owner.incarnation, "a data key is damaged");
                        self.load_key(&mut inner, slot, owner)?;
                    }
                    Slot::Garbage => garbage.push(slot),
                }
            }
        }
        for slot in garbage {
            tracing::error!(slot, path = %self.path.display(), "a slot of the key table is damaged beyond use; zeroing it");
            self.write(&mut inner, slot, &[0; SLOT_BYTES])?;
            inner.free.push(slot);
        }
        // What a crashed process wrote may be in memory only; what is told from here on must be durable.
        self.file.sync_data().map_err(Error::io("sync", &self.path))?;
        inner.free.sort_unstable_by(|a, b| b.cmp(a));
        Ok(inner)
    }

    fn load_key(&self, inner: &mut Inner, slot: u32, owner: Owner) -> Result<(), Error> {
        match inner.taken.insert(owner, slot) {
            None => Ok(()),
            Some(other) => Err(Error::Unusable {
                path: self.path.clone(),
                reason: format!("slots {other} and {slot} both belong to actor {}", owner.actor),
            }),
        }
    }
}

/// The newest erased owners.
#[derive(Debug, Default)]
struct Erased {
    set: HashSet<Owner>,
    order: VecDeque<Owner>,
}

impl Erased {
    fn note(&mut self, owner: Owner) {
        if self.set.insert(owner) {
            self.order.push_back(owner);
        }
        if self.order.len() > ERASED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.set.remove(&oldest);
        }
    }
}

impl Inner {
    fn refuse_failed(&self) -> Result<(), Error> {
        match &self.failed {
            Some(error) => Err(Error::Failed(Arc::new(error.clone()))),
            None => Ok(()),
        }
    }

    /// Remembers that writing has failed: what is durable is unknown from then on.
    fn note(&mut self, result: Result<(), Error>) -> Result<(), Error> {
        if let Err(error) = &result {
            self.failed.get_or_insert_with(|| error.clone());
        }
        result
    }
}

/// Where a slot begins.
fn offset(slot: u32) -> u64 {
    (u64::from(slot) + 1) * SLOT_BYTES as u64
}

fn create(vfs: &dyn Vfs, dir: &Path, config: &TableConfig) -> io::Result<()> {
    let new = dir.join(FILE_NEW);
    if vfs.exists(&new)? {
        vfs.remove(&new)?;
    }
    let file = vfs.create(&new)?;
    file.write_all_at(&TableHeader { version: VERSION, node: config.node, slots: 0 }.encode(), 0)?;
    file.sync_all()?;
    vfs.rename(&new, &dir.join(FILE))?;
    vfs.sync_dir(dir)
}

/// Number of slots in the file.
fn check_header(file: &dyn File, path: &Path, config: &TableConfig) -> Result<u32, Error> {
    let unusable = |reason: String| Error::Unusable { path: path.into(), reason };
    let mut bytes = [0; SLOT_BYTES];
    match file.read_exact_at(&mut bytes, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(unusable("it is shorter than its header".into()));
        }
        read => read.map_err(Error::io("read", path))?,
    }
    let header = TableHeader::decode(&bytes).ok_or_else(|| unusable("its header is damaged".into()))?;
    if header.version != VERSION {
        return Err(unusable(format!("it has format {}, this version reads {VERSION}", header.version)));
    }
    if header.node != config.node {
        return Err(unusable(format!("it belongs to node {}, this is node {}", header.node, config.node)));
    }
    let (size, needed) = (file.size().map_err(Error::io("measure", path))?, offset(header.slots));
    if size < needed {
        return Err(unusable(format!("it has {size} bytes, its {} slots need {needed}", header.slots)));
    }
    Ok(header.slots)
}
