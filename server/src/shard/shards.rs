//! `Shards`: the replicas of Raft groups that this node has, over one write-ahead log, one state store and one
//! snapshot directory.
//!
//! Group 0 is the system group; data groups are 1 to `Identity::groups`. A node has any subset of them. Replicas are
//! made and removed while the node runs, one task each, which goes on when whoever asked for it leaves.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use futures::{StreamExt, TryStreamExt, stream};
use lethe_proto::ClusterId;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::task::TaskTracker;

use super::care::to_the_end;
use super::config::{Config, Deps};
use super::handle::Shard;
use super::identity::{Identity, Life};
use super::limits::Limits;
use super::log::Log;
use super::network::{Links, Receiver};
use super::open::{Opened, open, put_clean_mark};
use super::replica::{Replica, Shared};
use super::roster::{Entry, Roster, Stage};
use super::{Error, NodeId};
use super::{flush, runtime, upkeep};
use crate::peer::Handler;
use crate::store::snapshot;
use crate::store::state::Store;
use crate::store::vfs::Vfs;
use crate::store::wal::{Full, Wal};

/// Replicas that are opened at once when a node starts.
const OPENING_MAX: usize = 8;
const SNAPSHOTS_DIR: &str = "snapshots";

/// How a replica begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// As the only voter of a new group.
    Lead,
    /// Empty: a leader adds it to the group.
    Join,
}

/// All replicas of this node.
pub struct Shards {
    pub(super) hosted: Arc<Hosted>,
    upkeep: JoinHandle<()>,
}

/// What the room's tasks share.
pub(super) struct Hosted {
    identity: Identity,
    life: Life,
    pub vfs: Arc<dyn Vfs>,
    data_dir: PathBuf,
    pub wal: Wal,
    shared: Shared,
    roster: Mutex<Roster>,
    slots: Mutex<BTreeMap<u32, Slot>>,
    changes: watch::Sender<u64>,
    pub stop: watch::Sender<bool>,
    pub tasks: TaskTracker,
}

/// A replica that is here, or that comes or goes.
enum Slot {
    Busy,
    Open { replica: Arc<Replica>, watching: JoinHandle<()> },
}

impl Shards {
    /// Opens the data directory, or makes it, and starts every replica it has. Returns when this node leads those
    /// groups it is the only voter of.
    pub async fn start(config: Config, deps: Deps) -> Result<Self, Error> {
        config.check()?;
        runtime::tick_together(config.tick());
        let Deps { vfs, data_dir, state_dir, effects, transport } = deps;
        let (opening, dir, log_vfs) = (config.clone(), data_dir.clone(), vfs.clone());
        let opened = blocking(move || open(&opening, log_vfs, &dir)).await?;
        let Opened { identity, life, roster, wal, clean } = opened;
        // State of another node is never even looked at.
        let store = Arc::new(Store::open(&state_dir.join(identity.node.to_string()), clean, config.state.clone()));
        let (shots_vfs, shots_dir) = (vfs.clone(), data_dir.join(SNAPSHOTS_DIR));
        let snapshots = blocking(move || Ok(snapshot::Dir::open(shots_vfs, &shots_dir)?)).await?;
        let shared = Shared {
            node: identity.node,
            raft: Arc::new(config.raft()?),
            store,
            snapshots,
            effects,
            limits: Arc::new(Limits::new(&config, wal.clone())),
            links: Links::new(transport, &config),
            config,
        };
        let hosted = Arc::new(Hosted {
            identity,
            life,
            vfs,
            data_dir,
            wal,
            shared,
            roster: Mutex::new(roster),
            slots: Mutex::default(),
            changes: watch::Sender::new(0),
            stop: watch::Sender::new(false),
            tasks: TaskTracker::new(),
        });
        hosted.open_all().await?;
        let caring = upkeep::run(hosted.clone(), hosted.stop.subscribe());
        let writing = flush::run(hosted.clone(), hosted.stop.subscribe());
        let caring = async move {
            tokio::join!(caring, writing);
        };
        let upkeep = tokio::spawn(to_the_end(caring, hosted.shared.config.on_fatal.clone()));
        Ok(Self { hosted, upkeep })
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.hosted.identity.node
    }

    /// The life of this node: another one if it was given another data directory.
    pub fn life(&self) -> Life {
        self.hosted.life
    }

    /// Why the log cannot grow now, if so. What there is of it is still written to the end.
    pub fn log_full(&self) -> Option<Full> {
        self.hosted.wal.stats().full
    }

    /// Bytes that can be written into what there is of the log.
    pub fn log_free_bytes(&self) -> u64 {
        self.hosted.wal.stats().free_bytes
    }

    /// The logs of these other nodes, and of no more, cannot grow; so many bytes are left of each.
    pub fn others_full(&self, full: BTreeMap<NodeId, u64>) {
        self.hosted.shared.limits.others_full(full);
    }

    /// The cluster this node belongs to.
    pub fn cluster(&self) -> ClusterId {
        self.hosted.identity.cluster
    }

    /// Data groups of the cluster: 1 to this number.
    pub fn groups(&self) -> u32 {
        self.hosted.identity.groups
    }

    /// This node's replica of a group.
    pub fn group(&self, id: u32) -> Option<Shard> {
        self.hosted.replica(id).map(Shard::new)
    }

    /// This node's replicas, by their groups.
    pub fn all(&self) -> Vec<Shard> {
        self.hosted.replicas().into_iter().map(Shard::new).collect()
    }

    /// Changes when replicas of this node came or went.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.hosted.changes.subscribe()
    }

    /// Makes a replica of a group. `incarnation` names its life: it must be above that of the group's last replica on
    /// this node. Asking again for one that is there changes nothing. With `Begin::Lead` it leads when this returns.
    pub async fn create(&self, group: u32, incarnation: u64, begin: Begin) -> Result<Shard, Error> {
        let hosted = self.hosted.clone();
        let making = self.hosted.tasks.spawn(async move { hosted.create(group, incarnation, begin).await });
        making.await.map_err(|error| Error::Stopped(error.to_string()))?.map(Shard::new)
    }

    /// Removes a replica: its log, state and snapshots are gone when this returns, and the same life never comes back.
    /// Only for one that is no member of its group any more. Where there is none nothing happens.
    pub async fn remove(&self, group: u32) -> Result<(), Error> {
        let hosted = self.hosted.clone();
        let removing = self.hosted.tasks.spawn(async move { hosted.remove(group).await });
        removing.await.map_err(|error| Error::Stopped(error.to_string()))?
    }

    /// Takes messages of other nodes for these replicas.
    pub fn handler(&self) -> Arc<dyn Handler> {
        Arc::new(Receiver::new(&self.hosted))
    }

    /// Counters and sizes of the write-ahead log.
    pub fn wal_stats(&self) -> crate::store::wal::Stats {
        self.hosted.wal.stats()
    }

    /// Stops all groups and closes everything, so that the next start need not check the state. Proposals and read
    /// indexes get errors from then on. The state's files stay locked until the last `Shard` is dropped.
    pub async fn shutdown(self) -> Result<(), Error> {
        let Self { hosted, upkeep } = self;
        let failed = |error: tokio::task::JoinError| Error::Stopped(error.to_string());
        hosted.stop.send_replace(true);
        hosted.tasks.close();
        hosted.tasks.wait().await;
        upkeep.await.map_err(failed)?;
        let slots = std::mem::take(&mut *hosted.slots.lock());
        let closing = slots.into_values().map(|slot| async move {
            let Slot::Open { replica, watching } = slot else { return Ok(()) };
            replica.raft.shutdown().await?;
            watching.await
        });
        for closed in join_all(closing).await {
            closed.map_err(failed)?;
        }
        hosted.shared.links.idle().await;
        blocking(move || {
            hosted.wal.clone().close();
            hosted.shared.store.close()?;
            put_clean_mark(&*hosted.vfs, &hosted.data_dir, hosted.identity.node)
        })
        .await
    }
}

impl Hosted {
    /// How long a snapshot that comes may make no progress.
    pub fn snapshot_stall(&self) -> Duration {
        self.shared.links.snapshot_stall
    }

    /// The open replica of a group.
    pub fn replica(&self, group: u32) -> Option<Arc<Replica>> {
        match self.slots.lock().get(&group) {
            Some(Slot::Open { replica, .. }) => Some(replica.clone()),
            Some(Slot::Busy) | None => None,
        }
    }

    /// All open replicas.
    pub fn replicas(&self) -> Vec<Arc<Replica>> {
        let slots = self.slots.lock();
        let open = |slot: &Slot| match slot {
            Slot::Open { replica, .. } => Some(replica.clone()),
            Slot::Busy => None,
        };
        slots.values().filter_map(open).collect()
    }

    /// The sizes and limits in force.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    async fn open_all(self: &Arc<Self>) -> Result<(), Error> {
        let entries = self.roster.lock().entries().clone();
        let mut here = Vec::new();
        for (group, Entry { stage, incarnation }) in entries {
            match stage {
                Stage::Here => here.push((group, incarnation)),
                Stage::Going => self.wipe(group, incarnation).await?,
                Stage::Gone => {}
            }
        }
        let opening = here.into_iter().map(|(group, incarnation)| self.open(group, incarnation));
        let opened: Vec<_> = stream::iter(opening).buffered(OPENING_MAX).try_collect().await?;
        let mut alone = Vec::new();
        for replica in opened {
            if replica.lead_alone(self.shared.node).await? {
                alone.push(replica);
            }
        }
        for replica in alone {
            replica.wait_to_lead(self.shared.config.start_ms).await?;
        }
        Ok(())
    }

    /// Starts a replica that is in the roster and gives it a slot.
    async fn open(&self, group: u32, incarnation: u64) -> Result<Arc<Replica>, Error> {
        let wal = self.wal.clone();
        let log = blocking(move || Ok(Log::create(&wal, group, incarnation)?)).await?;
        let (replica, watching) = Replica::start(&self.shared, group, incarnation, log).await?;
        let replica = Arc::new(replica);
        self.slots.lock().insert(group, Slot::Open { replica: replica.clone(), watching });
        self.changes.send_modify(|changes| *changes += 1);
        Ok(replica)
    }

    async fn create(self: Arc<Self>, group: u32, incarnation: u64, begin: Begin) -> Result<Arc<Replica>, Error> {
        if group > self.identity.groups {
            let last = self.identity.groups;
            return Err(Error::Refused(format!("there is no group {group}: the last one is {last}")));
        }
        let replica = match self.claim(group, incarnation)? {
            Some(replica) => replica,
            None => {
                let made = self.make(group, incarnation).await;
                if made.is_err() {
                    self.slots.lock().remove(&group);
                }
                made?
            }
        };
        if begin == Begin::Lead {
            replica.initialize(self.shared.node).await?;
            if replica.lead_alone(self.shared.node).await? {
                replica.wait_to_lead(self.shared.config.start_ms).await?;
            }
        }
        Ok(replica)
    }

    /// The replica, if it is there; if nothing is, its slot is taken for whoever makes it.
    fn claim(&self, group: u32, incarnation: u64) -> Result<Option<Arc<Replica>>, Error> {
        let mut slots = self.slots.lock();
        if *self.stop.borrow() {
            return Err(Error::Stopped("the node stops".to_owned()));
        }
        match slots.get(&group) {
            Some(Slot::Open { replica, .. }) if replica.incarnation == incarnation => Ok(Some(replica.clone())),
            Some(Slot::Open { replica, .. }) => {
                let here = replica.incarnation;
                Err(Error::Refused(format!("group {group}: its replica here has incarnation {here}")))
            }
            Some(Slot::Busy) => Err(Error::Busy { group }),
            None => {
                slots.insert(group, Slot::Busy);
                Ok(None)
            }
        }
    }

    async fn make(self: &Arc<Self>, group: u32, incarnation: u64) -> Result<Arc<Replica>, Error> {
        let hosted = self.clone();
        blocking(move || hosted.roster.lock().enter(group, incarnation)).await?;
        self.open(group, incarnation).await
    }

    async fn remove(self: Arc<Self>, group: u32) -> Result<(), Error> {
        let taken = {
            let mut slots = self.slots.lock();
            match slots.remove(&group) {
                None => return Ok(()),
                Some(Slot::Busy) => {
                    slots.insert(group, Slot::Busy);
                    return Err(Error::Busy { group });
                }
                Some(Slot::Open { replica, watching }) => {
                    slots.insert(group, Slot::Busy);
                    (replica, watching)
                }
            }
        };
        self.changes.send_modify(|changes| *changes += 1);
        let removed = self.close_and_wipe(group, taken.0, taken.1).await;
        if removed.is_ok() {
            self.slots.lock().remove(&group);
        }
        // Otherwise the slot stays busy: what is left of the replica is removed by the next start.
        removed
    }

    async fn close_and_wipe(
        self: &Arc<Self>,
        group: u32,
        replica: Arc<Replica>,
        watching: JoinHandle<()>,
    ) -> Result<(), Error> {
        let failed = |error: tokio::task::JoinError| Error::Stopped(error.to_string());
        let incarnation = replica.incarnation;
        let hosted = self.clone();
        let going = Entry { stage: Stage::Going, incarnation };
        blocking(move || hosted.roster.lock().put(group, going)).await?;
        replica.raft.shutdown().await.map_err(failed)?;
        watching.await.map_err(failed)?;
        let machine = replica.machine.clone();
        spawn_blocking(move || machine.close()).await.map_err(failed)?;
        drop(replica);
        self.wipe(group, incarnation).await
    }

    /// Removes everything of a replica that is closed and going.
    async fn wipe(self: &Arc<Self>, group: u32, incarnation: u64) -> Result<(), Error> {
        let hosted = self.clone();
        blocking(move || {
            // The tombstone comes first: what is left of state and snapshots after a crash is then nobody's.
            Log::destroy(&hosted.wal, group, incarnation)?;
            hosted.shared.snapshots.forget(group)?;
            hosted.shared.store.wipe(group)?;
            hosted.roster.lock().put(group, Entry { stage: Stage::Gone, incarnation })?;
            tracing::info!(group, incarnation, "a replica was removed");
            Ok(())
        })
        .await
    }
}

/// Runs on a blocking thread.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    spawn_blocking(work).await.map_err(|error| Error::Stopped(error.to_string()))?
}
