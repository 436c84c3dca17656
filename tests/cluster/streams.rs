//! Responses that an actor streams while its node is cut off from its peers, and from nobody else.
//!
//! Two actors send lines without end, each with the time at which it was written; one of them writes to its storage
//! before each line. A line that was written after the cut was written by an instance that may have been replaced: it must
//! never arrive, although the caller is connected to the node that sends it. The caller sees that the stream broke off.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use lethe_tests::{Cluster, HEALTHY_MAX, Project, Setup, can, now_ms, open, send, try_network, wait_up_to};
use tokio::task::JoinHandle;

use crate::bed::{ANSWER_MAX, cluster_of, setup};

/// Lines that must have come before the cut: then the stream surely flows.
const LINES: usize = 10;
const GROUP: u32 = 1;
const ACTORS: [&str; 2] = ["reads", "writes"];
/// An answer that takes longer is asked for again.
const ASK_MAX: Duration = Duration::from_secs(10);

const TICKER: &str = "
import { DurableObject } from 'cloudflare:workers';
const encoder = new TextEncoder();
export class Ticker extends DurableObject {
  instance = crypto.randomUUID();
  fetch(request) {
    if (request.method === 'POST') return new Response(this.instance);
    let timer;
    const tick = (controller) => {
      const now = Date.now();
      if (request.url.endsWith('writes')) this.ctx.storage.put('now', now);
      controller.enqueue(encoder.encode(`${now}\\n`));
    };
    const body = new ReadableStream({
      start: (controller) => { timer = setInterval(tick, 5, controller); },
      cancel: () => clearInterval(timer),
    });
    return new Response(body, { headers: { instance: this.instance } });
  }
}
export default {
  fetch(request, env) { return env.TICKER.getByName(new URL(request.url).pathname).fetch(request); },
};";

/// A response that is being read.
struct Stream {
    instance: String,
    text: Arc<Mutex<Vec<u8>>>,
    /// Ends when the body does. An error says that it broke off.
    reading: JoinHandle<Result<(), hyper::Error>>,
}

impl Stream {
    async fn open(door: &str, actor: &str) -> Result<Self> {
        let response = open(door, Request::get(format!("/{actor}")).body(Default::default())?).await?;
        ensure!(response.status().is_success(), "{}", response.status());
        let instance = response.headers().get("instance").context("no instance is named")?.to_str()?.to_owned();
        let text: Arc<Mutex<Vec<u8>>> = Arc::default();
        let (heard, mut body) = (text.clone(), response.into_body());
        let reading = tokio::spawn(async move {
            while let Some(frame) = body.frame().await {
                let bytes: Bytes = frame?.into_data().unwrap_or_default();
                heard.lock().expect("nobody panics with it").extend_from_slice(&bytes);
            }
            Ok(())
        });
        Ok(Self { instance, text, reading })
    }
}

/// When the lines that arrived whole were written.
fn written_ms(text: &Mutex<Vec<u8>>) -> Result<Vec<i64>> {
    let text = String::from_utf8(text.lock().expect("nobody panics with it").clone())?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| line.parse().with_context(|| format!("the line {line:?}"))).collect()
}

/// Which instance of an actor answers at this door.
async fn who(door: &str, actor: &str) -> Result<String> {
    let request = Request::post(format!("/{actor}")).body(Default::default())?;
    let reply = tokio::time::timeout(ASK_MAX, send(door, request)).await??;
    ensure!(reply.status().is_success(), "{}: {}", reply.status(), reply.text());
    Ok(reply.text())
}

/// Streams of all actors through the node that their group is led by, and that node. While they are open, the group is
/// not handed over.
async fn streams(cluster: &Cluster) -> Option<(usize, Vec<Stream>)> {
    let home = cluster.leader(GROUP).await.ok()?;
    let door = cluster.nodes()[home].http();
    let mut streams = Vec::new();
    for actor in ACTORS {
        streams.push(Stream::open(&door, actor).await.ok()?);
    }
    (cluster.leader(GROUP).await.ok()? == home).then_some((home, streams))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_chunk_that_was_written_after_its_node_was_cut_off_reaches_the_caller() -> Result<()> {
    if !can("make networks", try_network) {
        return Ok(());
    }
    let (_permit, cluster) = cluster_of(Setup { network: true, groups: 1, ..setup("") }).await?;
    cluster.deploy(Project::new(TICKER, &[("TICKER", "Ticker")]).path()).await?;
    let (home, streams) = wait_up_to(ANSWER_MAX, "streams", async || streams(&cluster).await).await;
    let flows = |stream: &Stream| written_ms(&stream.text).is_ok_and(|lines| lines.len() >= LINES);
    wait_up_to(ANSWER_MAX, "lines", async || streams.iter().all(flows).then_some(())).await;

    let others = [(home + 1) % 3, (home + 2) % 3];
    cluster.network().part(&[home], &others)?;
    let cut_ms = now_ms();
    let other = cluster.nodes()[others[0]].http();
    for (actor, stream) in ACTORS.iter().zip(&streams) {
        let next = async || who(&other, actor).await.ok().filter(|answered| *answered != stream.instance);
        wait_up_to(ANSWER_MAX, "the next instance", next).await;
    }
    for (actor, stream) in ACTORS.iter().zip(streams) {
        let lines = stream.text;
        let ended = tokio::time::timeout(ANSWER_MAX, stream.reading).await.context("a stream goes on")??;
        ensure!(ended.is_err(), "the stream of {actor} has no end, and looks as if it ended");
        let written = written_ms(&lines)?;
        let late = written.iter().filter(|at_ms| **at_ms > cut_ms).count();
        println!(
            "{actor}: {} lines, the last one {} ms before the cut",
            written.len(),
            cut_ms - written.last().context("a line")?
        );
        ensure!(late == 0, "{late} of {} lines of {actor} were written after the cut", written.len());
    }
    cluster.network().heal()?;
    cluster.healthy(HEALTHY_MAX).await?;
    Ok(())
}
