//! `Epochs`: the key pair that this node's data keys are sealed to on their way through the log, replaced every few minutes.
//!
//! ```text
//! file     sector (512) | sector (512)            epoch e stands in sector e mod 2
//! sector   magic u32 | 0 u32 | epoch u32 | 0 u32 | node (16) | public key (32) | crc of all that u32 | 0 u32 | private key (32)
//!          | zeros                                all zero: nothing
//! ```
//!
//! The log keeps what was sealed to an epoch until it is purged, and copies of it may live for ever. It can be opened as
//! long as the private key exists: through the epoch and the one after it, for replicas that come late. Then the private key is
//! overwritten with zeros, synced and read back, before its sector takes the next one.

use std::{io, path::Path, path::PathBuf, sync::Arc};

use lethe_proto::NodeId;
use parking_lot::Mutex;
use uuid::Uuid;
use x25519_dalek::StaticSecret;
use zeroize::Zeroizing;

use super::{
    DataKey, Error,
    seal_to::{self, PublicKey, Recipient},
    slot::{Owner, SLOT_BYTES},
};
use crate::store::vfs::{File, Vfs};

const FILE: &str = "epoch";
const FILE_NEW: &str = "epoch.new";
const SECTORS: usize = 2;
const MAGIC: [u8; 4] = *b"LEPO";
const IDENTITY_BYTES: usize = 64;
const SECRET: std::ops::Range<usize> = 72..104;

type Sector = Zeroizing<[u8; SLOT_BYTES]>;

/// The key epochs of this node. All calls but `current` may block on the disk.
#[derive(Debug)]
pub(super) struct Epochs {
    node: Uuid,
    path: PathBuf,
    file: Arc<dyn File>,
    keys: Mutex<Keys>,
}

#[derive(Default)]
struct Keys {
    /// By sector.
    pairs: [Option<Pair>; SECTORS],
    /// The first I/O error of a write or a sync.
    failed: Option<Error>,
}

struct Pair {
    epoch: u32,
    public: PublicKey,
    secret: StaticSecret,
}

/// What a sealed key turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Opened {
    /// The key.
    Key(DataKey),
    /// It was sealed to an epoch whose private key is gone.
    EpochGone,
    /// It is damaged, or was not sealed to this epoch.
    Unreadable,
}

impl Epochs {
    /// Opens the file in `dir`, which exists; makes it and the first epoch when missing.
    pub fn open(vfs: &dyn Vfs, dir: &Path, node: Uuid) -> Result<Self, Error> {
        let path = dir.join(FILE);
        if !vfs.exists(&path).map_err(Error::io("look for", &path))? {
            create(vfs, dir).map_err(Error::io("make", &path))?;
        }
        let file = vfs.open(&path).map_err(Error::io("open", &path))?;
        let epochs = Self { node, path, file, keys: Mutex::default() };
        let mut keys = epochs.load()?;
        if keys.current().is_none() {
            epochs.begin(&mut keys, 1)?;
        }
        *epochs.keys.lock() = keys;
        Ok(epochs)
    }

    /// What to seal to from now on.
    pub fn current(&self) -> Recipient {
        let keys = self.keys.lock();
        // `open` made one, and `rotate` only ever adds one.
        let pair = keys.current().expect("there is always a current epoch");
        Recipient { node: NodeId(self.node), epoch: pair.epoch, public: pair.public }
    }

    /// Erases the previous epoch's private key and begins a new epoch; the current one becomes the previous.
    pub fn rotate(&self) -> Result<u32, Error> {
        let mut keys = self.keys.lock();
        if let Some(error) = &keys.failed {
            return Err(Error::Failed(Arc::new(error.clone())));
        }
        let next = keys.current().map_or(0, |pair| pair.epoch).checked_add(1).ok_or(Error::EpochsUsedUp)?;
        let rotated = self.erase(&mut keys, sector(next)).and_then(|()| self.begin(&mut keys, next));
        if let Err(error) = &rotated {
            keys.failed = Some(error.clone());
        }
        rotated.map(|()| next)
    }

    /// Opens a key that was sealed to this node in `epoch`.
    pub fn unseal(&self, owner: Owner, epoch: u32, sealed: &[u8]) -> Opened {
        let keys = self.keys.lock();
        let Some(pair) = keys.pairs[sector(epoch)].as_ref().filter(|pair| pair.epoch == epoch) else {
            return Opened::EpochGone;
        };
        let me = Recipient { node: NodeId(self.node), epoch, public: pair.public };
        seal_to::open(owner, sealed, &me, &pair.secret).map_or(Opened::Unreadable, Opened::Key)
    }

    fn begin(&self, keys: &mut Keys, epoch: u32) -> Result<(), Error> {
        let mut secret = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *secret).map_err(|error| Error::Random(error.to_string()))?;
        let pair = Pair::new(epoch, &secret);
        self.write(sector(epoch), &encode(self.node, &pair))?;
        keys.pairs[sector(epoch)] = Some(pair);
        Ok(())
    }

    fn erase(&self, keys: &mut Keys, sector: usize) -> Result<(), Error> {
        keys.pairs[sector] = None;
        self.write(sector, &Zeroizing::new([0; SLOT_BYTES]))?;
        match self.read(sector)?.iter().all(|byte| *byte == 0) {
            true => Ok(()),
            false => Err(Error::NotErased { path: self.path.clone(), slot: sector as u32 }),
        }
    }

    fn load(&self) -> Result<Keys, Error> {
        let size = self.file.size().map_err(Error::io("measure", &self.path))?;
        if size < (SECTORS * SLOT_BYTES) as u64 {
            return Err(self.unusable(format!("it has {size} bytes")));
        }
        let mut keys = Keys::default();
        for at in 0..SECTORS {
            let bytes = self.read(at)?;
            if bytes.iter().all(|byte| *byte == 0) {
                continue;
            }
            match decode(&bytes) {
                Some((node, _)) if node != self.node => {
                    return Err(self.unusable(format!("it belongs to node {node}, this is node {}", self.node)));
                }
                Some((_, pair)) if sector(pair.epoch) == at => keys.pairs[at] = Some(pair),
                _ => {
                    tracing::error!(path = %self.path.display(), sector = at, "a key epoch is damaged; zeroing it");
                    self.erase(&mut keys, at)?;
                }
            }
        }
        // What a crashed process wrote may be in memory only; what is told from here on must be durable.
        self.file.sync_data().map_err(Error::io("sync", &self.path))?;
        Ok(keys)
    }

    fn read(&self, sector: usize) -> Result<Sector, Error> {
        let mut bytes = Zeroizing::new([0; SLOT_BYTES]);
        self.file.read_exact_at(&mut *bytes, offset(sector)).map_err(Error::io("read", &self.path))?;
        Ok(bytes)
    }

    fn write(&self, sector: usize, bytes: &Sector) -> Result<(), Error> {
        self.file.write_all_at(&**bytes, offset(sector)).map_err(Error::io("write", &self.path))?;
        self.file.sync_data().map_err(Error::io("sync", &self.path))
    }

    fn unusable(&self, reason: String) -> Error {
        Error::Unusable { path: self.path.clone(), reason }
    }
}

impl Keys {
    fn current(&self) -> Option<&Pair> {
        self.pairs.iter().flatten().max_by_key(|pair| pair.epoch)
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.pairs.iter().flatten().map(|pair| pair.epoch)).finish()
    }
}

impl Pair {
    fn new(epoch: u32, secret: &[u8; 32]) -> Self {
        let secret = StaticSecret::from(*secret);
        Self { epoch, public: PublicKey(x25519_dalek::PublicKey::from(&secret).to_bytes()), secret }
    }
}

fn encode(node: Uuid, pair: &Pair) -> Sector {
    let mut out = Zeroizing::new([0; SLOT_BYTES]);
    out[..4].copy_from_slice(&MAGIC);
    out[8..12].copy_from_slice(&pair.epoch.to_le_bytes());
    out[16..32].copy_from_slice(node.as_bytes());
    out[32..64].copy_from_slice(&pair.public.0);
    let crc = crc32fast::hash(&out[..IDENTITY_BYTES]);
    out[64..68].copy_from_slice(&crc.to_le_bytes());
    out[SECRET].copy_from_slice(pair.secret.as_bytes());
    out
}

/// The node and its epoch; `None` when the sector is damaged, in the private key too.
fn decode(bytes: &[u8; SLOT_BYTES]) -> Option<(Uuid, Pair)> {
    let number = |at: usize| bytes[at..].first_chunk().map(|four| u32::from_le_bytes(*four));
    if bytes[..4] != MAGIC || Some(crc32fast::hash(&bytes[..IDENTITY_BYTES])) != number(64) {
        return None;
    }
    let node = Uuid::from_slice(&bytes[16..32]).ok()?;
    let pair = Pair::new(number(8)?, bytes[SECRET].first_chunk()?);
    (pair.public.0 == bytes[32..64]).then_some((node, pair))
}

fn sector(epoch: u32) -> usize {
    epoch as usize % SECTORS
}

fn offset(sector: usize) -> u64 {
    (sector * SLOT_BYTES) as u64
}

fn create(vfs: &dyn Vfs, dir: &Path) -> io::Result<()> {
    let new = dir.join(FILE_NEW);
    if vfs.exists(&new)? {
        vfs.remove(&new)?;
    }
    let file = vfs.create(&new)?;
    file.fill_zero(0, (SECTORS * SLOT_BYTES) as u64)?;
    file.sync_all()?;
    vfs.rename(&new, &dir.join(FILE))?;
    vfs.sync_dir(dir)
}
