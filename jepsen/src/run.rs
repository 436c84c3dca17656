//! One run: a server, clients, a nemesis, and everything that happened written down.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
    time::Duration,
};

use anyhow::{Context, bail};
use lethe_tests::{Disk, Place};
use serde::Serialize;
use serde_json::json;
use tokio::{sync::watch, task::JoinSet};

use crate::{
    check::{Required, Verdict},
    cluster::{DATA_DIR, Server, write_project},
    door::Door,
    history::Writer,
    nemesis::{Nemesis, Victim, torment},
    verdict::{HISTORY_FILE, Judgement, RUN_FILE, judge_dir},
    workload::{BankWorkload, Clients, Name, RegisterWorkload, SetWorkload, Workload, final_reads, work},
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
    /// What the run must have done to count.
    pub required: Required,
}

impl Config {
    /// What a run of this workload must have done in this time under this nemesis.
    pub fn required(workload: Name, nemesis: Nemesis, time: Duration) -> Required {
        // Kills come every two seconds or so, pauses last up to six; about half of them must have happened.
        let faults = match nemesis {
            Nemesis::Pause => time.as_secs() / 8,
            Nemesis::None | Nemesis::Kill | Nemesis::PowerCut => time.as_secs() / 4,
        };
        let faults = match nemesis {
            Nemesis::None => BTreeMap::new(),
            Nemesis::Kill | Nemesis::Pause | Nemesis::PowerCut => {
                BTreeMap::from([(nemesis.name().to_string(), faults.max(1))])
            }
        };
        let mut required = Required {
            ok_per_second: 50.0,
            ok_share: 0.6,
            functions: BTreeSet::new(),
            nodes: Door::NAMES.map(str::to_string).into(),
            overlap_median: 2,
            reads_beside_changes: 0.2,
            cas_swapped: (0.0, 1.0),
            faults,
        };
        match workload {
            Name::Register => RegisterWorkload::require(&mut required),
            Name::Bank => BankWorkload::require(&mut required),
            Name::Set => SetWorkload::require(&mut required),
        }
        required
    }
}

/// Runs a workload and judges what happened. Errors are failures of the harness, not of the server.
pub async fn run(config: &Config) -> anyhow::Result<Judgement> {
    if config.out.exists() {
        bail!("{} exists already: every run needs a folder of its own", config.out.display());
    }
    let project = config.out.join("project");
    write_project(&project)?;
    fs::write(config.out.join(RUN_FILE), serde_json::to_string_pretty(config)?).context("the run's file")?;
    match config.workload {
        Name::Register => record::<RegisterWorkload>(config, &project).await?,
        Name::Bank => record::<BankWorkload>(config, &project).await?,
        Name::Set => record::<SetWorkload>(config, &project).await?,
    }
    let judgement = judge_dir(&config.out)?;
    if judgement.verdict == Verdict::Valid {
        // The server's data is evidence only of what went wrong; the history can be judged again without it.
        fs::remove_dir_all(config.out.join(DATA_DIR)).context("the server's data")?;
        if config.nemesis == Nemesis::PowerCut {
            fs::remove_file(config.out.join(IMAGE_FILE)).context("the disk's image")?;
        }
    }
    Ok(judgement)
}

async fn record<W: Workload>(config: &Config, project: &std::path::Path) -> anyhow::Result<()> {
    let writer = Writer::create(Some(&config.out.join(HISTORY_FILE)))?;
    // The server keeps its data in the folder that the disk is mounted on.
    let disk = match config.nemesis {
        Nemesis::None | Nemesis::Kill | Nemesis::Pause => None,
        Nemesis::PowerCut => Some(Disk::create(&config.out.join(IMAGE_FILE), &config.out.join(DATA_DIR))?),
    };
    let place = Place { network: None, mounts: disk.as_ref().map(Disk::space) };
    let mut server = Server::new(&config.server, project, &config.out, place)?;
    let (addresses, receiver) = watch::channel(server.start().await?);
    let mut victim = Victim { server, disk, addresses };
    let clients =
        Arc::new(Clients { writer, workload: W::default(), addresses: receiver, stopped: AtomicBool::new(false) });
    let pace = Duration::from_secs_f64(config.workers as f64 / config.rate);
    let mut workers = JoinSet::new();
    for number in 0..config.workers {
        let (clients, seed) = (Arc::clone(&clients), config.seed);
        workers.spawn(async move { work(&clients, number, pace, seed).await });
    }
    let (nemesis, time, seed) = (config.nemesis, config.time, config.seed);
    let alive = torment(nemesis, &mut victim, &clients.writer, time, seed).await?;
    clients.stopped.store(true, Ordering::Relaxed);
    while let Some(worker) = workers.join_next().await {
        worker.context("a worker panicked")?;
    }
    if alive {
        let status = if final_reads(&clients, config.final_reads_max).await { "complete" } else { "incomplete" };
        clients.writer.nemesis("final-reads", json!({"status": status}));
        if let Some(why) = victim.server.died()? {
            clients.writer.nemesis("server-died", json!({"status": "observed", "why": why}));
        } else {
            victim.server.kill().await?;
        }
    }
    let clients = Arc::into_inner(clients).context("a worker is still there")?;
    clients.writer.finish()?;
    Ok(())
}
