//! Sizes and limits of a node's shards.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Effects, Error};
use crate::peer::Transport;
use crate::store::state;
use crate::store::vfs::Vfs;

/// Called once when a group cannot go on. What the node has in memory is worth nothing then.
pub type OnFatal = Arc<dyn Fn(&str) + Send + Sync>;

/// Slots that actor ids are spread over; there are fewer groups than slots.
pub const SLOTS: u32 = 4096;

/// Bytes of entries after which a snapshot is due, however large the log may grow.
const SNAPSHOT_BYTES_MAX: u64 = 1 << 30;

/// Segments of the log that no group is hurried for.
const PIN_SEGMENTS_MIN: u32 = 4;

/// Room of the log that a command's framing takes at most, in bytes.
const FRAMING_BYTES: u64 = 64;

/// Sizes and limits. `Config::new` has what a node needs.
#[derive(Clone)]
pub struct Config {
    /// Data groups of the cluster, besides the system group; fixed when the cluster is made.
    pub groups: u32,
    /// Largest encoded command, in bytes.
    pub command_bytes_max: usize,
    /// Proposals of one group that wait for their result; more are refused.
    pub proposals_max: usize,
    /// Bytes of all proposals that wait for their result; more are refused.
    pub proposals_bytes_max: usize,
    /// Reads of one group that wait for their read index; more are refused.
    pub reads_max: usize,
    /// How long a read waits for its index to be confirmed and applied, in milliseconds. For the confirmation it waits no
    /// longer than `election_max_ms`.
    pub read_ms: u64,
    /// How long the result of a proposal is waited for before it is said to be unknown, in milliseconds.
    pub propose_ms: u64,
    /// How long a change of members or of the leader is waited for, in milliseconds.
    pub change_ms: u64,
    /// How long `start` waits for leadership of groups this node is the only member of, in milliseconds.
    pub start_ms: u64,
    /// How long one batch may take to be applied before the group is given up, in milliseconds.
    pub apply_ms: u64,
    /// How long a follower may leave entries unanswered before they are sent again, in milliseconds.
    pub append_stall_ms: u64,
    /// How long the transfer of a snapshot may make no progress, in milliseconds.
    pub snapshot_stall_ms: u64,
    /// Heartbeats of a leader, in milliseconds.
    pub heartbeat_ms: u64,
    /// Shortest time without a heartbeat after which a follower wants to lead, in milliseconds.
    pub election_min_ms: u64,
    /// Longest such time, in milliseconds.
    pub election_max_ms: u64,
    /// A snapshot is due when so many entries were applied since the last one, or when they would take too much of
    /// the log.
    pub snapshot_entries: u64,
    /// How often it is looked whether snapshots are due and space can be reclaimed, in milliseconds.
    pub upkeep_ms: u64,
    /// Size of a segment of the write-ahead log, in bytes.
    pub wal_segment_bytes: u64,
    /// Bound of the write-ahead log, in bytes.
    pub wal_bytes_max: u64,
    /// The state store.
    pub state: state::Config,
    /// What to do when a group cannot go on. The default logs it and aborts the process.
    pub on_fatal: OnFatal,
}

/// What the shards stand on.
pub struct Deps {
    /// The file system of log and snapshots.
    pub vfs: Arc<dyn Vfs>,
    /// Where log and snapshots are.
    pub data_dir: PathBuf,
    /// Where the rebuildable state is, on the real file system; usually `data_dir/state`.
    pub state_dir: PathBuf,
    /// What applying a command does outside the state.
    pub effects: Arc<dyn Effects>,
    /// The way to other nodes; `Alone` where there are none.
    pub transport: Arc<dyn Transport>,
}

impl Config {
    /// The configuration of a node of a cluster with so many data groups.
    pub fn new(groups: u32) -> Self {
        Self {
            groups,
            command_bytes_max: (16 << 20) - FRAMING_BYTES as usize,
            proposals_max: 4096,
            proposals_bytes_max: 48 << 20,
            reads_max: 65536,
            read_ms: 5000,
            propose_ms: 30_000,
            change_ms: 30_000,
            start_ms: 10_000,
            apply_ms: 60_000,
            append_stall_ms: 5000,
            snapshot_stall_ms: 15_000,
            heartbeat_ms: 150,
            election_min_ms: 400,
            election_max_ms: 700,
            snapshot_entries: 100_000,
            upkeep_ms: 1000,
            wal_segment_bytes: 64 << 20,
            wal_bytes_max: 16 << 30,
            state: state::Config::default(),
            on_fatal: Arc::new(|reason| {
                tracing::error!(reason, "a shard cannot go on; the process ends");
                std::process::abort();
            }),
        }
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        let command_max = self.command_bytes_max as u64 + FRAMING_BYTES;
        let rules = [
            (self.groups >= 1 && self.groups < SLOTS, "groups must be 1 to 4095"),
            (command_max <= self.wal_segment_bytes / 4, "a command must fit into a quarter of a log segment"),
            (self.proposals_bytes_max >= self.command_bytes_max, "proposals_bytes_max must hold one command"),
            (self.proposals_bytes_max >> 10 <= u32::MAX as usize, "proposals_bytes_max must be below 4 TiB"),
            (self.snapshot_entries >= 1, "snapshot_entries must be at least 1"),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(Error::Config(rule.to_owned())),
            None => self.raft().map(|_| ()),
        }
    }

    /// A snapshot is due when entries of so many bytes were applied since the last one. As a log is only purged up to
    /// the snapshot before the newest, all groups together then keep the log below half of its bound.
    pub(super) fn snapshot_bytes(&self) -> u64 {
        (self.wal_bytes_max / 4 / u64::from(self.groups_max())).min(SNAPSHOT_BYTES_MAX)
    }

    /// From this many segments in use, groups that keep the oldest one take snapshots although they wrote little: one
    /// segment in eight of the bound, at least as many as a start reads quickly.
    pub(super) fn pin_segments(&self) -> u32 {
        let segments = self.wal_bytes_max / self.wal_segment_bytes;
        u32::try_from(segments / 8).unwrap_or(u32::MAX).max(PIN_SEGMENTS_MIN)
    }

    /// openraft's configuration: pre-vote on, no restored leadership (an epoch must not survive a restart), snapshots only
    /// when our own scheduler says so, and no purge but ours.
    pub(super) fn raft(&self) -> Result<openraft::Config, Error> {
        // A heartbeat goes at the first tick after its time, and ticks come twice in `heartbeat_ms`: so it goes at every second one.
        let heartbeat_interval = self.heartbeat_ms - self.heartbeat_ms / 16;
        let config = openraft::Config {
            cluster_name: "lethe".to_owned(),
            heartbeat_interval,
            election_timeout_min: self.election_min_ms,
            election_timeout_max: self.election_max_ms,
            heartbeat_min_interval: Some(self.heartbeat_ms / 2),
            enable_pre_vote: Some(true),
            enable_leader_restore: Some(false),
            allow_log_reversion: None,
            quorum_loss_probe_interval: Some(2 * self.election_max_ms),
            snapshot_policy: openraft::SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: u64::MAX,
            purge_batch_size: 256,
            ..openraft::Config::default()
        };
        config.validate().map_err(|error| Error::Config(error.to_string()))
    }

    /// How far apart the ticks of replicas' clocks are.
    pub(super) fn tick(&self) -> Duration {
        Duration::from_millis(self.heartbeat_ms) / 2
    }

    /// Replicas a node can have: the data groups and the system group.
    pub(super) fn groups_max(&self) -> u32 {
        self.groups + 1
    }

    pub(super) fn entry_bytes_max(&self) -> u64 {
        self.command_bytes_max as u64 + FRAMING_BYTES
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("groups", &self.groups).finish_non_exhaustive()
    }
}
