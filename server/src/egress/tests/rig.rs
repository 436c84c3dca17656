//! A server that says prepared bytes and hands over what it was told, and a fake DNS.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use http::Request;
use http_body_util::BodyExt;
use lethe_runtime::body::{self, Body};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::egress::{Config, Fetcher, Policy, Resolve};

/// No test waits longer than this for anything.
const DEADLINE: Duration = Duration::from_secs(20);

pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited too long: {what}"),
    }
}

pub fn open() -> Policy {
    Policy { allow_private: true, allow: vec![] }
}

pub fn quick() -> Config {
    Config { connect_timeout_ms: 300, response_timeout_ms: 300, body_stall_timeout_ms: 200, ..Config::default() }
}

pub fn fetcher() -> Fetcher {
    Fetcher::new(quick()).unwrap()
}

pub fn get(url: impl AsRef<str>) -> Request<Body> {
    Request::get(url.as_ref()).body(body::empty()).unwrap()
}

pub async fn text(body: Body) -> Result<String, String> {
    let collected = soon("the body", body.collect()).await.map_err(|error| error.to_string())?;
    Ok(String::from_utf8(collected.to_bytes().to_vec()).unwrap())
}

/// Answers every connection's first head with fixed bytes, then keeps the connection open until the client closes it.
pub struct Canned {
    pub addr: SocketAddr,
    /// The heads that came, with whatever of the body came in the same reads.
    pub heads: mpsc::UnboundedReceiver<String>,
    pub connections: Arc<AtomicUsize>,
    _task: tokio_util::task::AbortOnDropHandle<()>,
}

pub async fn canned(answer: &'static str) -> Canned {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (sender, heads) = mpsc::unbounded_channel();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    let task = tokio::spawn(async move {
        let mut clients = tokio::task::JoinSet::new();
        while let Ok((tcp, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            clients.spawn(talk(tcp, answer, sender.clone()));
        }
    });
    Canned { addr, heads, connections, _task: tokio_util::task::AbortOnDropHandle::new(task) }
}

async fn talk(mut tcp: TcpStream, answer: &'static str, heads: mpsc::UnboundedSender<String>) -> io::Result<()> {
    let mut head = Vec::new();
    let mut space = [0u8; 4096];
    loop {
        let read = tcp.read(&mut space).await?;
        if read == 0 {
            return Ok(());
        }
        head.extend_from_slice(&space[..read]);
        if head.windows(4).any(|window| window == b"\r\n\r\n") {
            drop(heads.send(String::from_utf8_lossy(&head).into_owned()));
            head.clear();
            tcp.write_all(answer.as_bytes()).await?;
        }
    }
}

/// A DNS that gives its n-th answer to the n-th question, and then its last one for ever.
pub struct Dns {
    answers: Vec<Vec<IpAddr>>,
    pub asked: AtomicUsize,
}

impl Dns {
    pub fn saying(answers: &[&[&str]]) -> Arc<Self> {
        let answers = answers.iter().map(|answer| answer.iter().map(|ip| ip.parse().unwrap()).collect()).collect();
        Arc::new(Self { answers, asked: AtomicUsize::new(0) })
    }
}

impl Resolve for Dns {
    fn resolve(&self, _host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let turn = self.asked.fetch_add(1, Ordering::SeqCst).min(self.answers.len() - 1);
        let answer = self.answers[turn].clone();
        Box::pin(async move { Ok(answer) })
    }
}
