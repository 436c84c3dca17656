//! `Replica`: one Raft group on this node, from opening its storage to watching over it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use openraft::Raft;
use openraft::async_runtime::WatchReceiver;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::task::TaskTracker;

use super::config::OnFatal;
use super::limits::Limits;
use super::log::Log;
use super::machine::Machine;
use super::network::{Links, Network};
use super::proposer::Proposer;
use super::recover::recover;
use super::types::{Peer, Types};
use super::{Config, Effects, Epoch, Error, NodeId, Shard};
use crate::store::snapshot;
use crate::store::state::{Group, Store};

/// One group on this node.
pub(super) struct Replica {
    pub id: u32,
    /// The life of this replica.
    pub incarnation: u64,
    pub raft: Raft<Types, Machine>,
    pub group: Arc<Group>,
    pub machine: Machine,
    pub leadership: watch::Receiver<Option<Epoch>>,
    /// Who leads, as far as this node knows.
    pub leader: watch::Receiver<Option<NodeId>>,
    /// Proposals of this group that may wait.
    pub proposals: Arc<Semaphore>,
    pub proposals_max: usize,
    pub proposer: Arc<Proposer>,
    /// Reads of this group that may wait.
    pub reads: Arc<Semaphore>,
    pub limits: Arc<Limits>,
    pub read_wait: Duration,
    pub propose_wait: Duration,
    pub change_wait: Duration,
    /// One change of members at a time.
    pub change: Arc<Semaphore>,
    /// Tasks of all replicas, which end when these have stopped.
    pub tasks: TaskTracker,
    /// How old a follower's last answer may be for it to be asked to lead.
    pub contact_max: Duration,
    /// Record sets that wait to be reclaimed, as of the last upkeep.
    pub reclaim_backlog: AtomicUsize,
}

/// What replicas share.
pub(super) struct Shared {
    pub node: NodeId,
    pub config: Config,
    pub raft: Arc<openraft::Config>,
    pub store: Arc<Store>,
    pub snapshots: snapshot::Dir,
    pub effects: Arc<dyn Effects>,
    pub limits: Arc<Limits>,
    pub links: Arc<Links>,
}

impl Replica {
    /// Recovers the group's state and starts it. The task watches over it until it stops.
    pub async fn start(shared: &Shared, id: u32, incarnation: u64, log: Log) -> Result<(Self, JoinHandle<()>), Error> {
        let machine = open(shared, id, incarnation, log.clone()).await?;
        let group = machine.group().clone();
        // How much of the log is this group's is not known; a snapshot too early costs less than one too late.
        machine.add_unsaved_bytes(shared.limits.log_bytes() / u64::from(shared.config.groups_max()));
        let network = Network { group: id, links: shared.links.clone() };
        let raft = Raft::new(shared.node, shared.raft.clone(), network, log, machine.clone()).await;
        let raft = raft.map_err(|error| Error::Refused(format!("group {id}: {error}")))?;
        let told = Told { leadership: watch::Sender::new(None), leader: watch::Sender::new(None) };
        let (leadership, leader) = (told.leadership.subscribe(), told.leader.subscribe());
        let watching = tokio::spawn(watch_over(id, raft.clone(), told, shared.config.on_fatal.clone()));
        let replica = Self {
            id,
            incarnation,
            group,
            machine,
            leadership,
            leader,
            proposals: Arc::new(Semaphore::new(shared.config.proposals_max)),
            proposer: Proposer::new(raft.clone(), shared.links.tasks().clone(), shared.config.command_bytes_max),
            proposals_max: shared.config.proposals_max,
            reads: Arc::new(Semaphore::new(shared.config.reads_max)),
            limits: shared.limits.clone(),
            read_wait: Duration::from_millis(shared.config.read_ms),
            propose_wait: Duration::from_millis(shared.config.propose_ms),
            change_wait: Duration::from_millis(shared.config.change_ms),
            change: Arc::new(Semaphore::new(1)),
            tasks: shared.links.tasks().clone(),
            contact_max: Duration::from_millis(shared.config.election_min_ms),
            reclaim_backlog: AtomicUsize::new(0),
            raft,
        };
        Ok((replica, watching))
    }

    /// Makes this node the group's only member, unless the group has begun already.
    pub async fn initialize(&self, node: NodeId) -> Result<(), Error> {
        let stopped = |error: String| Error::Stopped(format!("group {}: {error}", self.id));
        if self.raft.is_initialized().await.map_err(|e| stopped(e.to_string()))? {
            return Ok(());
        }
        let members = BTreeMap::from([(node, Peer { incarnation: self.incarnation })]);
        self.raft.initialize(members).await.map_err(|e| stopped(e.to_string()))
    }

    /// Starts an election at once where no other node could lead.
    pub async fn lead_alone(&self, node: NodeId) -> Result<bool, Error> {
        let stopped = |error: openraft::error::Fatal<Types>| Error::Stopped(format!("group {}: {error}", self.id));
        let alone = self.raft.with_raft_state(move |state| {
            let voters: Vec<_> = state.membership_state.effective().voter_ids().collect();
            (voters == [node], state.vote_ref().is_committed() && state.vote_ref().leader_id.node_id == node)
        });
        let (alone, leads) = alone.await.map_err(stopped)?;
        if alone && !leads {
            self.raft.trigger().elect(false).await.map_err(stopped)?;
        }
        Ok(alone)
    }

    /// Waits until this node leads and has proved it.
    pub async fn wait_to_lead(self: &Arc<Self>, wait_ms: u64) -> Result<(), Error> {
        let stopped = |what: String| Error::Stopped(format!("group {}: {what}", self.id));
        let leading = async {
            let mut leadership = self.leadership.clone();
            leadership.wait_for(Option::is_some).await.map_err(|error| stopped(error.to_string()))?;
            Shard::new(self.clone()).read_index().await.map_err(|error| stopped(error.to_string()))?;
            Ok(())
        };
        match tokio::time::timeout(Duration::from_millis(wait_ms), leading).await {
            Ok(led) => led,
            Err(_) => Err(stopped(format!("it did not come up within {wait_ms} ms"))),
        }
    }
}

/// Where a replica says who leads.
struct Told {
    leadership: watch::Sender<Option<Epoch>>,
    leader: watch::Sender<Option<NodeId>>,
}

impl Told {
    fn tell(&self, epoch: Option<Epoch>, leader: Option<NodeId>) {
        self.leadership.send_if_modified(|before| std::mem::replace(before, epoch) != epoch);
        self.leader.send_if_modified(|before| std::mem::replace(before, leader) != leader);
    }
}

/// Opens state and snapshots of the group.
async fn open(shared: &Shared, id: u32, incarnation: u64, log: Log) -> Result<Machine, Error> {
    let (node, store, snapshots) = (shared.node, shared.store.clone(), shared.snapshots.clone());
    let effects = shared.effects.clone();
    let stall = Duration::from_millis(shared.config.apply_ms);
    let opened = spawn_blocking(move || {
        let recovered = recover(&store, &snapshots, &log, id, incarnation)?;
        let machine = Machine::new(node, recovered.group, snapshots, effects, recovered.current, stall);
        if recovered.loaded {
            machine.repeat_effects().map_err(|error| Error::Refused(format!("group {id}: {error}")))?;
        }
        Ok(machine)
    });
    opened.await.map_err(|error| Error::Stopped(format!("group {id}: {error}")))?
}

/// Publishes leadership and ends the process when the group cannot go on.
async fn watch_over(id: u32, raft: Raft<Types, Machine>, told: Told, on_fatal: OnFatal) {
    // These change when leadership or membership does, not with every entry, and end with openraft.
    let mut metrics = raft.server_metrics();
    let mut known = None;
    loop {
        let (epoch, leader) = {
            let now = metrics.borrow_watched();
            let leads = now.state.is_leader() && now.vote.is_committed() && now.vote.leader_id.node_id == now.id;
            (leads.then(|| Epoch::from(now.vote.leader_id)), now.current_leader)
        };
        told.tell(epoch, leader);
        if std::mem::replace(&mut known, leader) != leader {
            tracing::debug!(group = id, ?leader, "another node leads a group");
        }
        if metrics.changed().await.is_err() {
            break;
        }
    }
    told.tell(None, None);
    let end = raft.metrics().borrow_watched().running_state.clone();
    match end {
        Err(openraft::error::Fatal::Stopped) => {}
        Err(error) => on_fatal(&format!("group {id}: {error}")),
        Ok(()) => on_fatal(&format!("group {id}: openraft ended without a reason")),
    }
}
