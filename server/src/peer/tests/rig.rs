//! Nodes of a small cluster, each with its certificate, and handlers that do as they are told.

use std::{
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{
    future::BoxFuture,
    stream::{BoxStream, StreamExt},
};
use lethe_proto::{ClusterId, NodeId};
use uuid::Uuid;

use crate::peer::{
    Answers, Bound, Config, Error, Handle, Handler, Head, Lane, Me, Peers, Refusal, TlsFiles, Topic, Transport, bind,
    ca::{self, Authority},
};

pub const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(0xC1));

/// The last resort of a test that fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

pub fn later() -> Instant {
    Instant::now() + PATIENCE
}

pub fn head(topic: Topic) -> Head {
    Head { lane: Lane::Control, topic, group: 0, incarnation: 0 }
}

/// The certificates of a cluster.
pub struct Certificates {
    authority: Authority,
    dir: tempfile::TempDir,
}

impl Certificates {
    pub fn new() -> Self {
        Self { authority: Authority::create(CLUSTER).unwrap(), dir: tempfile::tempdir().unwrap() }
    }

    pub fn of(&self, node: NodeId) -> TlsFiles {
        let dir = self.dir.path().join(node.to_string());
        if !dir.exists() {
            std::fs::create_dir(&dir).unwrap();
            ca::save_node(&dir, self.authority.ca_pem(), &self.authority.issue(node).unwrap()).unwrap();
        }
        TlsFiles::in_dir(&dir)
    }
}

/// A loopback address that nobody else uses: a port that was free there stays free.
pub fn own_address() -> Ipv4Addr {
    Ipv4Addr::new(127, rand::random_range(1..=254), rand::random(), rand::random_range(1..=254))
}

pub fn config(tls: Option<TlsFiles>) -> Config {
    let mut config = Config::new((own_address(), 0).into(), tls);
    // So that a loaded machine is not taken for a broken connection.
    config.limits.connect_timeout_ms = 30_000;
    config.limits.keepalive_timeout_ms = 30_000;
    config
}

/// A node that is served.
pub struct Served {
    pub node: NodeId,
    pub address: SocketAddr,
    pub peers: Peers,
    pub handle: Handle,
}

pub async fn bound(config: Config, node: u64) -> Bound {
    bind(config, Me { cluster: CLUSTER, node: NodeId::from(node) }).await.unwrap()
}

pub async fn serve(config: Config, node: u64, handler: Arc<dyn Handler>) -> Served {
    let bound = bound(config, node).await;
    let (address, peers) = (bound.local_addr(), bound.peers());
    let handlers = Topic::ALL.map(|topic| (topic, handler.clone()));
    Served { node: NodeId::from(node), address, peers, handle: bound.serve(handlers.to_vec()) }
}

/// Nodes 1 and 2 over mutual TLS; 1 knows where 2 is, and 2 does as `handler` says.
pub async fn two(handler: impl Handler) -> (Served, Served) {
    let certificates = Certificates::new();
    let one = serve(config(Some(certificates.of(NodeId::from(1)))), 1, Arc::new(Nobody)).await;
    let two = serve(config(Some(certificates.of(NodeId::from(2)))), 2, Arc::new(handler)).await;
    one.peers.learn(two.node, &two.address.to_string());
    (one, two)
}

impl Served {
    /// A call of the usual kind.
    pub async fn say(&self, to: NodeId, text: &'static str) -> Result<Bytes, Error> {
        let call = self.peers.call(to, head(Topic::Status), Bytes::from_static(text.as_bytes()), later());
        soon("an answer", call).await
    }
}

/// Refuses everything; streams as every topic without them does.
pub struct Nobody;

impl Handler for Nobody {
    fn call(&self, _: NodeId, _: Head, _: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        Box::pin(async { Err(Refusal::Unavailable("nobody is here".into())) })
    }
}

/// Answers a message with what it knows of it; a stream with each of its messages.
pub struct Echo;

impl Handler for Echo {
    fn call(&self, from: NodeId, head: Head, message: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        Box::pin(async move {
            let Head { lane, topic, group, incarnation } = head;
            let text = String::from_utf8_lossy(&message);
            Ok(format!("{from} {lane:?} {topic:?} {group} {incarnation} {text}").into())
        })
    }

    fn stream(
        &self,
        _: NodeId,
        _: Head,
        messages: BoxStream<'static, Result<Bytes, Error>>,
    ) -> BoxFuture<'static, Result<Answers<Refusal>, Refusal>> {
        let answers = messages.map(|message| message.map_err(|error| Refusal::Unavailable(error.to_string())));
        Box::pin(async move { Ok(answers.boxed()) })
    }
}

/// Answers calls by a function.
pub fn calls<F, W>(answer: F) -> impl Handler
where
    F: Fn(Bytes) -> W + Send + Sync + 'static,
    W: Future<Output = Result<Bytes, Refusal>> + Send + 'static,
{
    Calls(answer)
}

struct Calls<F>(F);

impl<F, W> Handler for Calls<F>
where
    F: Fn(Bytes) -> W + Send + Sync + 'static,
    W: Future<Output = Result<Bytes, Refusal>> + Send + 'static,
{
    fn call(&self, _: NodeId, _: Head, message: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        Box::pin((self.0)(message))
    }
}

pub type Incoming = BoxStream<'static, Result<Bytes, Error>>;

/// Answers streams by a function.
pub fn streams<F>(answer: F) -> impl Handler
where
    F: Fn(Incoming) -> Answers<Refusal> + Send + Sync + 'static,
{
    Streams(answer)
}

struct Streams<F>(F);

impl<F> Handler for Streams<F>
where
    F: Fn(Incoming) -> Answers<Refusal> + Send + Sync + 'static,
{
    fn call(&self, from: NodeId, head: Head, message: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        Nobody.call(from, head, message)
    }

    fn stream(&self, _: NodeId, _: Head, messages: Incoming) -> BoxFuture<'static, Result<Answers<Refusal>, Refusal>> {
        let answers = (self.0)(messages);
        Box::pin(async move { Ok(answers) })
    }
}
