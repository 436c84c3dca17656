//! What every test here begins and ends with: a cluster under load, and three checks.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lethe_tests::{Cluster, HEALTHY_MAX, Ledger, Load, Setup, deploy_counters, leaders};
use tokio::sync::{Semaphore, SemaphorePermit};

/// One cluster at a time: it is several processes, and machines that test are small.
static CLUSTERS: Semaphore = Semaphore::const_new(1);

/// Answers that a load must give before a fault means anything.
const WARM_CALLS: u64 = 50;
/// As the last resort: a counter that is silent for so long is lost.
pub const ANSWER_MAX: Duration = Duration::from_secs(120);
/// All groups are healthy so soon after a fault is over: the link is open, the process goes on or was started again, which
/// includes its whole start. It takes one to five seconds as a rule. See [`healed_max`].
const HEALED_MAX: Duration = Duration::from_secs(10);
/// Counters, spread over all groups by their names.
pub const COUNTERS: usize = 12;

/// A cluster under load. The load ends before the cluster.
pub struct Bed {
    pub load: Load,
    pub cluster: Cluster,
    _permit: SemaphorePermit<'static>,
}

/// A cluster of three for these tests, with further keys of `[raft]`.
pub fn setup(raft: &str) -> Setup {
    let patient = Setup::patient();
    Setup { settings: format!("{}{raft}", patient.settings), ..patient }
}

/// Forms a cluster that no load is on. It is the only one as long as the permit lives, which has to be dropped after it.
pub async fn cluster_of(setup: Setup) -> Result<(SemaphorePermit<'static>, Cluster)> {
    let permit = CLUSTERS.acquire().await.context("clusters are still allowed")?;
    Ok((permit, Cluster::form(setup).await?))
}

impl Bed {
    /// Forms a cluster, deploys the counters, and waits until every one of them counts.
    pub async fn make(setup: Setup) -> Result<Self> {
        let (permit, cluster) = cluster_of(setup).await?;
        deploy_counters(&cluster).await?;
        let load = Load::start(&cluster, COUNTERS);
        load.all_answer(ANSWER_MAX).await?;
        load.more(WARM_CALLS, ANSWER_MAX).await?;
        Ok(Self { load, cluster, _permit: permit })
    }

    /// Every counter answers again.
    pub async fn all_answer(&self) -> Result<Duration> {
        self.load.all_answer(ANSWER_MAX).await
    }

    /// All groups are healthy within ten seconds of the moment at which a fault was over. To be called right after it.
    pub async fn heals(&self, fault: &str, over: Instant) -> Result<Duration> {
        self.cluster.healthy(HEALTHY_MAX).await.with_context(|| format!("after {fault}"))?;
        let took = over.elapsed();
        println!("{fault}: healthy {} ms after it was over", took.as_millis());
        let max = healed_max();
        ensure!(took < max, "{fault}: all groups were healthy only {took:?} after it was over, {max:?} are allowed");
        Ok(took)
    }

    /// Starts nodes that are down, and then all groups are healthy within ten seconds.
    pub async fn come_back(&mut self, fault: &str, numbers: &[usize]) -> Result<()> {
        let over = Instant::now();
        for number in numbers {
            self.cluster.node(*number).launch()?;
        }
        for number in numbers {
            self.cluster.node(*number).ready().await.with_context(|| format!("after {fault}"))?;
        }
        self.heals(fault, over).await?;
        Ok(())
    }

    /// After a fault, while more are to come: everything acknowledged is read from every node, and replicas are equal.
    pub async fn check(&self, fault: &str) -> Result<()> {
        self.load.all_answer(ANSWER_MAX).await.with_context(|| format!("after {fault}"))?;
        self.load.check(&self.cluster).await.with_context(|| format!("after {fault}"))
    }

    /// Number of the node that leads most groups, as a running node sees it.
    pub async fn leads_most(&self) -> Result<usize> {
        let asked = self.cluster.running().next().context("no node runs")?.name.clone();
        let asked = self.cluster.nodes().iter().position(|node| node.name == asked).context("it is ours")?;
        let leading = leaders(&self.cluster.status(asked).await?);
        let (most, _) = leading.iter().max_by_key(|(_, groups)| **groups).context("nobody leads")?;
        self.cluster.nodes().iter().position(|node| node.name == *most).context("the leader is none of ours")
    }

    /// How many data groups each node leads, as a running node sees it.
    pub async fn leads(&self) -> Result<Vec<usize>> {
        let asked = self.cluster.running().next().context("no node runs")?.name.clone();
        let nodes = self.cluster.nodes();
        let asked = nodes.iter().position(|node| node.name == asked).context("it is ours")?;
        let mut status = self.cluster.status(asked).await?;
        status.groups.retain(|group| group.id != 0);
        let leading = leaders(&status);
        Ok(nodes.iter().map(|node| leading.get(&node.name).copied().unwrap_or(0)).collect())
    }

    /// The three checks, after everything was healed: all healthy, nothing acknowledged is missing, replicas are equal.
    pub async fn finish(self) -> Result<Ledger> {
        let healed = self.cluster.healthy(HEALTHY_MAX).await?;
        ensure!(healed < healed_max(), "the groups were healthy {healed:?} after everything was healed");
        self.load.all_answer(ANSWER_MAX).await?;
        let ledger = self.load.stop().await?;
        println!(
            "healthy after {} ms; {} calls acknowledged, {} unknown, longest silence {} ms, errors {:?}",
            healed.as_millis(),
            ledger.acked,
            ledger.unknown,
            ledger.gap_max().as_millis(),
            ledger.errors
        );
        ledger.check(&self.cluster).await?;
        self.cluster.digests_agree(HEALTHY_MAX).await?;
        Ok(ledger)
    }
}

/// [`HEALED_MAX`], and more where processes wait for processors: as many times more as there were processes for each of
/// them in the last minute. A machine that does nothing else than one of these tests has hardly more than one.
fn healed_max() -> Duration {
    let load = std::fs::read_to_string("/proc/loadavg").ok();
    let load: f64 = load.and_then(|load| load.split(' ').next()?.parse().ok()).unwrap_or(0.0);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    HEALED_MAX.mul_f64((load / processors as f64).max(1.0))
}
