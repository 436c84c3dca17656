//! The gRPC face: decodes a call, hands it to `routing`, encodes what comes back.
//!
//! ```text
//! bind(config) ──> Bound ── serve(calls, directory, operator) ──> Handle ── drain() ──> the end
//! ```
//!
//! The services are `lethe.v1.Actors`, `lethe.v1.Cluster` and `lethe.v1.Deployments`; their `.proto` files are their documentation. Every error
//! carries its code and its outcome in a trailer; `error.rs` is the one table for that.

mod accept;
mod call;
mod calls;
mod deployer;
mod directory;
mod doors;
mod entry;
mod error;
mod fetch;
mod operator;
mod remote;
mod service;

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use hyper::body::Incoming;
use lethe_proto::{
    CALLS_MESSAGE_BYTES_MAX, MESSAGE_BYTES_MAX,
    v1::{actors_server::ActorsServer, cluster_server::ClusterServer, deployments_server::DeploymentsServer},
};
use lethe_runtime::host::{ActorCall, ActorReply};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::{body::Body, transport::Server};

use self::{
    doors::{Doors, Paths},
    entry::{Entry, STREAM_PATH},
    service::Service,
};
use crate::{
    actor::{ActorRef, Call, Failed, Place},
    deploy::Releases,
};

pub use self::{
    directory::{ActorInfo, ActorState, Directory, Listing},
    operator::{Change, Operator},
    remote::{Remote, Remotes, Wire},
};

/// Calls of another node that may be under way on its stream of calls.
const NODE_CALLS_MAX: u32 = 4_096;
/// What a client may send ahead of being read, bytes: on one stream, and on all of a connection, so that one stream that is
/// not read does not hold up the others.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 2 << 20;

/// Where to listen, and limits.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Connections at the same time; one more is closed at once.
    pub connections_max: usize,
    /// A new connection must speak HTTP/2 within this time.
    pub preface_timeout_ms: u64,
    /// Calls under way at the same time; one more is refused with `OVERLOADED`.
    pub calls_max: usize,
    /// Requests under way at the same time on one connection, and calls on one stream of calls; one more waits at the
    /// client.
    pub connection_calls_max: u32,
    /// A silent connection is asked for a sign of life this often.
    pub keepalive_interval_ms: u64,
    /// A connection that gives no sign of life for this long is closed.
    pub keepalive_timeout_ms: u64,
    /// How long `drain` waits for calls under way.
    pub drain_timeout_ms: u64,
}

impl Config {
    /// The usual limits.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            connections_max: 1_024,
            preface_timeout_ms: 10_000,
            calls_max: 10_000,
            connection_calls_max: 1_000,
            keepalive_interval_ms: 20_000,
            keepalive_timeout_ms: 20_000,
            drain_timeout_ms: 30_000,
        }
    }
}

/// Why the gRPC face cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The port is taken.
    #[error("port {} on {} is in use (gRPC); choose another with --grpc-port or as [grpc] listen", .0.port(), .0.ip())]
    InUse(SocketAddr),
    /// Anything else the operating system has against the address.
    #[error("cannot listen on {address} for gRPC: {error}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// The operating system's words.
        error: std::io::Error,
    },
}

/// A port that is bound; nothing is served yet.
pub struct Bound {
    config: Config,
    listener: TcpListener,
    address: SocketAddr,
    releases: Option<Releases>,
}

/// Binds the port, before any heavy work is done.
pub async fn bind(config: Config) -> Result<Bound, Error> {
    let address = config.listen;
    let fail = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AddrInUse => Error::InUse(address),
        _ => Error::Listen { address, error },
    };
    let listener = TcpListener::bind(address).await.map_err(fail)?;
    let address = listener.local_addr().map_err(|error| Error::Listen { address, error })?;
    Ok(Bound { config, listener, address, releases: None })
}

impl Bound {
    /// The address that is listened on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Projects may be deployed over it, if there is something to deploy them to.
    pub fn with_releases(self, releases: Option<Releases>) -> Self {
        Self { releases, ..self }
    }

    /// Serves until [`Handle::drain`].
    pub fn serve(self, calls: Arc<dyn Call>, directory: Arc<dyn Directory>, operator: Arc<dyn Operator>) -> Handle {
        let Self { config, listener, releases, .. } = self;
        let (stop, cut) = (CancellationToken::new(), CancellationToken::new());
        let service = Service {
            place: Arc::new(Everywhere(calls)),
            directory,
            cut: cut.clone(),
            stop: stop.clone(),
            stream_calls_max: config.connection_calls_max,
        };
        let actors = actors(service);
        let cluster = ClusterServer::new(operator::Service { operator, cut: cut.clone() });
        let deployments = DeploymentsServer::new(deployer::Service { releases, cut: cut.clone() });
        let service = Entry::new(Doors::new(Doors::new(actors, cluster), deployments), config.calls_max);
        let server = Server::builder()
            .max_concurrent_streams(config.connection_calls_max)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_keepalive_interval(Some(Duration::from_millis(config.keepalive_interval_ms)))
            .http2_keepalive_timeout(Some(Duration::from_millis(config.keepalive_timeout_ms)));
        let preface_timeout = Duration::from_millis(config.preface_timeout_ms);
        let incoming = accept::incoming(listener, config.connections_max, preface_timeout);
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let stopped = async move { stopped.cancelled().await };
            if let Err(error) = server.serve_with_incoming_shutdown(service, incoming, stopped).await {
                tracing::error!(%error, "the gRPC server ended");
            }
        });
        let drain_timeout = Duration::from_millis(config.drain_timeout_ms);
        Handle { stop, cut, task, drain_timeout }
    }
}

/// The `Actors` service for the peer port ([`crate::peer::Handle::route`]): calls of other nodes, which are made at
/// `place` and never passed on. At most `calls_max` are under way.
pub fn for_nodes(
    place: Arc<dyn Place>,
    directory: Arc<dyn Directory>,
    calls_max: usize,
) -> impl tower_service::Service<http::Request<Incoming>, Response = http::Response<Body>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ Sync {
    // The peer port ends what is under way itself, and tells streams of calls when it takes no more.
    let (cut, stop) = (CancellationToken::new(), CancellationToken::new());
    Entry::new(actors(Service { place, directory, cut, stop, stream_calls_max: NODE_CALLS_MAX }), calls_max)
}

/// The service: messages of streams of calls are bounded more tightly, because many small calls take more memory than
/// the message did.
fn actors(service: Service) -> Paths<ActorsServer<Service>> {
    let server = |bytes_max| {
        ActorsServer::new(service.clone())
            .max_decoding_message_size(bytes_max)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    };
    Paths::new(server(MESSAGE_BYTES_MAX), STREAM_PATH, server(CALLS_MESSAGE_BYTES_MAX))
}

/// The whole cluster as one place.
struct Everywhere(Arc<dyn Call>);

impl Place for Everywhere {
    fn attempt(
        &self,
        to: ActorRef,
        call: ActorCall,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<ActorReply, Failed>> {
        let reply = self.0.call(to, call, deadline);
        Box::pin(async move { Ok(reply.await?) })
    }
}

/// A server that is running.
pub struct Handle {
    stop: CancellationToken,
    cut: CancellationToken,
    task: JoinHandle<()>,
    drain_timeout: Duration,
}

impl Handle {
    /// Takes no more calls and waits for those under way; what takes longer than the config allows is cut off, with
    /// an error that says so. Returns when the server has ended.
    pub async fn drain(mut self) {
        self.stop.cancel();
        if tokio::time::timeout(self.drain_timeout, &mut self.task).await.is_ok() {
            return;
        }
        self.cut.cancel();
        // What is cut answers at once; a client that does not read its answer cannot hold the server up.
        if tokio::time::timeout(self.drain_timeout, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}
