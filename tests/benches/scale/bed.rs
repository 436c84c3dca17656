//! The cluster that is measured: actors with one value, many connections, and what its nodes take.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use lethe_client::{Actor, ActorState, Client, Id};
use lethe_tests::{Cluster, HEALTHY_MAX, Project, Setup, Usage};

use crate::Args;

/// Connections to each node.
const CONNECTIONS: usize = 8;
/// Nodes are left alone for so long before their memory is looked at: what they do after a start is over then.
const SETTLE: Duration = Duration::from_secs(3);
/// A cluster with much state starts slowly.
const STARTED_MAX: Duration = Duration::from_secs(600);
/// Actors that are looked at to see whether all of them sleep: those that were called last.
const LAST: u64 = 200;
pub const NAMESPACE: &str = "Cell";

const INDEX_JS: &str = "
import { DurableObject } from 'cloudflare:workers';
export class Cell extends DurableObject {
  put(value) { this.ctx.storage.put('value', value); }
  async get() { return (await this.ctx.storage.get('value')) ?? null; }
  async fill(writes, bytes) {
    for (let i = 0; i < writes; i++) {
      this.ctx.storage.put('fill-' + (i % 16), 'v'.repeat(bytes));
      await this.ctx.storage.sync();
    }
  }
}
export default { fetch() { return new Response('scale'); } };";

/// A cluster with the actors' code, and connections to it.
pub struct Bed {
    pub cluster: Cluster,
    clients: Vec<Client>,
}

/// What all nodes together take.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    pub resident_bytes: f64,
    pub cpu: Duration,
    pub mappings: u64,
    pub threads: u64,
}

impl Bed {
    /// Forms it.
    pub async fn form(args: &Args, settings: &str) -> Result<Self> {
        let setup = Setup {
            nodes: args.nodes.into(),
            groups: args.groups,
            replication: 3,
            settings: settings.to_owned(),
            binary: args.lethe.clone(),
            dir: args.dir.clone(),
            ..Setup::default()
        };
        let cluster = Cluster::form(setup).await?;
        let project = Project::new(INDEX_JS, &[("CELL", NAMESPACE)]);
        cluster.deploy(project.path()).await?;
        let mut bed = Self { cluster, clients: Vec::new() };
        bed.connect().await?;
        Ok(bed)
    }

    async fn connect(&mut self) -> Result<()> {
        self.clients.clear();
        for _ in 0..CONNECTIONS {
            for node in self.cluster.nodes() {
                self.clients.push(Client::connect(&node.grpc()).await?);
            }
        }
        Ok(())
    }

    /// Any connection to a node.
    pub fn client(&self) -> &Client {
        &self.clients[0]
    }

    /// An actor by its number, called through one of the nodes.
    pub fn actor(&self, number: u64) -> Actor {
        self.actors()(number)
    }

    /// The same for tasks.
    pub fn actors(&self) -> impl Fn(u64) -> Actor + Clone + Send + Sync + 'static {
        let clients = Arc::new(self.clients.clone());
        move |number| {
            let client = &clients[number as usize % clients.len()];
            client.actor(NAMESPACE, Id::name(format!("cell-{number}")))
        }
    }

    /// What the nodes take now.
    pub fn usage(&self) -> Result<Sum> {
        let mut sum = Sum::default();
        for node in self.cluster.nodes() {
            let one = Usage::of(node.pid().context("a node does not run")?)?;
            sum.resident_bytes += one.resident_bytes as f64;
            sum.cpu += one.cpu;
            sum.mappings += one.mappings;
            sum.threads += one.threads;
        }
        Ok(sum)
    }

    /// What the nodes take when they have been left alone for a while.
    pub async fn settled(&self) -> Result<Sum> {
        tokio::time::sleep(SETTLE).await;
        self.usage()
    }

    /// Stops all nodes cleanly and starts them; gives how long until the slowest was ready, and until all was healthy.
    pub async fn restart_all(&mut self) -> Result<(Duration, Duration)> {
        for node in self.cluster.nodes_mut() {
            node.stop().await?;
        }
        self.start_all().await
    }

    /// The same after kill -9.
    pub async fn kill_all(&mut self) -> Result<(Duration, Duration)> {
        for node in self.cluster.nodes_mut() {
            node.kill().await?;
        }
        self.start_all().await
    }

    async fn start_all(&mut self) -> Result<(Duration, Duration)> {
        let started = Instant::now();
        for node in self.cluster.nodes_mut() {
            node.launch()?;
        }
        for node in self.cluster.nodes_mut() {
            node.ready_within(STARTED_MAX).await?;
        }
        let ready = started.elapsed();
        self.cluster.healthy(STARTED_MAX).await?;
        let healthy = started.elapsed();
        self.connect().await?;
        Ok((ready, healthy))
    }

    /// Starts one node that does not run.
    pub async fn start(&mut self, number: usize) -> Result<(Duration, Duration)> {
        let started = Instant::now();
        self.cluster.node(number).launch()?;
        self.cluster.node(number).ready_within(STARTED_MAX).await?;
        let ready = started.elapsed();
        self.cluster.healthy(STARTED_MAX).await?;
        let healthy = started.elapsed();
        self.connect().await?;
        Ok((ready, healthy))
    }

    /// Waits until the actors below `count` that were called last are asleep.
    pub async fn all_sleep(&self, count: u64, time_max: Duration) -> Result<Duration> {
        let started = Instant::now();
        for number in count.saturating_sub(LAST)..count {
            while self.actor(number).show().await?.state() != ActorState::Asleep {
                anyhow::ensure!(started.elapsed() < time_max, "actor {number} is still awake after {time_max:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(started.elapsed())
    }

    /// How many actors are awake.
    pub async fn awake(&self) -> Result<u64> {
        let (mut awake, mut after) = (0, None);
        loop {
            let page = self.client().list(NAMESPACE, after.as_deref(), 1000).await?;
            awake += page.actors.iter().filter(|actor| actor.state() == ActorState::Awake).count() as u64;
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(awake),
            }
        }
    }

    /// Waits until everything is well.
    pub async fn healthy(&self) -> Result<()> {
        self.cluster.healthy(HEALTHY_MAX).await.map(drop)
    }
}
