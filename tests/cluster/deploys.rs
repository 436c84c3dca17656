//! Deploys under load, while a node stands still, and while one is cut off: once a deploy is acknowledged, nothing begins on
//! older code anywhere.
//!
//! Every answer tells the build it came from. Each call is noted with the newest build that was acknowledged before it
//! was sent, and no answer may come from an older one.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use lethe_client::{Client, Id};
use lethe_tests::{Cluster, HEALTHY_MAX, Node, Project, can, get, try_network, wait_up_to};
use serde_json::json;
use tokio::task::JoinSet;

use crate::bed::{ANSWER_MAX, cluster_of, setup};

/// Actors that are called, spread over all groups by their names.
const ACTORS: u64 = 12;
/// Callers at each door of each node.
const CALLERS: usize = 2;
/// A call that takes longer is given up, so that a node that stands still is called anew.
const CALL_MAX: Duration = Duration::from_secs(2);
/// After an error, so that a node that refuses is not asked in a hot loop.
const AFTER_ERROR: Duration = Duration::from_millis(20);

fn project(build: u64) -> Project {
    let code = "
        import { DurableObject } from 'cloudflare:workers';
        export class Build extends DurableObject {
          build() { return BUILD; }
        }
        export default {
          async fetch(request, env) {
            const stub = env.BUILD.getByName(new URL(request.url).pathname.slice(1));
            return Response.json([BUILD, await stub.build()]);
          },
        };";
    Project::new(
        &code.replace("BUILD;", &format!("{build};")).replace("[BUILD,", &format!("[{build},")),
        &[("BUILD", "Build")],
    )
}

/// A way into a node.
#[derive(Clone, Copy)]
enum Door {
    /// A Worker, which calls an actor.
    Http,
    /// An actor.
    Grpc,
}

/// One caller at one door.
struct Caller {
    node: usize,
    door: Door,
    /// What was acknowledged before its newest call was sent.
    begun: AtomicU64,
    /// The newest build that answered it.
    answered: AtomicU64,
}

/// Callers of all nodes, and what they were told.
struct Callers {
    all: Vec<Caller>,
    /// The newest build whose deploy was acknowledged.
    acked: AtomicU64,
    wrong: Mutex<Vec<String>>,
    stopped: AtomicBool,
}

impl Callers {
    fn start(cluster: &Cluster, acked: u64) -> (Arc<Self>, JoinSet<()>) {
        let doors = (0..cluster.nodes().len()).flat_map(|node| [(node, Door::Http), (node, Door::Grpc)]);
        let caller = |(node, door)| Caller { node, door, begun: AtomicU64::new(0), answered: AtomicU64::new(0) };
        let all = doors.flat_map(|door| std::iter::repeat_n(door, CALLERS)).map(caller).collect();
        let (acked, wrong, stopped) = (AtomicU64::new(acked), Mutex::default(), AtomicBool::new(false));
        let callers = Arc::new(Self { all, acked, wrong, stopped });
        let mut tasks = JoinSet::new();
        for (number, caller) in callers.all.iter().enumerate() {
            let node = &cluster.nodes()[caller.node];
            let address = match caller.door {
                Door::Http => node.http(),
                Door::Grpc => node.grpc(),
            };
            tasks.spawn(callers.clone().run(number, address));
        }
        (callers, tasks)
    }

    async fn run(self: Arc<Self>, number: usize, address: String) {
        let caller = &self.all[number];
        let mut calls = number as u64;
        while !self.stopped.load(Ordering::SeqCst) {
            calls += 1;
            let actor = format!("actor-{}", calls % ACTORS);
            let acked = self.acked.load(Ordering::SeqCst);
            caller.begun.store(acked, Ordering::SeqCst);
            let answer = tokio::time::timeout(CALL_MAX, ask(caller.door, &address, &actor)).await;
            let Ok(Ok(builds)) = answer else {
                tokio::time::sleep(AFTER_ERROR).await;
                continue;
            };
            let oldest = builds.iter().copied().min().unwrap_or(0);
            if oldest < acked {
                let wrong = format!("node {} answered {builds:?} for {actor} after {acked}", caller.node + 1);
                self.wrong.lock().expect("nobody panics with it").push(wrong);
            }
            caller.answered.fetch_max(oldest, Ordering::SeqCst);
        }
    }

    /// Waits until every caller at these nodes was answered by this build or a newer one.
    async fn all_answered(&self, build: u64, nodes: &[usize]) {
        let answered = |caller: &Caller| caller.answered.load(Ordering::SeqCst) >= build;
        self.each(nodes, &format!("answers of build {build}"), answered).await;
    }

    /// Waits until every caller at this node has a call under way that began after this build was acknowledged.
    async fn all_begun(&self, build: u64, node: usize) {
        let begun = |caller: &Caller| caller.begun.load(Ordering::SeqCst) >= build;
        self.each(&[node], &format!("calls after build {build}"), begun).await;
    }

    async fn each(&self, nodes: &[usize], what: &str, holds: impl Fn(&Caller) -> bool) {
        let all = async || self.all.iter().filter(|caller| nodes.contains(&caller.node)).all(&holds).then_some(());
        wait_up_to(ANSWER_MAX, what, all).await;
    }

    /// Deploys a build through a node. The node may have to find a new leader of the system group first.
    async fn deploy(&self, build: u64, through: &Node) {
        let project = project(build);
        wait_up_to(ANSWER_MAX, "a deploy to be acknowledged", async || through.deploy(project.path()).await.ok()).await;
        self.acked.store(build, Ordering::SeqCst);
    }

    async fn stop(&self, mut tasks: JoinSet<()>) -> Result<()> {
        self.stopped.store(true, Ordering::SeqCst);
        while let Some(task) = tasks.join_next().await {
            task.context("a caller panicked")?;
        }
        let wrong = self.wrong.lock().expect("nobody panics with it");
        ensure!(wrong.is_empty(), "older code answered:\n{}", wrong.join("\n"));
        Ok(())
    }
}

/// The builds that answer one call.
async fn ask(door: Door, address: &str, actor: &str) -> Result<Vec<u64>> {
    match door {
        Door::Http => {
            let reply = get(address, &format!("/{actor}")).await?;
            ensure!(reply.status().is_success(), "{}", reply.text());
            Ok(serde_json::from_slice(&reply.body)?)
        }
        Door::Grpc => {
            let client = Client::connect(address).await?.with_deadline(CALL_MAX);
            let build = client.actor("Build", Id::name(actor)).call_json("build", &json!([])).await?;
            Ok(vec![build.as_u64().context("a number")?])
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_begins_on_older_code_once_a_deploy_is_acknowledged_whatever_a_node_suffers() -> Result<()> {
    let network = can("make networks", try_network);
    let (_permit, mut cluster) = cluster_of(lethe_tests::Setup { network, ..setup("") }).await?;
    cluster.deploy(project(1).path()).await?;
    let (callers, tasks) = Callers::start(&cluster, 1);
    callers.all_answered(1, &[0, 1, 2]).await;

    callers.deploy(2, &cluster.nodes()[0]).await;
    callers.all_answered(2, &[0, 1, 2]).await;

    // It leads the system group, so it was the one to know first; and when it goes on, calls wait in its sockets.
    let still = cluster.leader(0).await?;
    let others = [(still + 1) % 3, (still + 2) % 3];
    cluster.node(still).pause().await?;
    callers.deploy(3, &cluster.nodes()[others[0]]).await;
    callers.all_answered(3, &others).await;
    callers.all_begun(3, still).await;
    cluster.node(still).resume()?;
    callers.all_answered(3, &[still]).await;
    cluster.healthy(HEALTHY_MAX).await?;

    if network {
        // One that cannot confirm the registry, but has a quorum for the groups that it leads.
        let leader = cluster.leader(0).await?;
        let apart = (leader + 1) % 3;
        cluster.network().part(&[leader], &[apart])?;
        callers.deploy(4, &cluster.nodes()[leader]).await;
        callers.all_begun(4, apart).await;
        callers.all_answered(4, &[leader]).await;
        cluster.network().heal()?;
    }
    callers.all_answered(callers.acked.load(Ordering::SeqCst), &[0, 1, 2]).await;
    callers.deploy(5, &cluster.nodes()[2]).await;
    callers.all_answered(5, &[0, 1, 2]).await;
    callers.stop(tasks).await?;
    cluster.healthy(HEALTHY_MAX).await?;
    Ok(())
}
