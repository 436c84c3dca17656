//! The data directory of a node: keys, log, state and snapshots, opened in this order.

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result};

use crate::{
    cluster::{Keys, keys},
    peer::Transport,
    shard::{self, Identity, Shards},
    store::vfs::{StdVfs, Vfs},
    vault::{TableConfig, Vault},
};

/// What is open.
pub(super) struct Data {
    pub keys: Keys,
    pub shards: Arc<Shards>,
}

/// The identity of a data directory; one that has none becomes the first node of a cluster with so many groups.
pub(super) fn identity_or_first(dir: &Path, groups: u32) -> Result<Identity> {
    if let Some(identity) = Identity::read(&StdVfs, dir)? {
        return Ok(identity);
    }
    let first = Identity::first(groups);
    first.found(&StdVfs, dir)?;
    Ok(first)
}

/// Opens vault and shards. Keys belong to the node, so that those of another one are never used.
pub(super) async fn open(
    dir: &Path,
    identity: Identity,
    mut config: shard::Config,
    key_config: keys::Config,
    transport: Arc<dyn Transport>,
) -> Result<Data> {
    let vfs: Arc<dyn Vfs> = Arc::new(StdVfs);
    let (keys_dir, keys_vfs, table) = (dir.join("keys"), vfs.clone(), TableConfig::new(identity.node.0));
    let opened = tokio::task::spawn_blocking(move || Vault::open(keys_vfs, &keys_dir, table));
    let keys = Keys::new(opened.await?.context("opening the key table")?, key_config);
    let (data_dir, state_dir) = (dir.to_owned(), dir.join("state"));
    let deps = shard::Deps { vfs, data_dir, state_dir, effects: keys.effects(), transport };
    config.groups = identity.groups;
    let shards = Shards::start(config, deps).await.context("opening the data directory")?;
    Ok(Data { keys, shards: Arc::new(shards) })
}
