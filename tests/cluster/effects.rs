//! What an actor does outside the cluster, while the node it lives on stands still with a call in it.
//!
//! An actor tells a sink, in one call without end and one after the other, which instance it is. Its node is stopped by
//! SIGSTOP, another instance answers elsewhere, and the node goes on: with the call, and with questions that wait in its sockets.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use lethe_client::{Client, Id};
use lethe_tests::{HEALTHY_MAX, Project, wait_up_to};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::bed::{ANSWER_MAX, cluster_of, setup};

/// A question that waits for longer is asked again.
const ASK_MAX: Duration = Duration::from_secs(10);
/// Effects that must have come before the node is stopped: then the call is surely in it.
const EFFECTS: usize = 3;
/// Questions that wait in the sockets of the node that stands still.
const QUESTIONS: usize = 8;
/// A request that was proven, and not yet written to its socket when the process was stopped, leaves when it goes on. The
/// actor sends one after the other.
const LATE_MAX: usize = 1;

const BEACON: &str = "
import { DurableObject } from 'cloudflare:workers';
export class Beacon extends DurableObject {
  instance = crypto.randomUUID();
  who() { return this.instance; }
  async shine(sink) {
    for (;;) {
      await fetch(`${sink}/${this.instance}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}
export default { fetch() { return new Response('a beacon'); } };";

/// An HTTP server that remembers who called.
struct Sink {
    address: String,
    heard: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Sink {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("http://{}", listener.local_addr()?);
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let (mut tasks, hears) = (JoinSet::new(), heard.clone());
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                connections.spawn(answer(connection, hears.clone()));
            }
        });
        Ok(Self { address, heard, _tasks: tasks })
    }

    /// How often this instance called.
    fn count(&self, instance: &str) -> usize {
        self.heard.lock().expect("nobody panics with it").iter().filter(|heard| *heard == instance).count()
    }
}

/// Answers one request.
async fn answer(connection: TcpStream, heard: Arc<Mutex<Vec<String>>>) {
    let mut lines = BufReader::new(connection).lines();
    let Ok(Some(first)) = lines.next_line().await else { return };
    while let Ok(Some(line)) = lines.next_line().await
        && !line.is_empty()
    {}
    let path = first.split(' ').nth(1).unwrap_or("/");
    heard.lock().expect("nobody panics with it").push(path.trim_start_matches('/').to_owned());
    let response = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
    let _ = lines.into_inner().into_inner().write_all(response).await;
}

/// Which instance answers at this door.
async fn who(door: &str) -> Result<String> {
    let client = Client::connect(door).await?.with_deadline(ASK_MAX);
    let instance = client.actor("Beacon", Id::name("beacon")).call_json("who", &json!([])).await?;
    Ok(instance.as_str().context("text")?.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_whose_node_stood_still_begins_no_effect_and_answers_nobody_after_the_next_one_did() -> Result<()> {
    let (_permit, mut cluster) = cluster_of(setup("")).await?;
    let sink = Sink::start().await?;
    let project = Project::new(BEACON, &[("BEACON", "Beacon")]);
    project.configure(|config| config["lethe"] = json!({ "egress": { "allow_private": true } }));
    cluster.deploy(project.path()).await?;
    let door = cluster.nodes()[0].grpc();
    let first = wait_up_to(ANSWER_MAX, "the first instance", async || who(&door).await.ok()).await;
    let group = cluster.client(0).await?.actor("Beacon", Id::name("beacon")).show().await?.group;
    let still = cluster.leader(group).await?;
    let (still_door, other_door) = (cluster.nodes()[still].grpc(), cluster.nodes()[(still + 1) % 3].grpc());

    let client = Client::connect(&still_door).await?.with_deadline(2 * ANSWER_MAX);
    let address = sink.address.clone();
    let call: tokio::task::JoinHandle<Result<Value, lethe_client::Error>> =
        tokio::spawn(
            async move { client.actor("Beacon", Id::name("beacon")).call_json("shine", &json!([address])).await },
        );
    wait_up_to(ANSWER_MAX, "effects", async || (sink.count(&first) >= EFFECTS).then_some(())).await;
    cluster.node(still).pause().await?;

    let next = async || who(&other_door).await.ok().filter(|answered| *answered != first);
    let second = wait_up_to(ANSWER_MAX, "the next instance", next).await;
    let before = sink.count(&first);
    let mut questions = JoinSet::new();
    for _ in 0..QUESTIONS {
        let door = still_door.clone();
        questions.spawn(async move { who(&door).await });
    }
    cluster.node(still).resume()?;

    while let Some(answer) = questions.join_next().await {
        // An error says nothing of anybody.
        ensure!(
            answer?.ok().as_ref() != Some(&first),
            "{first} answered a question that came after an answer of {second}"
        );
    }
    let ended = tokio::time::timeout(ANSWER_MAX, call).await.context("the call goes on")??;
    ensure!(ended.is_err(), "a call without end was answered");
    wait_up_to(ANSWER_MAX, "the node to call the next instance", async || who(&still_door).await.ok()).await;
    let late = sink.count(&first) - before;
    println!("{before} effects before, {late} after the next instance had answered");
    ensure!(late <= LATE_MAX, "{late} effects of an older instance came after the next one had answered");
    cluster.healthy(HEALTHY_MAX).await?;
    Ok(())
}
