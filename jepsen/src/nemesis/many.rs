//! Faults of a cluster: of one node, of a majority, of all, of the links between them, and of the leader of an actor.

mod leader;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use lethe_client::{Client, ClusterStatus, NodeState};
use lethe_tests::{Cluster, HEALTHY_MAX, Network};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::json;
use tokio::{sync::watch, time::sleep};

pub use leader::Hunt;

use super::{CALM_END, CALM_MIN, LOOK_EVERY, Look, Nemesis, calm, pause_length};
use crate::{cluster::Addresses, history::Writer, workload::Name};

/// A partition lets something through until it has swallowed a packet, or it is none.
const SWALLOWED_MAX: Duration = Duration::from_secs(20);
/// A node is drained, or replicas have moved, within this time.
const CHANGED_MAX: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(50);
/// Nodes that a cluster keeps when others are removed.
const NODES_MIN: usize = 3;
/// Answers between two faults, unless the second comes in a hurry.
const ANSWERS: u64 = 60;
/// As the last resort, when a whole cluster answers nobody: an incident.
const ANSWERS_MAX: Duration = Duration::from_secs(90);
/// A run on a slow machine may take so many times as long, to see all its faults.
const OVERTIME: u32 = 12;

/// What to do to a cluster.
pub struct Plan<'a> {
    /// Which faults.
    pub nemesis: Nemesis,
    /// How long.
    pub time: Duration,
    /// How many of each, by name.
    pub least: &'a BTreeMap<String, u64>,
    /// Same seed, same faults.
    pub seed: u64,
    /// Whose leaders are aimed at.
    pub hunt: &'a Hunt<'a>,
    /// The run is over as soon as a history of this workload is a violation.
    pub until_caught: Option<Name>,
}

/// What the nemesis works on.
pub struct Nodes {
    /// The cluster.
    pub cluster: Cluster,
    /// Tells clients where its members are.
    pub addresses: watch::Sender<Vec<Addresses>>,
    /// Numbers of the members.
    members: Vec<usize>,
    /// Nobody wrote through the leader that was hit last.
    quiet: bool,
}

/// Something that no run may have: the name of an incident and what happened.
type Incident = (&'static str, String);

impl Nodes {
    /// Of a cluster that was formed. Clients learn of it by the receiver.
    pub fn new(cluster: Cluster) -> (Self, watch::Receiver<Vec<Addresses>>) {
        let members: Vec<usize> = (0..cluster.nodes().len()).collect();
        let (addresses, receiver) = watch::channel(Vec::new());
        let nodes = Self { cluster, addresses, members, quiet: false };
        nodes.tell();
        (nodes, receiver)
    }

    /// Tells clients who is a member.
    fn tell(&self) {
        let address = |number: &usize| {
            let node = &self.cluster.nodes()[*number];
            Addresses { node: Some(node.name.clone()), http: node.http(), grpc: node.grpc() }
        };
        self.addresses.send_replace(self.members.iter().map(address).collect());
    }

    /// Breaks the cluster until `time` is over and `least` faults of each kind were installed, at most
    /// [`OVERTIME`] times as long; then heals it. `Ok(false)` after an incident, or when it was caught.
    pub async fn torment(&mut self, plan: &Plan<'_>, writer: &Writer) -> anyhow::Result<bool> {
        let started = Instant::now();
        let mut rng = StdRng::seed_from_u64(plan.seed ^ 0x6e65_6d65);
        let (mut turns, mut hurried, mut look) = (Vec::new(), false, Look::new(plan.until_caught));
        loop {
            let installed = plan.least.iter().all(|(fault, times)| writer.installed(fault) >= *times);
            let time = if installed { plan.time } else { plan.time * OVERTIME };
            let left = time.saturating_sub(started.elapsed());
            let pause = if plan.nemesis == Nemesis::None { left } else { calm(&mut rng) };
            let last = pause + CALM_END > left;
            let mut incident = self.watch_for(if last { left } else { pause }).await?;
            // Never two in a hurry one after the other.
            hurried = pause < CALM_MIN && !hurried && !last;
            if incident.is_none() && !hurried {
                incident = self.answers(writer).await?;
            }
            if last && incident.is_none() {
                return Ok(true);
            }
            if incident.is_none() {
                if turns.is_empty() {
                    turns = plan.nemesis.faults().to_vec();
                    turns.shuffle(&mut rng);
                }
                let turn = turns.pop().context("nothing is only waited for")?;
                incident = self.fault(turn, plan, writer, &mut rng).await?;
                if incident.is_some() {
                    // What a node says as it dies tells more than what is missing without it.
                    incident = self.died()?.or(incident);
                }
            }
            if let Some((name, why)) = incident {
                writer.nemesis(name, json!({"status": "observed", "why": why}));
                return Ok(false);
            }
            if look.catches(writer).await? {
                return Ok(false);
            }
        }
    }

    /// Waits until clients were answered some more: a fault that nobody works through shows nothing, and a cluster that
    /// answers nobody although all its nodes are there and can talk is an incident.
    async fn answers(&mut self, writer: &Writer) -> anyhow::Result<Option<Incident>> {
        let (until, wanted) = (Instant::now() + ANSWERS_MAX, writer.answered() + ANSWERS);
        while writer.answered() < wanted {
            let died = self.watch_for(POLL).await?;
            if died.is_some() {
                return Ok(died);
            }
            if Instant::now() > until {
                let missing = wanted - writer.answered();
                return Ok(Some(("no-answers", format!("{missing} of {ANSWERS} are missing after {ANSWERS_MAX:?}"))));
            }
        }
        Ok(None)
    }

    /// The checks at the end of a run: all healthy, all replicas equal. `false` after an incident.
    pub async fn healed(&mut self, writer: &Writer) -> anyhow::Result<bool> {
        if let Some((name, why)) = self.died()? {
            writer.nemesis(name, json!({"status": "observed", "why": why}));
            return Ok(false);
        }
        match self.cluster.healthy(HEALTHY_MAX).await {
            Ok(took) => writer.nemesis("healed", json!({"status": "done", "took_ms": took.as_millis() as u64})),
            Err(error) => {
                writer.nemesis("not-healed", json!({"status": "observed", "why": format!("{error:#}")}));
                return Ok(false);
            }
        }
        if let Err(error) = self.cluster.digests_agree(HEALTHY_MAX).await {
            writer.nemesis("replicas-differ", json!({"status": "observed", "why": format!("{error:#}")}));
            return Ok(false);
        }
        Ok(true)
    }

    fn died(&mut self) -> anyhow::Result<Option<Incident>> {
        for node in self.cluster.nodes_mut() {
            if let Some(why) = node.died()? {
                return Ok(Some(("server-died", why)));
            }
        }
        Ok(None)
    }

    async fn watch_for(&mut self, time: Duration) -> anyhow::Result<Option<Incident>> {
        let until = Instant::now() + time;
        loop {
            let died = self.died()?;
            let left = until.saturating_duration_since(Instant::now());
            if died.is_some() || left.is_zero() {
                return Ok(died);
            }
            sleep(left.min(LOOK_EVERY)).await;
        }
    }

    async fn fault(
        &mut self,
        nemesis: Nemesis,
        plan: &Plan<'_>,
        writer: &Writer,
        rng: &mut StdRng,
    ) -> anyhow::Result<Option<Incident>> {
        match nemesis {
            Nemesis::None | Nemesis::All | Nemesis::Leader => Ok(None),
            Nemesis::Kill => self.kill(writer, rng).await,
            Nemesis::PowerCut => self.cut_power(writer, rng).await,
            Nemesis::Pause => self.pause(writer, rng).await,
            Nemesis::Partition => self.partition(writer, rng).await,
            Nemesis::Transfer => self.transfer(writer, rng).await,
            Nemesis::Members => self.replace(writer, rng).await,
            Nemesis::Rolling => self.roll(writer).await,
            Nemesis::Chaos => self.chaos(writer, rng).await,
            Nemesis::LeaderCut | Nemesis::LeaderPause | Nemesis::LeaderTransfer | Nemesis::LeaderKill => {
                self.at_leader(nemesis, plan.hunt, writer, rng).await
            }
        }
    }

    /// One node, a majority, or all.
    fn victims(&self, rng: &mut StdRng) -> Vec<usize> {
        let mut members = self.members.clone();
        members.shuffle(rng);
        let count = match rng.random_range(0..4) {
            0 | 1 => 1,
            2 => members.len() / 2 + 1,
            _ => members.len(),
        };
        members.truncate(count);
        members
    }

    async fn kill(&mut self, writer: &Writer, rng: &mut StdRng) -> anyhow::Result<Option<Incident>> {
        let victims = self.victims(rng);
        for number in &victims {
            if let Err(error) = self.cluster.node(*number).kill().await {
                return Ok(Some(("server-died", format!("{error:#}"))));
            }
        }
        writer.nemesis("kill", json!({"status": "installed", "nodes": self.names(&victims), "signal": 9}));
        self.restart(&victims, writer, rng).await
    }

    async fn cut_power(&mut self, writer: &Writer, rng: &mut StdRng) -> anyhow::Result<Option<Incident>> {
        let victims = self.victims(rng);
        for number in &victims {
            self.cluster.node(*number).disk().cut()?;
        }
        for number in &victims {
            // A server may end by itself now: its disk answers nothing but errors.
            self.cluster.node(*number).end().await?;
            self.cluster.node(*number).disk().restore()?;
        }
        let evidence = "EIO after it, the canary is gone";
        writer
            .nemesis("power-cut", json!({"status": "installed", "nodes": self.names(&victims), "evidence": evidence}));
        self.restart(&victims, writer, rng).await
    }

    /// Starts nodes again, after a moment in which the others are alone.
    async fn restart(
        &mut self,
        victims: &[usize],
        writer: &Writer,
        rng: &mut StdRng,
    ) -> anyhow::Result<Option<Incident>> {
        sleep(Duration::from_millis(rng.random_range(0..3_000))).await;
        for number in victims {
            self.cluster.node(*number).launch()?;
        }
        self.ready(victims, writer).await
    }

    /// Waits until nodes that were launched are ready.
    async fn ready(&mut self, victims: &[usize], writer: &Writer) -> anyhow::Result<Option<Incident>> {
        for number in victims {
            if let Err(error) = self.cluster.node(*number).ready().await {
                return Ok(Some(("no-restart", format!("{error:#}"))));
            }
        }
        writer.nemesis("restart", json!({"status": "done", "nodes": self.names(victims)}));
        Ok(None)
    }

    async fn pause(&mut self, writer: &Writer, rng: &mut StdRng) -> anyhow::Result<Option<Incident>> {
        let victims = self.victims(rng);
        let length = pause_length(rng);
        for number in &victims {
            self.cluster.node(*number).pause().await?;
        }
        let (nodes, length_ms) = (self.names(&victims), length.as_millis() as u64);
        writer.nemesis("pause", json!({"status": "installed", "nodes": nodes, "length_ms": length_ms}));
        sleep(length).await;
        for number in &victims {
            self.cluster.node(*number).resume()?;
        }
        writer.nemesis("resume", json!({"status": "done"}));
        Ok(None)
    }

    async fn partition(&mut self, writer: &Writer, rng: &mut StdRng) -> anyhow::Result<Option<Incident>> {
        let (shape, nodes) = self.part(rng).await?;
        writer.nemesis("partition", json!({"status": "installed", "shape": shape, "nodes": nodes}));
        sleep(Duration::from_millis(rng.random_range(200..8_000))).await;
        self.heal(writer)?;
        Ok(None)
    }

    /// Kills nodes and starts them again, or pauses them, while links are cut.
    async fn chaos(&mut self, writer: &Writer, rng: &mut StdRng) -> anyhow::Result<Option<Incident>> {
        let (shape, nodes) = self.part(rng).await?;
        let (victims, kills) = (self.victims(rng), rng.random_bool(0.7));
        let what = if kills { "kill" } else { "pause" };
        sleep(Duration::from_millis(rng.random_range(0..2_000))).await;
        for number in &victims {
            match kills {
                true => {
                    if let Err(error) = self.cluster.node(*number).kill().await {
                        return Ok(Some(("server-died", format!("{error:#}"))));
                    }
                }
                false => self.cluster.node(*number).pause().await?,
            }
        }
        let names = self.names(&victims);
        let evidence = json!({"status": "installed", "shape": shape, "nodes": nodes, "what": what, "to": names});
        writer.nemesis("chaos", evidence);
        sleep(Duration::from_millis(rng.random_range(0..3_000))).await;
        for number in &victims {
            match kills {
                true => self.cluster.node(*number).launch()?,
                false => self.cluster.node(*number).resume()?,
            }
        }
        sleep(Duration::from_millis(rng.random_range(0..4_000))).await;
        self.heal(writer)?;
        // A node that is alone is ready only when it can talk.
        match kills {
            true => self.ready(&victims, writer).await,
            false => Ok(None),
        }
    }

    /// Cuts links, and waits until a packet was lost. Gives the shape and the nodes in its order.
    async fn part(&mut self, rng: &mut StdRng) -> anyhow::Result<(&'static str, Vec<String>)> {
        let mut members = self.members.clone();
        members.shuffle(rng);
        let network = self.cluster.network();
        let shape = cut(network, &members, rng)?;
        let until = Instant::now() + SWALLOWED_MAX;
        while network.dropped()? == 0 {
            ensure!(Instant::now() < until, "the partition swallowed nothing");
            sleep(POLL).await;
        }
        Ok((shape, self.names(&members)))
    }

    fn heal(&self, writer: &Writer) -> anyhow::Result<()> {
        let dropped = self.cluster.network().dropped()?;
        self.cluster.network().heal()?;
        writer.nemesis("heal", json!({"status": "done", "dropped": dropped}));
        Ok(())
    }

    /// Hands a group over, or drains a node and takes it back.
    async fn transfer(&mut self, writer: &Writer, rng: &mut StdRng) -> anyhow::Result<Option<Incident>> {
        let number = self.members[rng.random_range(0..self.members.len())];
        let name = self.cluster.nodes()[number].name.clone();
        let client = self.cluster.client(self.members[0]).await?;
        if rng.random_bool(0.5) {
            let Some(status) = insist(async || client.cluster_status().await).await else {
                return Ok(Some(("not-healed", format!("no status within {CHANGED_MAX:?}"))));
            };
            let group = rng.random_range(1..=status.data_groups);
            // A node that lags, or leads nothing because it was lately away, may refuse.
            let status = match client.transfer_group(group, &name).await {
                Ok(_) => "installed",
                Err(_) => "refused",
            };
            writer.nemesis("transfer", json!({"status": status, "group": group, "to": name}));
            return Ok(None);
        }
        let drains = insist(async || client.drain_node(&name).await).await.is_some();
        let drained = drains && wait(&client, |status| leads(status, &name) == Some(0)).await;
        if !drained || insist(async || client.undrain_node(&name).await).await.is_none() {
            return Ok(Some(("not-healed", format!("{name} was not drained, or not back, within {CHANGED_MAX:?}"))));
        }
        writer.nemesis("transfer", json!({"status": "installed", "drained": name}));
        Ok(None)
    }

    /// Adds a node, waits until it holds replicas, and removes another for good.
    async fn replace(&mut self, writer: &Writer, rng: &mut StdRng) -> anyhow::Result<Option<Incident>> {
        let added = self.cluster.add()?;
        if let Err(error) = self.cluster.node(added).start().await {
            return Ok(Some(("no-restart", format!("{error:#}"))));
        }
        self.members.push(added);
        self.tell();
        let client = self.cluster.client(added).await?;
        let name = self.cluster.nodes()[added].name.clone();
        let joined = wait(&client, |status| member(status, &name).is_some_and(|node| node.replicas > 1)).await;
        if !joined {
            return Ok(Some(("not-healed", format!("{name} got no replicas within {CHANGED_MAX:?}"))));
        }
        writer.nemesis("member-added", json!({"status": "done", "node": name}));
        if self.members.len() <= NODES_MIN {
            return Ok(None);
        }
        let removed = self.members.remove(rng.random_range(0..self.members.len() - 1));
        self.tell();
        let name = self.cluster.nodes()[removed].name.clone();
        client.remove_node(&name).await?;
        let out = |status: &ClusterStatus| {
            member(status, &name).is_some_and(|node| node.state() == NodeState::Removed && node.replicas == 0)
        };
        if !wait(&client, out).await {
            return Ok(Some(("not-healed", format!("{name} was not removed within {CHANGED_MAX:?}"))));
        }
        // It may have ended by itself: it was told that it is out.
        self.cluster.node(removed).end().await?;
        writer.nemesis("members", json!({"status": "installed", "removed": name}));
        Ok(None)
    }

    /// Stops and starts every node once, each after the one before is back.
    async fn roll(&mut self, writer: &Writer) -> anyhow::Result<Option<Incident>> {
        for number in self.members.clone() {
            if let Err(error) = self.cluster.node(number).stop().await {
                return Ok(Some(("server-died", format!("{error:#}"))));
            }
            if let Err(error) = self.cluster.node(number).start().await {
                return Ok(Some(("no-restart", format!("{error:#}"))));
            }
            if let Err(error) = self.cluster.healthy(HEALTHY_MAX).await {
                return Ok(Some(("not-healed", format!("{error:#}"))));
            }
        }
        writer.nemesis("rolling", json!({"status": "installed", "nodes": self.members.len()}));
        Ok(None)
    }

    fn names(&self, numbers: &[usize]) -> Vec<String> {
        numbers.iter().map(|number| self.cluster.nodes()[*number].name.clone()).collect()
    }
}

/// Cuts links between members in their given order, and names the shape.
fn cut(network: &Network, members: &[usize], rng: &mut StdRng) -> anyhow::Result<&'static str> {
    let (first, rest) = members.split_first().context("a cluster has members")?;
    match rng.random_range(0..5) {
        0 => {
            network.part(&[*first], rest)?;
            Ok("one is alone")
        }
        1 => {
            let (minority, majority) = members.split_at((members.len() - 1) / 2);
            network.part(minority, majority)?;
            Ok("a minority is apart")
        }
        2 => {
            rest.iter().try_for_each(|to| network.cut(*first, *to))?;
            Ok("one is not heard")
        }
        3 => {
            rest.iter().try_for_each(|from| network.cut(*from, *first))?;
            Ok("one hears nobody")
        }
        _ => {
            // Two halves that see each other only through the first.
            let (left, right) = rest.split_at(rest.len() / 2);
            network.part(left, right)?;
            Ok("one is the bridge")
        }
    }
}

/// Asks until there is an answer; none if that takes too long. Servers that have hardly started may refuse.
async fn insist<T, E>(ask: impl AsyncFn() -> Result<T, E>) -> Option<T> {
    let until = Instant::now() + CHANGED_MAX;
    loop {
        match ask().await {
            Ok(answer) => return Some(answer),
            Err(_) if Instant::now() > until => return None,
            Err(_) => sleep(POLL).await,
        }
    }
}

/// Asks for the status until it is as wanted; `false` if that takes too long.
async fn wait(client: &Client, wanted: impl Fn(&ClusterStatus) -> bool) -> bool {
    let until = Instant::now() + CHANGED_MAX;
    loop {
        if client.cluster_status().await.is_ok_and(|status| wanted(&status)) {
            return true;
        }
        if Instant::now() > until {
            return false;
        }
        sleep(POLL).await;
    }
}

fn member<'a>(status: &'a ClusterStatus, name: &str) -> Option<&'a lethe_client::NodeStatus> {
    status.nodes.iter().find(|node| node.name == name)
}

fn leads(status: &ClusterStatus, name: &str) -> Option<u32> {
    member(status, name).map(|node| node.leaders)
}
