//! What an actor does outside the cluster while the node it lives on stands still, or is cut off from its peers, with a
//! call in it.
//!
//! An actor tells a sink, in one call and one after the other, which instance it is. Its node is stopped by SIGSTOP, or
//! parted from the others and from nobody else. Another instance begins elsewhere and tells the sink, too. The first one,
//! with its call and with questions that come to its node, must then be silent.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::{Context, Result, ensure};
use lethe_client::{Client, Id};
use lethe_tests::{Cluster, HEALTHY_MAX, Project, Setup, can, try_network, wait_up_to};
use serde_json::{Value, json};
use tokio::{sync::SemaphorePermit, task::JoinHandle, task::JoinSet};

use crate::{
    bed::{ANSWER_MAX, cluster_of, setup},
    sink::Sink,
};

/// A question that waits for longer is asked again.
const ASK_MAX: Duration = Duration::from_secs(10);
/// Effects that must have come before the fault: then the call is surely in the node.
const EFFECTS: usize = 3;
/// Effects of the next instance. Meanwhile the first one would have as many.
const EFFECTS_NEXT: usize = 100;
/// Questions to the node that is cut off or stands still.
const QUESTIONS: usize = 8;
/// A request that was proven, and not yet written to its socket when the process stood still, leaves when it goes on. The
/// actor sends one after the other.
const LATE_MAX: usize = 1;

const BEACON: &str = "
import { DurableObject } from 'cloudflare:workers';
export class Beacon extends DurableObject {
  instance = crypto.randomUUID();
  who() { return this.instance; }
  async shine(sink, times) {
    for (let time = 0; time < times; time++) {
      await fetch(`${sink}/${this.instance}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}
export default { fetch() { return new Response('a beacon'); } };";

type Call = JoinHandle<Result<Value, lethe_client::Error>>;

/// A call at a node's door.
fn call(door: &str, method: &'static str, args: Value, time_max: Duration) -> Call {
    let door = door.to_owned();
    tokio::spawn(async move {
        let client = Client::connect(&door).await?.with_deadline(time_max);
        client.actor("Beacon", Id::name("beacon")).call_json(method, &args).await
    })
}

/// Which instance answers at this door.
async fn who(door: &str) -> Result<String> {
    let instance = call(door, "who", json!([]), ASK_MAX).await??;
    Ok(instance.as_str().context("text")?.to_owned())
}

/// A beacon that shines, in a cluster.
struct Stage {
    sink: Sink,
    /// The instance, the call that is in it, and its node.
    first: String,
    shining: Call,
    home: usize,
    cluster: Cluster,
    _permit: SemaphorePermit<'static>,
}

impl Stage {
    async fn make(setup: Setup) -> Result<Self> {
        let is_apart = setup.network;
        let (permit, cluster) = cluster_of(setup).await?;
        let sink = Sink::start(if is_apart { cluster.network().tests() } else { Ipv4Addr::LOCALHOST }).await?;
        let project = Project::new(BEACON, &[("BEACON", "Beacon")]);
        project.configure(|config| config["lethe"] = json!({ "egress": { "allow_private": true } }));
        cluster.deploy(project.path()).await?;
        let door = cluster.nodes()[0].grpc();
        let first = wait_up_to(ANSWER_MAX, "the first instance", async || who(&door).await.ok()).await;
        let group = cluster.client(0).await?.actor("Beacon", Id::name("beacon")).show().await?.group;
        let home = cluster.leader(group).await?;
        let args = json!([sink.address, u32::MAX]);
        let shining = call(&cluster.nodes()[home].grpc(), "shine", args, 2 * ANSWER_MAX);
        wait_up_to(ANSWER_MAX, "effects", async || (sink.count(&first) >= EFFECTS).then_some(())).await;
        Ok(Self { sink, first, shining, home, cluster, _permit: permit })
    }

    fn others(&self) -> [usize; 2] {
        [(self.home + 1) % 3, (self.home + 2) % 3]
    }

    fn door(&self, node: usize) -> String {
        self.cluster.nodes()[node].grpc()
    }

    /// Waits until another instance answers elsewhere, and lets it shine.
    async fn next(&self) -> Result<(String, Call)> {
        let door = self.door(self.others()[0]);
        let next = async || who(&door).await.ok().filter(|answered| *answered != self.first);
        let second = wait_up_to(ANSWER_MAX, "the next instance", next).await;
        let shining = call(&door, "shine", json!([self.sink.address, EFFECTS_NEXT]), ANSWER_MAX);
        let shines = async || (self.sink.count(&second) > 0).then_some(());
        wait_up_to(ANSWER_MAX, "an effect of the next instance", shines).await;
        Ok((second, shining))
    }

    /// Asks at the door of the first instance's node.
    fn ask(&self) -> JoinSet<Result<String>> {
        let (mut questions, door) = (JoinSet::new(), self.door(self.home));
        for _ in 0..QUESTIONS {
            let door = door.clone();
            questions.spawn(async move { who(&door).await });
        }
        questions
    }

    /// The first instance answers nobody. An error says nothing of anybody.
    async fn is_silent(&self, mut questions: JoinSet<Result<String>>, second: &str) -> Result<()> {
        let first = &self.first;
        while let Some(answer) = questions.join_next().await {
            let answered = answer?.ok().as_ref() == Some(first);
            ensure!(!answered, "{first} answered a question that came after an answer of {second}");
        }
        Ok(())
    }

    /// The call without end was ended, and what its instance did outside came before the next one did anything. Then all
    /// nodes know the next one.
    async fn end(self, second: &str, shining: Call) -> Result<()> {
        let Self { sink, first, home, cluster, .. } = self;
        let ended = tokio::time::timeout(ANSWER_MAX, self.shining).await.context("the call goes on")??;
        ensure!(ended.is_err(), "a call without end was answered");
        tokio::time::timeout(ANSWER_MAX, shining).await.context("the next instance's call goes on")???;
        let (early, late) = (sink.count(&first), sink.count_after(&first, second));
        println!("{early} effects of the first instance, {late} of them after the next one's first");
        ensure!(late <= LATE_MAX, "{late} effects of an older instance came after the next one had begun");
        let door = cluster.nodes()[home].grpc();
        let knows = async || who(&door).await.ok();
        let known = wait_up_to(ANSWER_MAX, "the node to call the next instance", knows).await;
        ensure!(known != first, "{first} answered again");
        cluster.healthy(HEALTHY_MAX).await?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_whose_node_stood_still_begins_no_effect_and_answers_nobody_after_the_next_one_did() -> Result<()> {
    let mut stage = Stage::make(setup("")).await?;
    stage.cluster.node(stage.home).pause().await?;
    let (second, shining) = stage.next().await?;
    let questions = stage.ask();
    let home = stage.home;
    stage.cluster.node(home).resume()?;
    stage.is_silent(questions, &second).await?;
    stage.end(&second, shining).await
}

/// Nothing stands still here: the node reaches the sink and its callers all the time, and goes on by what it knows.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_whose_node_is_cut_off_begins_no_effect_and_answers_nobody_after_the_next_one_did() -> Result<()> {
    if !can("make networks", try_network) {
        return Ok(());
    }
    let stage = Stage::make(Setup { network: true, ..setup("") }).await?;
    stage.cluster.network().part(&[stage.home], &stage.others())?;
    let (second, shining) = stage.next().await?;
    let questions = stage.ask();
    stage.is_silent(questions, &second).await?;
    ensure!(stage.cluster.network().dropped()? > 0, "no packet ran into the cut");
    stage.cluster.network().heal()?;
    stage.end(&second, shining).await
}
