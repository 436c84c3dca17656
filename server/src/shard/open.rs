//! Opening and closing a data directory: identity, roster, log, and whether the last stop was clean.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lethe_proto::NodeId;

use super::Error;
use super::codec;
use super::config::Config;
use super::identity::{Identity, Life, replace};
use super::roster::Roster;
use crate::store::vfs::Vfs;
use crate::store::wal::{Wal, WalConfig};

/// Says that the state store was closed and is whole.
const CLEAN_FILE: &str = "state.clean";
const WAL_DIR: &str = "wal";

/// What stands in a data directory before any group is opened.
pub(super) struct Opened {
    pub identity: Identity,
    /// That of the identity.
    pub life: Life,
    pub roster: Roster,
    pub wal: Wal,
    /// The last stop was clean. The mark is gone.
    pub clean: bool,
}

/// Reads or makes the identity, and opens the log, which also keeps other processes out. Blocks.
pub(super) fn open(config: &Config, vfs: Arc<dyn Vfs>, dir: &Path) -> Result<Opened, Error> {
    let io = |action| move |source| Error::Io { action, path: dir.to_owned(), source };
    vfs.create_dir_all(dir).map_err(io("make"))?;
    let wal_dir = dir.join(WAL_DIR);
    let has_log = vfs.exists(&wal_dir).map_err(io("look into"))?;
    let identity = match Identity::read(&*vfs, dir)? {
        Some(identity) => identity,
        None if has_log => {
            let dir = dir.display();
            return Err(Error::Refused(format!("{dir} has a log but no node file; nobody knows whose it is")));
        }
        None => {
            let identity = Identity::first(config.groups);
            identity.write(&*vfs, dir)?;
            identity
        }
    };
    if identity.groups != config.groups {
        let (has, wants) = (identity.groups, config.groups);
        return Err(Error::Refused(format!("the data directory has {has} groups, the configuration says {wants}")));
    }
    if identity.life.is_some() && !(has_log && has_segments(&*vfs, &wal_dir)?) {
        return Err(Error::Refused("the log is gone; this node must be replaced by a new one".to_owned()));
    }
    let roster = Roster::open(vfs.clone(), dir)?;
    let (wal, summary) = Wal::open(vfs.clone(), wal_dir, wal_config(config, identity.node))?;
    tracing::info!(node = %identity.node, cluster = %identity.cluster, "opened the write-ahead log: {summary}");
    let life = identity.life.unwrap_or_else(Life::begin);
    if identity.life.is_none() {
        Identity { life: Some(life), ..identity }.write(&*vfs, dir)?;
    }
    let clean = take_clean_mark(&*vfs, dir, identity.node)?;
    Ok(Opened { identity, life, roster, wal, clean })
}

/// Says that the state store is whole. Blocks.
pub(super) fn put_clean_mark(vfs: &dyn Vfs, dir: &Path, node: NodeId) -> Result<(), Error> {
    replace(vfs, dir, CLEAN_FILE, node.to_string().as_bytes())
}

fn has_segments(vfs: &dyn Vfs, wal_dir: &Path) -> Result<bool, Error> {
    let files: Vec<PathBuf> =
        vfs.list(wal_dir).map_err(|source| Error::Io { action: "list", path: wal_dir.to_owned(), source })?;
    Ok(files.iter().any(|file| file.file_name().is_some_and(|name| name != "LOCK")))
}

fn wal_config(config: &Config, node: NodeId) -> WalConfig {
    let on_fatal = config.on_fatal.clone();
    WalConfig {
        segment_bytes: config.wal_segment_bytes,
        total_bytes_max: config.wal_bytes_max,
        entry_bytes_max: config.entry_bytes_max(),
        groups_max: config.groups_max(),
        pin_segments: config.pin_segments(),
        reserve_bytes: (config.wal_segment_bytes / 64).min(1 << 20),
        vote_order: Some(codec::compare_votes),
        on_fatal: Arc::new(move |error| on_fatal(&format!("the write-ahead log failed: {error}"))),
        ..WalConfig::new(node.0)
    }
}

/// Whether the last stop was clean. The mark is gone when this returns.
fn take_clean_mark(vfs: &dyn Vfs, dir: &Path, node: NodeId) -> Result<bool, Error> {
    let path = dir.join(CLEAN_FILE);
    let take = || {
        if !vfs.exists(&path)? {
            return Ok(false);
        }
        let said = vfs.open(&path)?.read_whole(64)?;
        vfs.remove(&path)?;
        vfs.sync_dir(dir)?;
        Ok(said == node.to_string().into_bytes())
    };
    take().map_err(|source| Error::Io { action: "read", path: path.clone(), source })
}
