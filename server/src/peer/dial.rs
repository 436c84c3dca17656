//! Making a connection: TCP, TLS, HTTP/2, and a first word that shows that the other side takes it.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use http::{Request, StatusCode};
use hyper::{
    client::conn::http2::{Builder, SendRequest},
    rt::Executor as _,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use lethe_proto::NodeId;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::{either::Either, sync::CancellationToken, task::TaskTracker};
use tonic::body::Body;

use super::{
    config::{Limits, Me},
    link::describe,
    tls,
};

/// Bytes of one answer that may be on their way to a reader who does not read.
pub(super) const STREAM_WINDOW_BYTES: u32 = 2 << 20;
/// The same over all answers of a connection.
pub(super) const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Largest HTTP/2 frame that is taken.
pub(super) const FRAME_BYTES_MAX: u32 = 64 << 10;
/// Streams given up before they were answered that a connection bears.
pub(super) const RESETS_MAX: usize = 4_096;
/// Where the first word goes, and the header of its answer that says who answers.
pub(super) const HELLO_PATH: &str = "/hello";
pub(super) const HELLO_NODE: &str = "lethe-node";

/// Runs the tasks of connections, and of what is under way on them: they end when `cut` is cancelled, and `tasks` knows
/// them.
#[derive(Clone)]
pub(super) struct Executor {
    pub tasks: TaskTracker,
    pub cut: CancellationToken,
}

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, work: F) {
        let cut = self.cut.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                _ = work => {}
                () = cut.cancelled() => {}
            }
        });
    }
}

/// Makes connections of this node.
pub(super) struct Dialer {
    pub me: Me,
    pub limits: Limits,
    /// `None` speaks plain text.
    pub tls: Option<TlsConnector>,
    pub executor: Executor,
}

/// A connection that the other side has taken.
pub(super) struct Dialed {
    pub node: NodeId,
    pub send: SendRequest<Body>,
}

type Io = Either<TcpStream, Box<tokio_rustls::client::TlsStream<TcpStream>>>;

impl Dialer {
    /// Connects to `address`, where `node` or, if nobody is named, any node of the cluster must answer. The connection
    /// lives until `closed`, a child of the executor's `cut`, or until nobody can send on it any more.
    pub fn dial(
        self: Arc<Self>,
        address: String,
        node: Option<NodeId>,
        closed: CancellationToken,
    ) -> BoxFuture<'static, Result<Dialed, String>> {
        Box::pin(async move {
            let within = Duration::from_millis(self.limits.connect_timeout_ms);
            match tokio::time::timeout(within, self.connect(&address, node, closed)).await {
                Ok(dialed) => dialed.map_err(|why| format!("{address}: {why}")),
                Err(_) => Err(format!("{address}: no connection within {} ms", within.as_millis())),
            }
        })
    }

    async fn connect(&self, address: &str, node: Option<NodeId>, closed: CancellationToken) -> Result<Dialed, String> {
        let tcp = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        tcp.set_nodelay(true).map_err(|error| error.to_string())?;
        let (io, certified) = self.secure(tcp, node).await?;
        let mut send = self.handshake(io, closed).await?;
        let said = hello(&mut send, address).await?;
        let there = certified.or(said).ok_or("the other side does not say which node it is")?;
        if let Some(wanted) = node.filter(|wanted| *wanted != there) {
            return Err(format!("node {there} answers there, not {wanted}"));
        }
        Ok(Dialed { node: there, send })
    }

    async fn secure(&self, tcp: TcpStream, node: Option<NodeId>) -> Result<(Io, Option<NodeId>), String> {
        let Some(connector) = &self.tls else { return Ok((Either::Left(tcp), None)) };
        let tls = connector.connect(tls::name_of(self.me, node)?, tcp).await.map_err(|error| error.to_string())?;
        let leaf = tls.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let (_, node) = leaf.and_then(tls::identity).ok_or("its certificate names no node")?;
        Ok((Either::Right(Box::new(tls)), Some(node)))
    }

    async fn handshake(&self, io: Io, closed: CancellationToken) -> Result<SendRequest<Body>, String> {
        // hyper runs the connection itself as a task of its own, which must end with it.
        let executor = Executor { tasks: self.executor.tasks.clone(), cut: closed };
        let (send, connection) = Builder::new(executor.clone())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES_MAX)
            .max_concurrent_reset_streams(RESETS_MAX)
            .keep_alive_interval(Duration::from_millis(self.limits.keepalive_interval_ms))
            .keep_alive_timeout(Duration::from_millis(self.limits.keepalive_timeout_ms))
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(io))
            .await
            .map_err(|error| error.to_string())?;
        executor.execute(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to another node broke");
            }
        });
        Ok(send)
    }
}

/// Waits for the first word of the other side: only now it has taken our certificate. In TLS 1.3 the client's
/// handshake is done before the server has looked at it.
async fn hello(send: &mut SendRequest<Body>, address: &str) -> Result<Option<NodeId>, String> {
    let uri = format!("http://{address}{HELLO_PATH}");
    let request = Request::get(uri).body(Body::empty()).map_err(|error| error.to_string())?;
    let answer = send.send_request(request).await.map_err(|error| describe(&error))?;
    if answer.status() != StatusCode::NO_CONTENT {
        return Err(format!("the first word was answered with {}", answer.status()));
    }
    let node = answer.headers().get(HELLO_NODE).and_then(|value| uuid::Uuid::try_parse(value.to_str().ok()?).ok());
    Ok(node.map(NodeId))
}
