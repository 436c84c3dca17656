//! What more nodes are good for: the work of each node under the same load, before and after as many nodes again joined.
//!
//! All processes share one machine, so more of them cannot do more together; what each of them has to do can be compared.
//! Nodes join while calls go on, and what callers see of it is told. Before each of the two measurements all nodes start
//! anew, because what a process once had it mostly keeps.

use std::{
    collections::BTreeMap,
    fs::File,
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use lethe_client::{ClusterStatus, ReplicaRole};
use lethe_tests::{Cluster, HEALTHY_MAX, Load, NAMESPACE, Setup, Usage, damage, deploy_counters, disk_bytes, leaders};
use serde_json::json;

use crate::{Args, bytes, paced::Pace, secs};

/// Actors that are called, all of them awake.
const ACTORS: u64 = 1024;
/// Values each of them holds besides, and their size in bytes.
const VALUES: (u32, u32) = (16, 4096);
/// Actors that are filled at once.
const FILLERS: usize = 32;
/// How long the load is measured; nodes without one, half of it.
const MEASURED: Duration = Duration::from_secs(20);
/// Counters that are counted up while nodes join, two callers each: nothing of them may be missing.
const COUNTERS: usize = 4;
/// Groups are spread evenly within this time.
const EVEN_MAX: Duration = Duration::from_secs(900);
/// By how many replicas, or leaders, a node may be off its share.
const OFF_MAX: usize = 1;
/// Replicas of a group.
const REPLICATION: u8 = 3;
/// What is read of a log at once.
const CHUNK_BYTES: usize = 1 << 20;
const POLL: Duration = Duration::from_millis(100);

/// What one node has and had to do.
#[derive(Clone, Debug, Default)]
struct Share {
    replicas: usize,
    leaders: usize,
    cpu: Duration,
    /// CPU without any calls, in the same time.
    idle_cpu: Duration,
    log_bytes: u64,
    /// Entries its replicas applied.
    entries: u64,
    state_bytes: u64,
    resident_bytes: u64,
}

/// What is compared: its name, its value, and how to print it.
type Column = (&'static str, fn(&Share) -> f64, fn(f64) -> String);

const COLUMNS: [Column; 8] = [
    ("replicas", |share| share.replicas as f64, |value| format!("{value:.1}")),
    ("leaders", |share| share.leaders as f64, |value| format!("{value:.1}")),
    ("CPU", |share| share.cpu.as_secs_f64(), |value| format!("{value:.2} s")),
    ("CPU without calls", |share| share.idle_cpu.as_secs_f64(), |value| format!("{value:.2} s")),
    ("log written", |share| share.log_bytes as f64, bytes),
    ("entries", |share| share.entries as f64, |value| format!("{value:.0}")),
    ("state", |share| share.state_bytes as f64, bytes),
    ("resident memory", |share| share.resident_bytes as f64, bytes),
];

/// Measures `--nodes`, lets as many join, and measures again.
pub async fn measure(args: &Args) -> Result<()> {
    let setup = Setup {
        nodes: args.nodes.into(),
        groups: args.groups,
        replication: REPLICATION,
        binary: args.lethe.clone(),
        dir: args.dir.clone(),
        ..Setup::default()
    };
    ensure!(args.nodes >= REPLICATION, "fewer than {REPLICATION} nodes hold everything, and so do twice as many");
    let mut cluster = Cluster::form(setup).await?;
    deploy_counters(&cluster).await?;
    even(&cluster, args).await?;
    pace(args, &cluster).await?.each("fill", &json!([VALUES.0, VALUES.1]), FILLERS).await?;
    let before = shares(args, &mut cluster).await?;
    grow(args, &mut cluster).await?;
    let after = shares(args, &mut cluster).await?;
    print(&before, &after);
    Ok(())
}

async fn pace(args: &Args, cluster: &Cluster) -> Result<Pace> {
    Pace::new(cluster, NAMESPACE, ACTORS, ("fill", json!([1, args.value_bytes])), args.capacity_rate).await
}

/// What each node does under the load.
async fn shares(args: &Args, cluster: &mut Cluster) -> Result<Vec<Share>> {
    restart(cluster).await?;
    even(cluster, args).await?;
    let pace = pace(args, cluster).await?;
    let idle = worked(cluster).await?;
    tokio::time::sleep(MEASURED / 2).await;
    let rested = worked(cluster).await?;
    pace.each("value", &json!([]), FILLERS).await?;
    let before = worked(cluster).await?;
    let seen = pace.run(MEASURED).await?;
    let after = worked(cluster).await?;
    println!("capacity  {} nodes, {} calls a second: {seen}", cluster.nodes().len(), args.capacity_rate);
    let status = cluster.status(0).await?;
    let (replicas, leaders) = (replicas(&status), leaders(&status));
    let share = |number: usize| {
        let name = &cluster.nodes()[number].name;
        Ok(Share {
            replicas: replicas.get(name).copied().unwrap_or(0),
            leaders: leaders.get(name).copied().unwrap_or(0),
            cpu: after[number].cpu - before[number].cpu,
            idle_cpu: 2 * (rested[number].cpu - idle[number].cpu),
            log_bytes: after[number].log_bytes - before[number].log_bytes,
            entries: after[number].entries - before[number].entries,
            state_bytes: disk_bytes(&cluster.nodes()[number].data().join("state"))?,
            resident_bytes: after[number].resident_bytes,
        })
    };
    (0..cluster.nodes().len()).map(share).collect()
}

/// What each node has done since it started, and what it takes now.
async fn worked(cluster: &Cluster) -> Result<Vec<Share>> {
    let status = cluster.status(0).await?;
    let applied = |name: &str| {
        let id = status.nodes.iter().find(|node| node.name == name).map(|node| &node.id);
        let here = status.groups.iter().flat_map(|group| &group.replicas).filter(|replica| Some(&replica.node) == id);
        here.filter_map(|replica| replica.applied).map(|index| index + 1).sum()
    };
    let worked = cluster.nodes().iter().map(|node| {
        let pid = node.pid().with_context(|| format!("{} does not run", node.name))?;
        let usage = Usage::of(pid)?;
        Ok(Share {
            cpu: usage.cpu,
            resident_bytes: usage.resident_bytes,
            log_bytes: log_bytes(&node.data())?,
            entries: applied(&node.name),
            ..Share::default()
        })
    });
    worked.collect()
}

/// Bytes that were ever written to a node's log. Its files are made full of zeros, and nothing is dropped from it here.
fn log_bytes(data: &Path) -> Result<u64> {
    let (mut bytes, mut chunk) = (0, vec![0; CHUNK_BYTES]);
    for path in damage::log_files(data)? {
        let file = File::open(&path).with_context(|| format!("{}", path.display()))?;
        let mut end = file.metadata()?.len();
        while end > 0 {
            let start = end.saturating_sub(CHUNK_BYTES as u64);
            let part = &mut chunk[..(end - start) as usize];
            file.read_exact_at(part, start).with_context(|| format!("{}", path.display()))?;
            if let Some(last) = part.iter().rposition(|byte| *byte != 0) {
                bytes += start + last as u64 + 1;
                break;
            }
            end = start;
        }
    }
    Ok(bytes)
}

/// Voters of data groups that each node holds, by its name.
fn replicas(status: &ClusterStatus) -> BTreeMap<String, usize> {
    let mut held: BTreeMap<&str, usize> = BTreeMap::new();
    let voters = status.groups.iter().filter(|group| group.id > 0).flat_map(|group| &group.replicas);
    for replica in voters.filter(|replica| replica.role() == ReplicaRole::Voter) {
        *held.entry(&replica.node).or_default() += 1;
    }
    let count = |id: &str| held.get(id).copied().unwrap_or(0);
    status.nodes.iter().map(|node| (node.name.clone(), count(&node.id))).collect()
}

/// Waits until every node holds and leads its share of the groups; gives how long that took.
async fn even(cluster: &Cluster, args: &Args) -> Result<Duration> {
    let (began, nodes, groups) = (Instant::now(), cluster.nodes().len(), usize::from(args.groups));
    let share = groups * usize::from(REPLICATION) / nodes;
    loop {
        let status = cluster.status(0).await?;
        let (replicas, mut leaders) = (replicas(&status), leaders(&status));
        let whole = status.groups.iter().all(|group| group.problem.is_empty() && group.leader.is_some());
        let fits = |count: usize, share: usize| count.abs_diff(share) <= OFF_MAX;
        let held = replicas.len() == nodes && replicas.values().all(|held| fits(*held, share));
        // The system group is led by one of them.
        leaders.retain(|_, led| fits(*led, groups / nodes) || fits(led.saturating_sub(1), groups / nodes));
        if whole && held && leaders.len() == nodes {
            return Ok(began.elapsed());
        }
        ensure!(
            began.elapsed() < EVEN_MAX,
            "{groups} groups are not even on {nodes} nodes after {EVEN_MAX:?}, a share is {share}: held {replicas:?}, \
             led {:?}",
            lethe_tests::leaders(&status)
        );
        tokio::time::sleep(POLL).await;
    }
}

/// As many nodes again join while calls go on.
async fn grow(args: &Args, cluster: &mut Cluster) -> Result<()> {
    let (load, pace) = (Load::start(cluster, COUNTERS), pace(args, cluster).await?);
    load.all_answer(HEALTHY_MAX).await?;
    load.silences();
    let (running, began) = (pace.start(), Instant::now());
    for _ in 0..args.nodes {
        let number = cluster.add()?;
        cluster.node(number).start().await?;
    }
    let joined = began.elapsed();
    even(cluster, args).await?;
    let took = began.elapsed();
    let seen = running.stop().await?;
    println!(
        "capacity  {} nodes joined in {}, groups were even {} after the first began; calls meanwhile: {seen}",
        args.nodes,
        secs(joined),
        secs(took)
    );
    cluster.healthy(HEALTHY_MAX).await?;
    let ledger = load.stop().await?;
    ledger.check(cluster).await?;
    cluster.digests_agree(HEALTHY_MAX).await?;
    println!(
        "          {COUNTERS} counters meanwhile: {} calls acknowledged, none missing; longest silence {} ms; {} unknown",
        ledger.acked,
        ledger.gap_max().as_millis(),
        ledger.unknown
    );
    for (error, count) in &ledger.errors {
        println!("            {count} x {error}");
    }
    Ok(())
}

async fn restart(cluster: &mut Cluster) -> Result<()> {
    for node in cluster.nodes_mut() {
        node.stop().await?;
    }
    for node in cluster.nodes_mut() {
        node.launch()?;
    }
    for node in cluster.nodes_mut() {
        node.ready().await?;
    }
    cluster.healthy(HEALTHY_MAX).await.map(drop)
}

/// The busiest node and the average, before and after, and the latter as a part of the former.
fn print(before: &[Share], after: &[Share]) {
    println!("          {:<18} {:>21} {:>21} {:>13}", "of a node:", "average (most)", "average (most)", "part");
    println!("          {:<18} {:>15} nodes {:>15} nodes", "", before.len(), after.len());
    for (name, value, show) in COLUMNS {
        let of = |shares: &[Share]| {
            let values: Vec<f64> = shares.iter().map(value).collect();
            (values.iter().sum::<f64>() / values.len() as f64, values.iter().copied().fold(0.0, f64::max))
        };
        let (old, new) = (of(before), of(after));
        let pair = |(average, most): (f64, f64)| format!("{} ({})", show(average), show(most));
        let part = format!("{:.2} ({:.2})", new.0 / old.0, new.1 / old.1);
        println!("          {name:<18} {:>21} {:>21} {part:>13}", pair(old), pair(new));
    }
}
