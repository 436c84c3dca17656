//! Speed of the way between nodes, over loopback with mutual TLS: `cargo bench -p lethe-server --bench peer`.
//!
//! `call` cases have so many callers that each send 256 bytes and wait for the answer; `stream` cases send messages of one
//! size on one stream, each of them answered with one byte. One runtime runs both ends.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{
    StreamExt,
    future::{BoxFuture, join_all},
    stream::{self, BoxStream},
};
use lethe_proto::{ClusterId, NodeId};
use lethe_server::peer::{
    Answers, Config, Error, Handle, Handler, Head, Lane, Me, Peers, Refusal, TlsFiles, Topic, Transport, bind,
    ca::{self, Authority},
};
use uuid::Uuid;

const CASE: Duration = Duration::from_secs(4);
const MESSAGE_BYTES: usize = 256;

#[tokio::main]
async fn main() {
    let (peers, _handles, _dir) = two_nodes().await;
    println!("mutual TLS over loopback, {} s per case, both ends in one process", CASE.as_secs());
    println!("case                   per s     MiB/s     p50 us     p99 us     max us");
    for callers in [1, 16, 64, 256] {
        calls(&peers, callers).await;
    }
    for bytes in [256, 4 << 10, 64 << 10, 1 << 20] {
        streams(&peers, bytes).await;
    }
}

fn node(number: u64) -> NodeId {
    NodeId::from(number)
}

/// Node 1's way to node 2, which answers everything.
async fn two_nodes() -> (Peers, [Handle; 2], tempfile::TempDir) {
    let cluster = ClusterId(Uuid::from_u128(1));
    let dir = tempfile::tempdir().expect("a directory for certificates");
    let authority = Authority::create(cluster).expect("an authority");
    let mut served = Vec::new();
    for number in [1, 2] {
        let files = dir.path().join(number.to_string());
        std::fs::create_dir(&files).expect("a directory for a node");
        let issued = authority.issue(node(number)).expect("a certificate");
        ca::save_node(&files, authority.ca_pem(), &issued).expect("its files");
        let config = Config::new("127.0.0.1:0".parse().expect("an address"), Some(TlsFiles::in_dir(&files)));
        let bound = bind(config, Me { cluster, node: node(number) }).await.expect("a port");
        let (address, peers) = (bound.local_addr(), bound.peers());
        let handlers = [Topic::Append, Topic::AppendStream].map(|topic| (topic, Arc::new(Short) as Arc<dyn Handler>));
        served.push((address, peers, bound.serve(handlers.to_vec())));
    }
    let (address, _, second) = served.pop().expect("node 2");
    let (_, peers, first) = served.pop().expect("node 1");
    peers.learn(node(2), &address.to_string());
    (peers, [first, second], dir)
}

/// Answers everything with one byte.
struct Short;

impl Handler for Short {
    fn call(&self, _: NodeId, _: Head, _: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        Box::pin(async { Ok(Bytes::from_static(b"y")) })
    }

    fn stream(
        &self,
        _: NodeId,
        _: Head,
        messages: BoxStream<'static, Result<Bytes, Error>>,
    ) -> BoxFuture<'static, Result<Answers<Refusal>, Refusal>> {
        Box::pin(async { Ok(messages.map(|_| Ok(Bytes::from_static(b"y"))).boxed()) })
    }
}

fn head(topic: Topic) -> Head {
    Head { lane: Lane::Log, topic, group: 1, incarnation: 1 }
}

async fn calls(peers: &Peers, callers: usize) {
    let until = Instant::now() + CASE;
    let caller = || async {
        let mut times = Vec::new();
        while Instant::now() < until {
            let begun = Instant::now();
            let message = Bytes::from_static(&[0x5a; MESSAGE_BYTES]);
            let deadline = begun + Duration::from_secs(10);
            peers.call(node(2), head(Topic::Append), message, deadline).await.expect("an answer");
            times.push(begun.elapsed());
        }
        times
    };
    let times = join_all((0..callers).map(|_| caller())).await.concat();
    report(&format!("call x{callers}"), MESSAGE_BYTES, times);
}

async fn streams(peers: &Peers, bytes: usize) {
    let until = Instant::now() + CASE;
    let message = Bytes::from(vec![0x5a; bytes]);
    let messages = stream::repeat(message).take_while(move |_| std::future::ready(Instant::now() < until));
    let mut answers =
        peers.stream(node(2), head(Topic::AppendStream), messages.boxed()).await.expect("the stream opens");
    let (mut times, mut last) = (Vec::new(), Instant::now());
    while let Some(answer) = answers.next().await {
        answer.expect("an answer");
        times.push(last.elapsed());
        last = Instant::now();
    }
    report(&format!("stream {bytes} B"), bytes, times);
}

/// Times are from call to answer, or from one answer of a stream to the next.
fn report(case: &str, bytes: usize, mut times: Vec<Duration>) {
    times.sort();
    let per_s = times.len() as f64 / CASE.as_secs_f64();
    let mib_per_s = per_s * bytes as f64 / f64::from(1 << 20);
    let at = |part: f64| times.get(((times.len() as f64 * part) as usize).min(times.len().saturating_sub(1)));
    let us = |part| at(part).map_or(0, Duration::as_micros);
    println!("{case:18} {per_s:9.0} {mib_per_s:9.1} {:10} {:10} {:10}", us(0.5), us(0.99), us(1.0));
}
