//! One run: a server or a cluster, clients, a nemesis, and everything that happened written down.

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use lethe_tests::{Cluster, Disk, Place, Setup};
use serde::Serialize;
use serde_json::json;
use tokio::{sync::watch, task::JoinSet};

use crate::{
    aim::{Sights, TEAM, WITNESSES},
    check::{Required, Verdict},
    cluster::{Addresses, DATA_DIR, Server, write_project},
    door::{Door, namespace},
    history::Writer,
    nemesis::{Hunt, Nemesis, Nodes, Plan, Victim},
    verdict::{HISTORY_FILE, Judgement, RUN_FILE, judge_dir},
    workload::{
        BankWorkload, Clients, CounterWorkload, ListWorkload, Name, RegisterWorkload, Rhythm, SetWorkload, Workload,
        final_reads, witness, work,
    },
};

/// Name of the image of a disk whose power can be cut.
const IMAGE_FILE: &str = "disk.img";

/// What to do.
#[derive(Clone, Debug, Serialize)]
pub struct Config {
    /// The `lethe` binary.
    pub server: PathBuf,
    /// A new folder for everything the run leaves behind.
    pub out: PathBuf,
    /// What clients do.
    pub workload: Name,
    /// What is done to the server.
    pub nemesis: Nemesis,
    /// Servers: one by itself is `lethe dev`, several are a cluster of `lethe serve`.
    pub nodes: usize,
    /// Data groups of a cluster.
    pub groups: u16,
    /// Further sections of each node's `lethe.toml`.
    pub settings: String,
    /// Length of the run without its final reads.
    pub time: Duration,
    /// The final reads may take this long.
    pub final_reads_max: Duration,
    /// Clients at the same time.
    pub workers: usize,
    /// Calls in a second by all of them together, at most.
    pub rate: f64,
    /// Same seed, same calls and same faults; how they meet is up to the machine.
    pub seed: u64,
    /// The run is over as soon as its history is a violation: it is judged after every fault.
    pub until_caught: bool,
    /// What the run must have done to count.
    pub required: Required,
}

impl Config {
    /// Settings of a cluster that make what seldom happens happen all the time: snapshots are taken and the log is purged
    /// behind them, actors fall asleep and wake up, key epochs change.
    pub const RESTLESS: &str = "[raft]\nsnapshot_entries = 100\n[actors]\nidle_ms = 700\n[keys]\nrotate_ms = 10000\n";

    /// What a run of this workload must have done in this time under this nemesis on so many nodes.
    pub fn required(workload: Name, nemesis: Nemesis, time: Duration, nodes: usize) -> Required {
        let times = nemesis.times(time, nodes);
        let ways = |door: &&str| -> Vec<String> {
            match nodes {
                1 => vec![(*door).to_owned()],
                nodes => (1..=nodes).map(|node| format!("n{node}.{door}")).collect(),
            }
        };
        let mut required = Required {
            // A cluster may be slow, and refuses while a majority is down: what counts is what it answers between faults.
            ok_per_second: if nodes == 1 { 50.0 } else { 1.0 },
            ok_share: if nodes == 1 { 0.6 } else { 0.1 },
            ok_per_stretch: if nodes == 1 { 0 } else { 25 },
            functions: BTreeSet::new(),
            nodes: Door::NAMES.iter().flat_map(ways).collect(),
            overlap_median: 2,
            reads_beside_changes: 0.2,
            cas_swapped: (0.0, 1.0),
            faults: nemesis.faults().iter().map(|fault| (fault.name().to_string(), times)).collect(),
            interrupts: !nemesis.is_orderly(),
        };
        match workload {
            Name::Register => RegisterWorkload::require(&mut required),
            Name::Bank => BankWorkload::require(&mut required),
            Name::Counter => CounterWorkload::require(&mut required),
            Name::Set => SetWorkload::require(&mut required),
            Name::List => ListWorkload::require(&mut required),
        }
        required
    }
}

/// What is broken: one server, or a cluster.
enum Subject {
    One(Box<Victim>),
    Many(Box<Nodes>),
}

impl Subject {
    /// Starts it, and tells where it is.
    async fn start(
        config: &Config,
        project: &std::path::Path,
    ) -> anyhow::Result<(Self, watch::Receiver<Vec<Addresses>>)> {
        if config.nodes > 1 {
            let (nodes, receiver) = Nodes::new(form(config, project).await?);
            return Ok((Self::Many(Box::new(nodes)), receiver));
        }
        if config.nemesis.needs_cluster() {
            bail!("{} needs a cluster: --nodes 3 or more", config.nemesis.name());
        }
        // The server keeps its data in the folder that the disk is mounted on.
        let disk = match config.nemesis {
            Nemesis::PowerCut => Some(Disk::create(&config.out.join(IMAGE_FILE), &config.out.join(DATA_DIR))?),
            _ => None,
        };
        let place = Place { network: None, mounts: disk.as_ref().map(Disk::space) };
        let mut server = Server::new(&config.server, project, &config.out, place)?;
        let (addresses, receiver) = watch::channel(vec![server.start().await?]);
        Ok((Self::One(Box::new(Victim { server, disk, addresses })), receiver))
    }

    /// Breaks it until the time is over. `false` after an incident.
    async fn torment<W: Workload>(&mut self, config: &Config, clients: &Clients<W>) -> anyhow::Result<bool> {
        let writer = &clients.writer;
        let (namespace, teams) = (namespace(W::CLASS), config.workers.div_ceil(TEAM));
        let hunt = Hunt { sights: &clients.sights, actors: clients, namespace, teams };
        let plan = Plan {
            nemesis: config.nemesis,
            time: config.time,
            least: &config.required.faults,
            seed: config.seed,
            hunt: &hunt,
            until_caught: config.until_caught.then_some(config.workload),
        };
        match self {
            Self::One(victim) => victim.torment(&plan, writer).await,
            Self::Many(nodes) => nodes.torment(&plan, writer).await,
        }
    }

    /// Finds out whether it is whole again.
    async fn healed(&mut self, writer: &Writer) -> anyhow::Result<bool> {
        match self {
            Self::One(_) => Ok(true),
            Self::Many(nodes) => nodes.healed(writer).await,
        }
    }

    /// Ends it.
    async fn end(&mut self, writer: &Writer) -> anyhow::Result<()> {
        let victim = match self {
            Self::One(victim) => victim,
            Self::Many(nodes) => {
                for node in nodes.cluster.nodes_mut() {
                    node.end().await?;
                }
                return Ok(());
            }
        };
        match victim.server.died()? {
            Some(why) => writer.nemesis("server-died", json!({"status": "observed", "why": why})),
            None => drop(victim.server.kill().await?),
        }
        Ok(())
    }

    /// The folder of a cluster, kept as evidence.
    fn keep(self) -> Option<PathBuf> {
        match self {
            Self::One(_) => None,
            Self::Many(nodes) => Some(nodes.cluster.keep()),
        }
    }
}

async fn form(config: &Config, project: &std::path::Path) -> anyhow::Result<Cluster> {
    let setup = Setup {
        nodes: config.nodes,
        groups: config.groups,
        network: config.nemesis.needs_network(),
        disks: config.nemesis == Nemesis::PowerCut,
        settings: config.settings.clone(),
        binary: Some(std::path::absolute(&config.server).context("the server's path")?),
        dir: Some(std::path::absolute(&config.out).context("the run's folder")?),
        ..Setup::default()
    };
    let cluster = Cluster::form(setup).await?;
    cluster.deploy(project).await?;
    Ok(cluster)
}

/// Runs a workload and judges what happened. Errors are failures of the harness, not of the server.
pub async fn run(config: &Config) -> anyhow::Result<Judgement> {
    if config.out.exists() {
        bail!("{} exists already: every run needs a folder of its own", config.out.display());
    }
    let project = config.out.join("project");
    write_project(&project)?;
    fs::write(config.out.join(RUN_FILE), serde_json::to_string_pretty(config)?).context("the run's file")?;
    let evidence = match config.workload {
        Name::Register => record::<RegisterWorkload>(config, &project).await?,
        Name::Bank => record::<BankWorkload>(config, &project).await?,
        Name::Counter => record::<CounterWorkload>(config, &project).await?,
        Name::Set => record::<SetWorkload>(config, &project).await?,
        Name::List => record::<ListWorkload>(config, &project).await?,
    };
    let judgement = judge_dir(&config.out)?;
    if judgement.verdict == Verdict::Valid {
        // The server's data is evidence only of what went wrong; the history can be judged again without it.
        let data = evidence.unwrap_or_else(|| config.out.join(DATA_DIR));
        fs::remove_dir_all(data).context("the server's data")?;
        if config.nemesis == Nemesis::PowerCut && config.nodes == 1 {
            fs::remove_file(config.out.join(IMAGE_FILE)).context("the disk's image")?;
        }
    }
    Ok(judgement)
}

/// Gives the folder of a cluster, if it was one.
async fn record<W: Workload>(config: &Config, project: &std::path::Path) -> anyhow::Result<Option<PathBuf>> {
    let writer = Writer::create(Some(&config.out.join(HISTORY_FILE)))?;
    let (mut subject, addresses) = Subject::start(config, project).await?;
    let (sights, stopped) = (Sights::default(), AtomicBool::new(false));
    let clients = Arc::new(Clients { writer, workload: W::default(), addresses, sights, stopped });
    let pace = Duration::from_secs_f64(config.workers as f64 / config.rate);
    let rhythm = Rhythm { begin: Instant::now(), pace };
    let mut workers = JoinSet::new();
    for number in 0..config.workers {
        let (clients, seed) = (Arc::clone(&clients), config.seed);
        workers.spawn(async move { work(&clients, number, rhythm, seed).await });
    }
    for number in 0..if config.nemesis.aims() { WITNESSES } else { 0 } {
        let clients = Arc::clone(&clients);
        workers.spawn(async move { witness(&clients, number).await });
    }
    let alive = subject.torment(config, &clients).await?;
    clients.stopped.store(true, Ordering::Relaxed);
    while let Some(worker) = workers.join_next().await {
        worker.context("a worker panicked")?;
    }
    if alive && subject.healed(&clients.writer).await? {
        let status = if final_reads(&clients, config.final_reads_max).await { "complete" } else { "incomplete" };
        clients.writer.nemesis("final-reads", json!({"status": status}));
        subject.end(&clients.writer).await?;
    }
    let clients = Arc::into_inner(clients).context("a worker is still there")?;
    clients.writer.finish()?;
    Ok(subject.keep())
}
