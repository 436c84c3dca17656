//! Faults of a cluster: of one node, of a majority, of all, and of the links between them.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use lethe_client::{Client, ClusterStatus, NodeState};
use lethe_tests::{Cluster, HEALTHY_MAX, Network};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::json;
use tokio::{sync::watch, time::sleep};

use super::{CALM_END, LOOK_EVERY, Nemesis, calm, pause_length};
use crate::{cluster::Addresses, history::Writer};

/// A partition lets something through until it has swallowed a packet, or it is none.
const SWALLOWED_MAX: Duration = Duration::from_secs(20);
/// A node is drained, or replicas have moved, within this time.
const CHANGED_MAX: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(50);
/// Nodes that a cluster keeps when others are removed.
const NODES_MIN: usize = 3;

/// What the nemesis works on.
pub struct Nodes {
    /// The cluster.
    pub cluster: Cluster,
    /// Tells clients where its members are.
    pub addresses: watch::Sender<Vec<Addresses>>,
    /// Numbers of the members.
    members: Vec<usize>,
}

/// Something that no run may have: the name of an incident and what happened.
type Incident = (&'static str, String);

impl Nodes {
    /// Of a cluster that was formed. Clients learn of it by the receiver.
    pub fn new(cluster: Cluster) -> (Self, watch::Receiver<Vec<Addresses>>) {
        let members: Vec<usize> = (0..cluster.nodes().len()).collect();
        let (addresses, receiver) = watch::channel(Vec::new());
        let nodes = Self { cluster, addresses, members };
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

    /// Breaks the cluster until `time` is over, then heals it. `Ok(false)` after an incident.
    pub async fn torment(
        &mut self,
        nemesis: Nemesis,
        writer: &Writer,
        time: Duration,
        seed: u64,
    ) -> anyhow::Result<bool> {
        let started = Instant::now();
        let mut rng = StdRng::seed_from_u64(seed ^ 0x6e65_6d65);
        let mut turns: Vec<Nemesis> = Vec::new();
        loop {
            let left = time.saturating_sub(started.elapsed());
            let pause = if nemesis == Nemesis::None { left } else { calm(&mut rng) };
            let last = pause + CALM_END > left;
            let mut incident = self.watch_for(if last { left } else { pause }).await?;
            if last && incident.is_none() {
                break;
            }
            if incident.is_none() {
                if turns.is_empty() {
                    turns = nemesis.faults().to_vec();
                    turns.shuffle(&mut rng);
                }
                let turn = turns.pop().context("nothing is only waited for")?;
                incident = self.fault(turn, writer, &mut rng).await?;
            }
            if let Some((name, why)) = incident {
                writer.nemesis(name, json!({"status": "observed", "why": why}));
                return Ok(false);
            }
        }
        Ok(true)
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

    async fn fault(&mut self, nemesis: Nemesis, writer: &Writer, rng: &mut StdRng) -> anyhow::Result<Option<Incident>> {
        match nemesis {
            Nemesis::None | Nemesis::All => Ok(None),
            Nemesis::Kill => self.kill(writer, rng).await,
            Nemesis::PowerCut => self.cut_power(writer, rng).await,
            Nemesis::Pause => self.pause(writer, rng).await,
            Nemesis::Partition => self.partition(writer, rng).await,
            Nemesis::Transfer => self.transfer(writer, rng).await,
            Nemesis::Members => self.replace(writer, rng).await,
            Nemesis::Rolling => self.roll(writer).await,
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
        let mut members = self.members.clone();
        members.shuffle(rng);
        let network = self.cluster.network();
        let shape = cut(network, &members, rng)?;
        let until = Instant::now() + SWALLOWED_MAX;
        while network.dropped()? == 0 {
            ensure!(Instant::now() < until, "the partition swallowed nothing");
            sleep(POLL).await;
        }
        let nodes = self.names(&members);
        writer.nemesis("partition", json!({"status": "installed", "shape": shape, "nodes": nodes}));
        sleep(Duration::from_millis(rng.random_range(200..8_000))).await;
        let dropped = self.cluster.network().dropped()?;
        self.cluster.network().heal()?;
        writer.nemesis("heal", json!({"status": "done", "dropped": dropped}));
        Ok(None)
    }

    /// Hands a group over, or drains a node and takes it back.
    async fn transfer(&mut self, writer: &Writer, rng: &mut StdRng) -> anyhow::Result<Option<Incident>> {
        let number = self.members[rng.random_range(0..self.members.len())];
        let name = self.cluster.nodes()[number].name.clone();
        let client = self.cluster.client(self.members[0]).await?;
        if rng.random_bool(0.5) {
            let group = rng.random_range(1..=client.cluster_status().await?.data_groups);
            // A node that lags, or leads nothing because it was lately away, may refuse.
            let status = match client.transfer_group(group, &name).await {
                Ok(_) => "installed",
                Err(_) => "refused",
            };
            writer.nemesis("transfer", json!({"status": status, "group": group, "to": name}));
            return Ok(None);
        }
        client.drain_node(&name).await?;
        let drained = wait(&client, |status| leads(status, &name) == Some(0)).await;
        client.undrain_node(&name).await?;
        if !drained {
            return Ok(Some(("not-healed", format!("{name} was not drained within {CHANGED_MAX:?}"))));
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
