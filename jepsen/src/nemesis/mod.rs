//! The nemesis: breaks servers while they are used, and writes down what really happened.
//!
//! A fault is `installed` only when there is evidence for it: a kill when the operating system says that signal 9
//! ended the process, a pause when it says that the process stands still, a power cut when writes fail after it and
//! what was not synced is gone, a partition when it swallowed packets, a change of the cluster when its status says
//! so, a fault of an actor's leader when another leader has answered a change of that actor. A server that ends by
//! itself, or does not come back, is an incident, and an incident is a violation whatever the history says.

mod many;
mod one;

pub use many::{Hunt, Nodes, Plan};
pub use one::Victim;

use std::{collections::BTreeSet, time::Duration};

use anyhow::Context;
use clap::ValueEnum;
use rand::{RngExt, rngs::StdRng};
use serde::{Deserialize, Serialize};

use crate::{door::DEADLINE, history::Writer, verdict::is_violation, workload::Name};

/// Lines that the nemesis writes and that no run may have.
pub const INCIDENTS: [&str; 5] = ["server-died", "no-restart", "no-answers", "not-healed", "replicas-differ"];

/// How often servers are looked at while nothing is done to them.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The last fault leaves this much of the run.
const CALM_END: Duration = Duration::from_secs(2);
/// Shortest calm that is no hurry: before a fault that comes sooner nothing is waited for.
const CALM_MIN: Duration = Duration::from_millis(600);

/// What is done to the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Nemesis {
    /// Nothing.
    None,
    /// SIGKILL and a restart on the same data, again and again, sometimes right after the restart. In a cluster, of
    /// one node, a majority or all.
    Kill,
    /// SIGSTOP for a moment, or for longer than clients wait for an answer, and SIGCONT.
    Pause,
    /// Like kill, but all that was not synced is lost, too. Needs root and a few programs (see `lethe_tests::Disk`).
    PowerCut,
    /// Links between nodes are cut: around one node, one way only, or between two nodes that a third still reaches.
    /// Needs root and a few programs (see `lethe_tests::Network`).
    Partition,
    /// Leadership of groups is handed over, and nodes are drained and taken back.
    Transfer,
    /// Nodes are added, and others removed for good.
    Members,
    /// Nodes are stopped one after the other, as for a new version, and started again.
    Rolling,
    /// Nodes are killed and started again, or paused, while links between nodes are cut. Needs what partitions need.
    Chaos,
    /// Kills, pauses, cuts around leaders, transfers and chaos (with links cut around anybody) in turn.
    All,
    /// Links around the leader of an actor in use are cut while clients go on calling it, until another leader has
    /// answered a change. Needs what partitions need.
    LeaderCut,
    /// As leader-cut, but the leader is stopped by SIGSTOP, and goes on with what it believes.
    LeaderPause,
    /// As leader-cut, but leadership is handed over and back.
    LeaderTransfer,
    /// As leader-cut, but the leader is killed, and started again.
    LeaderKill,
    /// All of these four in turn.
    Leader,
}

impl Nemesis {
    /// Its name, as on the command line and in a history.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::PowerCut => "power-cut",
            Self::Partition => "partition",
            Self::Transfer => "transfer",
            Self::Members => "members",
            Self::Rolling => "rolling",
            Self::Chaos => "chaos",
            Self::All => "all",
            Self::LeaderCut => "leader-cut",
            Self::LeaderPause => "leader-pause",
            Self::LeaderTransfer => "leader-transfer",
            Self::LeaderKill => "leader-kill",
            Self::Leader => "leader",
        }
    }

    /// The faults it installs, by their names.
    pub fn faults(self) -> &'static [Self] {
        match self {
            Self::None => &[],
            Self::Kill => &[Self::Kill],
            Self::Pause => &[Self::Pause],
            Self::PowerCut => &[Self::PowerCut],
            Self::Partition => &[Self::Partition],
            Self::Transfer => &[Self::Transfer],
            Self::Members => &[Self::Members],
            Self::Rolling => &[Self::Rolling],
            Self::Chaos => &[Self::Chaos],
            Self::All => &[Self::Kill, Self::Pause, Self::LeaderCut, Self::Transfer, Self::Chaos],
            Self::LeaderCut => &[Self::LeaderCut],
            Self::LeaderPause => &[Self::LeaderPause],
            Self::LeaderTransfer => &[Self::LeaderTransfer],
            Self::LeaderKill => &[Self::LeaderKill],
            Self::Leader => &[Self::LeaderCut, Self::LeaderPause, Self::LeaderTransfer, Self::LeaderKill],
        }
    }

    /// Whether it only does what operators do on purpose, which should cut nobody off.
    pub fn is_orderly(self) -> bool {
        let orderly =
            |fault: &Self| matches!(fault, Self::Transfer | Self::Members | Self::Rolling | Self::LeaderTransfer);
        self.faults().iter().all(orderly)
    }

    /// Whether it needs several nodes.
    pub fn needs_cluster(self) -> bool {
        match self {
            Self::None | Self::Kill | Self::Pause | Self::PowerCut => false,
            Self::Partition | Self::Transfer | Self::Members | Self::Rolling | Self::Chaos | Self::All => true,
            Self::LeaderCut | Self::LeaderPause | Self::LeaderTransfer | Self::LeaderKill | Self::Leader => true,
        }
    }

    /// Whether links between nodes are cut.
    pub fn needs_network(self) -> bool {
        self.faults().iter().any(|fault| matches!(fault, Self::Partition | Self::Chaos | Self::LeaderCut))
    }

    /// Whether it aims at the leader of an actor in use.
    pub fn aims(self) -> bool {
        let aims = |fault: &Self| {
            matches!(fault, Self::LeaderCut | Self::LeaderPause | Self::LeaderTransfer | Self::LeaderKill)
        };
        self.faults().iter().any(aims)
    }

    /// How often a run of this length on so many nodes must at least see each of its faults.
    pub fn times(self, time: Duration, nodes: usize) -> u64 {
        // Half of what a run on a machine with other work reaches.
        let seconds_each = match (self, nodes) {
            (Self::None, _) => return 0,
            (Self::Kill | Self::PowerCut, 1) => 4,
            (Self::Pause, 1) => 8,
            (Self::Kill | Self::PowerCut | Self::Pause | Self::Partition | Self::Transfer | Self::Chaos, _) => 15,
            (Self::LeaderCut | Self::LeaderPause | Self::LeaderTransfer | Self::LeaderKill, _) => 20,
            (Self::Members | Self::Rolling | Self::All | Self::Leader, _) => 60,
        };
        (time.as_secs() / seconds_each).max(1)
    }
}

/// Looks again and again whether what was recorded is a violation already, if somebody wants to know.
struct Look {
    workload: Option<Name>,
    /// Lines that were looked at.
    seen: usize,
}

impl Look {
    fn new(workload: Option<Name>) -> Self {
        Self { workload, seen: 0 }
    }

    /// Whether a violation is in the histories of actors that were called since the last look.
    async fn catches(&mut self, writer: &Writer) -> anyhow::Result<bool> {
        let Some(workload) = self.workload else { return Ok(false) };
        let from = std::mem::replace(&mut self.seen, writer.lines());
        let mut history = writer.so_far();
        let called: BTreeSet<_> = history[from..].iter().map(|op| op.key.clone()).collect();
        history.retain(|op| called.contains(&op.key));
        tokio::task::spawn_blocking(move || is_violation(&history, workload)).await.context("judging")?
    }
}

/// How long nothing is done before the next fault: one in four comes while servers have hardly started.
fn calm(rng: &mut StdRng) -> Duration {
    match rng.random_bool(0.25) {
        true => Duration::from_millis(rng.random_range(0..200)),
        false => Duration::from_millis(rng.random_range(CALM_MIN.as_millis() as u64..2_500)),
    }
}

/// Most pauses are short; one in four outlasts every call that is under way.
fn pause_length(rng: &mut StdRng) -> Duration {
    match rng.random_bool(0.25) {
        true => DEADLINE + Duration::from_millis(rng.random_range(100..1_000)),
        false => Duration::from_millis(rng.random_range(50..1_500)),
    }
}
