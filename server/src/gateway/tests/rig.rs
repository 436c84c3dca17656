//! Starts a gateway with a handler, and speaks raw bytes to it with deadlines.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use lethe_runtime::body::{self, Body};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio_stream::StreamExt;

use crate::gateway::{Config, Gateway, Handle, Limits, Peer, Serve};

/// No test waits longer than this for anything.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Fails the test when `future` takes longer than [`DEADLINE`].
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited too long: {what}"),
    }
}

/// A handler made of a function.
pub struct Handler<F>(pub F);

impl<F, Fut> Serve for Handler<F>
where
    F: Fn(Request<Body>, Peer) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Response<Body>> + Send + 'static,
{
    fn serve(&self, request: Request<Body>, peer: Peer) -> BoxFuture<'static, Response<Body>> {
        Box::pin((self.0)(request, peer))
    }
}

/// Answers with method, URL and the whole body.
pub async fn describe(request: Request<Body>, _peer: Peer) -> Response<Body> {
    let (parts, body) = request.into_parts();
    match body.collect().await {
        Ok(collected) => {
            let text = String::from_utf8_lossy(&collected.to_bytes()).into_owned();
            Response::new(body::full(format!("{} {} {text}", parts.method, parts.uri)))
        }
        Err(error) => Response::builder().status(500).body(body::full(error.to_string())).unwrap(),
    }
}

/// Sends the body back as it comes.
pub async fn echo(request: Request<Body>, _peer: Peer) -> Response<Body> {
    Response::new(request.into_body())
}

/// Small limits and short times, so that tests of time-outs are quick.
pub fn quick() -> Limits {
    Limits { header_timeout_ms: 250, idle_timeout_ms: 600, body_stall_timeout_ms: 300, ..Limits::default() }
}

/// A gateway on a free port of loopback.
pub struct Rig {
    pub addr: SocketAddr,
    pub handle: Handle,
}

pub async fn start_with(config: Config, serve: impl Serve) -> Rig {
    let bound = Gateway::bind(config).await.unwrap();
    Rig { addr: bound.local_addr(), handle: bound.serve(Arc::new(serve)) }
}

pub async fn start(limits: Limits, serve: impl Serve) -> Rig {
    start_with(Config { limits, ..Config::new(loopback()) }, serve).await
}

pub fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A client that says exactly what it is told to.
pub struct Raw {
    pub tcp: TcpStream,
    unread: Vec<u8>,
}

/// A response as it came.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Raw {
    pub async fn connect(addr: SocketAddr) -> Self {
        Self { tcp: soon("connect", TcpStream::connect(addr)).await.unwrap(), unread: Vec::new() }
    }

    /// Speaks over a connection that was made already.
    pub fn over(tcp: std::net::TcpStream) -> Self {
        tcp.set_nonblocking(true).unwrap();
        Self { tcp: TcpStream::from_std(tcp).unwrap(), unread: Vec::new() }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon("send", self.tcp.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Reads more; false at the end of the stream (a reset counts as one).
    async fn more(&mut self) -> bool {
        let mut space = [0u8; 16 << 10];
        let what = format!("more than {:?}", String::from_utf8_lossy(&self.unread));
        let read = soon(&what, self.tcp.read(&mut space)).await.unwrap_or(0);
        self.unread.extend_from_slice(&space[..read]);
        read > 0
    }

    /// Reads up to and with `mark`.
    pub async fn until(&mut self, mark: &str) -> String {
        loop {
            if let Some(at) = self.unread.windows(mark.len()).position(|window| window == mark.as_bytes()) {
                let taken: Vec<u8> = self.unread.drain(..at + mark.len()).collect();
                return String::from_utf8_lossy(&taken).into_owned();
            }
            assert!(self.more().await, "closed before {mark:?}; got {:?}", String::from_utf8_lossy(&self.unread));
        }
    }

    async fn exactly(&mut self, bytes: usize) -> String {
        while self.unread.len() < bytes {
            assert!(self.more().await, "closed in a body; got {:?}", String::from_utf8_lossy(&self.unread));
        }
        let taken: Vec<u8> = self.unread.drain(..bytes).collect();
        String::from_utf8_lossy(&taken).into_owned()
    }

    /// Reads one response whose body is chunked or has a length.
    pub async fn answer(&mut self) -> Answer {
        let head = self.until("\r\n\r\n").await.to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut body = String::new();
        if head.contains("transfer-encoding: chunked") {
            loop {
                let size = self.until("\r\n").await;
                let size = usize::from_str_radix(size.trim(), 16).unwrap();
                let chunk = self.exactly(size + 2).await;
                body.push_str(&chunk[..size]);
                if size == 0 {
                    break;
                }
            }
        } else if let Some(length) = head.lines().find_map(|line| line.strip_prefix("content-length: ")) {
            body = self.exactly(length.parse().unwrap()).await;
        }
        Answer { status, head, body }
    }

    /// Reads to the end of the stream.
    pub async fn rest(&mut self) -> String {
        while self.more().await {}
        String::from_utf8_lossy(&std::mem::take(&mut self.unread)).into_owned()
    }

    /// Sends a request and reads its response.
    pub async fn ask(&mut self, request: impl AsRef<[u8]>) -> Answer {
        self.send(request).await;
        self.answer().await
    }
}

/// A hyper client that never keeps a connection.
pub async fn get(addr: SocketAddr, path: &str) -> Answer {
    Raw::connect(addr).await.ask(format!("GET {path} HTTP/1.1\r\nhost: {addr}\r\n\r\n")).await
}

/// Tells when it is dropped.
pub struct Tell(pub Arc<Notify>);

impl Drop for Tell {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// A response's body without end: 64 KiB frames, counted as they are taken, telling when it is dropped.
pub struct Endless {
    pub taken: Arc<AtomicUsize>,
    pub dropped: Arc<Notify>,
}

pub const FRAME_BYTES: usize = 64 << 10;

impl Endless {
    pub fn new() -> Self {
        Self { taken: Arc::default(), dropped: Arc::default() }
    }

    pub fn bytes_taken(&self) -> usize {
        self.taken.load(Ordering::SeqCst) * FRAME_BYTES
    }

    pub fn body(&self) -> Body {
        let (taken, tell) = (self.taken.clone(), Tell(self.dropped.clone()));
        let frames = futures::stream::repeat_with(move || {
            let _held = &tell;
            taken.fetch_add(1, Ordering::SeqCst);
            Ok(Frame::data(Bytes::from_static(&[b'x'; FRAME_BYTES])))
        });
        StreamBody::new(frames).boxed_unsync()
    }
}

/// A request's body that a test writes frame by frame; ends when the sender is dropped.
pub fn channel() -> (mpsc::Sender<Bytes>, Body) {
    let (sender, receiver) = mpsc::channel::<Bytes>(1);
    let frames = tokio_stream::wrappers::ReceiverStream::new(receiver).map(|bytes| Ok(Frame::data(bytes)));
    (sender, StreamBody::new(frames).boxed_unsync())
}
