//! `Shards`: all Raft groups of a node, over one write-ahead log, one state store and one snapshot directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lethe_proto::ActorId;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::codec;
use super::config::{Config, Deps, SLOTS};
use super::handle::Shard;
use super::identity::{Identity, replace};
use super::limits::Limits;
use super::log::Log;
use super::replica::{Replica, Shared};
use super::upkeep;
use super::{Error, NodeId};
use crate::store::snapshot;
use crate::store::state::Store;
use crate::store::vfs::Vfs;
use crate::store::wal::{GroupId, Wal, WalConfig};

/// Says that the state store was closed and is whole.
const CLEAN_FILE: &str = "state.clean";

/// All shards of this node.
pub struct Shards {
    node: NodeId,
    vfs: Arc<dyn Vfs>,
    data_dir: PathBuf,
    wal: Wal,
    store: Arc<Store>,
    replicas: Vec<Arc<Replica>>,
    watching: Vec<JoinHandle<()>>,
    upkeep: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

impl Shards {
    /// Opens the data directory, or makes it, and starts all groups. Returns when this node leads those it is the only
    /// member of.
    pub async fn start(config: Config, deps: Deps) -> Result<Self, Error> {
        config.check()?;
        let Deps { vfs, data_dir, state_dir, effects } = deps;
        let (identity, wal) = open_log(&config, vfs.clone(), &data_dir).await?;
        let node = NodeId(identity.node);
        let clean = take_clean_mark(&*vfs, &data_dir, identity.node)?;
        // State of another node is never even looked at.
        let store = Arc::new(Store::open(&state_dir.join(identity.node.to_string()), clean, config.state.clone()));
        let snapshots = snapshot::Dir::open(vfs.clone(), &data_dir.join("snapshots"))?;
        let shared = Shared {
            node,
            raft: Arc::new(config.raft()?),
            store: store.clone(),
            snapshots,
            effects,
            limits: Arc::new(Limits::new(&config, wal.clone())),
            config,
        };
        let logs: Vec<_> = (0..identity.groups).map(|id| Log::new(wal.group(GroupId(id)))).collect();
        if let Some(id) = logs.iter().position(Log::is_empty).filter(|_| identity.ready) {
            return Err(Error::Refused(format!(
                "group {id}: its log is gone; this node must be replaced by a new one"
            )));
        }
        let mut replicas = Vec::new();
        let mut watching = Vec::new();
        for (id, log) in (0..).zip(logs) {
            let (replica, task) = Replica::start(&shared, id, log).await?;
            replicas.push(Arc::new(replica));
            watching.push(task);
        }
        lead(&shared, &replicas, &identity).await?;
        if !identity.ready {
            Identity { ready: true, ..identity }.write(&*vfs, &data_dir)?;
        }
        let (stop, stopped) = watch::channel(false);
        let upkeep = tokio::spawn(upkeep::run(replicas.clone(), shared.config.clone(), stopped));
        Ok(Self { node, vfs, data_dir, wal, store, replicas, watching, upkeep, stop })
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The shard that holds an actor.
    pub fn shard(&self, actor: ActorId) -> Shard {
        Shard::new(self.replicas[group_of(actor, self.replicas.len())].clone())
    }

    /// All shards, by their number.
    pub fn all(&self) -> impl Iterator<Item = Shard> {
        self.replicas.iter().map(|replica| Shard::new(replica.clone()))
    }

    /// Counters and sizes of the write-ahead log.
    pub fn wal_stats(&self) -> crate::store::wal::Stats {
        self.wal.stats()
    }

    /// Stops all groups and closes everything, so that the next start need not check the state. Proposals and read
    /// indexes get errors from then on. The state's files stay locked until the last `Shard` is dropped.
    pub async fn shutdown(self) -> Result<(), Error> {
        let Self { node, vfs, data_dir, wal, store, replicas, watching, upkeep, stop } = self;
        stop.send_replace(true);
        let failed = |error: tokio::task::JoinError| Error::Stopped(error.to_string());
        upkeep.await.map_err(failed)?;
        for replica in &replicas {
            replica.raft.shutdown().await.map_err(failed)?;
        }
        for task in watching {
            task.await.map_err(failed)?;
        }
        drop(replicas);
        let closing = tokio::task::spawn_blocking(move || {
            wal.close();
            store.close()?;
            put_clean_mark(&*vfs, &data_dir, node.0)
        });
        closing.await.map_err(failed)?
    }
}

/// Reads or makes the identity, and opens the log, which also keeps other processes out.
async fn open_log(config: &Config, vfs: Arc<dyn Vfs>, data_dir: &Path) -> Result<(Identity, Wal), Error> {
    let (config, data_dir) = (config.clone(), data_dir.to_owned());
    let opening = tokio::task::spawn_blocking(move || {
        let io = |action| {
            let path = data_dir.clone();
            move |source| Error::Io { action, path, source }
        };
        vfs.create_dir_all(&data_dir).map_err(io("make"))?;
        let wal_dir = data_dir.join("wal");
        let identity = match Identity::read(&*vfs, &data_dir)? {
            Some(identity) => identity,
            None if vfs.exists(&wal_dir).map_err(io("look into"))? => {
                let dir = data_dir.display();
                return Err(Error::Refused(format!("{dir} has a log but no node file; nobody knows whose it is")));
            }
            None => Identity { node: Uuid::new_v4(), groups: config.groups, ready: false },
        };
        if identity.groups != config.groups {
            let (has, wants) = (identity.groups, config.groups);
            return Err(Error::Refused(format!("the data directory has {has} groups, the configuration says {wants}")));
        }
        if !identity.ready {
            identity.write(&*vfs, &data_dir)?;
        }
        let (wal, summary) = Wal::open(vfs, wal_dir, wal_config(&config, identity.node))?;
        tracing::info!(node = %identity.node, "opened the write-ahead log: {summary}");
        Ok((identity, wal))
    });
    opening.await.map_err(|error| Error::Stopped(error.to_string()))?
}

fn wal_config(config: &Config, node: Uuid) -> WalConfig {
    let on_fatal = config.on_fatal.clone();
    WalConfig {
        segment_bytes: config.wal_segment_bytes,
        total_bytes_max: config.wal_bytes_max,
        entry_bytes_max: config.entry_bytes_max(),
        groups_max: config.groups,
        reserve_bytes: (config.wal_segment_bytes / 64).min(1 << 20),
        vote_order: Some(codec::compare_votes),
        on_fatal: Arc::new(move |error| on_fatal(&format!("the write-ahead log failed: {error}"))),
        ..WalConfig::new(node)
    }
}

/// Starts groups that never were, and elections where nobody else could lead; waits for the latter.
async fn lead(shared: &Shared, replicas: &[Arc<Replica>], identity: &Identity) -> Result<(), Error> {
    let mut alone = Vec::new();
    for replica in replicas {
        if !identity.ready {
            replica.initialize(shared.node).await?;
        }
        if replica.lead_alone(shared.node).await? {
            alone.push(replica);
        }
    }
    let wait = Duration::from_millis(shared.config.start_ms);
    let all = async {
        for replica in alone {
            let mut leadership = replica.leadership.clone();
            leadership.wait_for(Option::is_some).await.map_err(|error| Error::Stopped(error.to_string()))?;
            let confirmed = Shard::new(replica.clone()).read_index().await;
            confirmed.map_err(|error| Error::Stopped(format!("group {}: {error}", replica.id)))?;
        }
        Ok(())
    };
    match tokio::time::timeout(wait, all).await {
        Ok(result) => result,
        Err(_) => Err(Error::Stopped(format!("groups did not come up within {} ms", wait.as_millis()))),
    }
}

/// Slots are a prefix of the id; groups hold ranges of slots of equal size.
fn group_of(actor: ActorId, groups: usize) -> usize {
    let slot = u16::from_be_bytes([actor.0[0], actor.0[1]]) >> 4;
    usize::from(slot) * groups / SLOTS as usize
}

/// Whether the last stop was clean. The mark is gone when this returns.
fn take_clean_mark(vfs: &dyn Vfs, dir: &Path, node: Uuid) -> Result<bool, Error> {
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

fn put_clean_mark(vfs: &dyn Vfs, dir: &Path, node: Uuid) -> Result<(), Error> {
    let path = dir.join(CLEAN_FILE);
    let temp = dir.join(format!("{CLEAN_FILE}.tmp"));
    replace(vfs, dir, &temp, &path, node.to_string().as_bytes()).map_err(|source| Error::Io {
        action: "write",
        path: path.clone(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_spread_over_groups_in_ranges_of_equal_size() {
        for groups in [1, 4, 64, 512, 4096] {
            let mut counts = vec![0; groups];
            let mut last = 0;
            for slot in 0..SLOTS as u16 {
                let mut id = [0xff; 32];
                id[..2].copy_from_slice(&((slot << 4) | 0xf).to_be_bytes());
                let group = group_of(ActorId(id), groups);
                assert!(group >= last);
                last = group;
                counts[group] += 1;
            }
            assert_eq!(counts, vec![SLOTS as usize / groups; groups]);
        }
    }
}
