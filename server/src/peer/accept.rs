//! Connections that come in: TLS, who is there, HTTP/2, and what each request goes to.

use std::{
    convert::Infallible,
    io::ErrorKind,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{HeaderValue, StatusCode};
use hyper::{body::Incoming, server::conn::http2::Builder, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use lethe_proto::peer::v1::peer_server::PeerServer;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::either::Either;
use tonic::body::Body;
use tower_service::Service as _;

use super::{
    Refusal,
    config::ENVELOPED_BYTES_MAX,
    dial::{CONNECTION_WINDOW_BYTES, FRAME_BYTES_MAX, HELLO_NODE, HELLO_PATH, RESETS_MAX, STREAM_WINDOW_BYTES},
    held::Held,
    service::{Admission, Caller, Service},
    shared::{Further, Shared},
    tls, wire,
};

/// Pause after the operating system refused to accept, as it does when descriptors run out.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// Requests for the `Peer` service begin with this; all others go to the further services.
const PEER_PATH: &str = "/lethe.peer.v1.Peer/";

/// Takes connections until the node stops.
pub(super) async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(shared.limits.connections_max));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.stop.cancelled() => return,
        };
        let (tcp, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection of another node");
                tokio::select! {
                    () = tokio::time::sleep(ACCEPT_RETRY) => continue,
                    () = shared.stop.cancelled() => return,
                }
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            tracing::warn!(%from, "a connection to the peer port was refused: there are too many");
            continue;
        };
        let (tls, shared) = (tls.clone(), shared.clone());
        shared.clone().serving.spawn(async move {
            let cut = shared.cut.clone();
            tokio::select! {
                ended = connection(tcp, from, tls, shared, place) => {
                    if let Err(why) = ended {
                        tracing::debug!(%from, why, "a connection to the peer port ended");
                    }
                }
                () = cut.cancelled() => {}
            }
        });
    }
}

async fn connection(
    tcp: TcpStream,
    from: SocketAddr,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    _place: OwnedSemaphorePermit,
) -> Result<(), String> {
    tcp.set_nodelay(true).map_err(|error| error.to_string())?;
    let first_word_within = Duration::from_millis(shared.limits.connect_timeout_ms);
    let (io, caller) = match tls {
        None => (Either::Left(tcp), None),
        Some(acceptor) => {
            let accepted = tokio::time::timeout(first_word_within, acceptor.accept(tcp)).await;
            let accepted = accepted.map_err(|_| "no TLS handshake in time")?;
            let tls = accepted.map_err(|error| {
                // It spoke TLS, and either side does not believe the other. Who only looks for open ports does not.
                if error.kind() == ErrorKind::InvalidData {
                    shared.complaint.about(from, &error);
                }
                error.to_string()
            })?;
            let leaf = tls.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            let (cluster, node) = leaf.and_then(tls::identity).ok_or("its certificate names no node")?;
            if let Some(known) = shared.nodes.read().get(&node).filter(|_| cluster == shared.me.cluster) {
                known.shown();
            }
            (Either::Right(tls), Some(Caller { cluster, node }))
        }
    };
    let spoke = Arc::new(AtomicBool::new(false));
    let entry = Entry::new(shared.clone(), caller, spoke.clone());
    let limits = &shared.limits;
    let serve = Builder::new(shared.dialer.executor.clone())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_concurrent_streams(limits.connection_calls_max)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(RESETS_MAX)
        .keep_alive_interval(Duration::from_millis(limits.keepalive_interval_ms))
        .keep_alive_timeout(Duration::from_millis(limits.keepalive_timeout_ms))
        .serve_connection(TokioIo::new(io), service_fn(move |request| entry.clone().answer(request)));
    let mut serve = std::pin::pin!(serve);
    let silent = async {
        tokio::time::sleep(first_word_within).await;
        if spoke.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        ended = serve.as_mut() => return ended.map_err(|error| error.to_string()),
        () = silent => return Err("it said nothing".into()),
        () = shared.stop.cancelled() => {}
    }
    serve.as_mut().graceful_shutdown();
    serve.await.map_err(|error| error.to_string())
}

/// Where the requests of one connection enter.
#[derive(Clone)]
struct Entry {
    shared: Arc<Shared>,
    caller: Option<Caller>,
    spoke: Arc<AtomicBool>,
    peer: PeerServer<Service>,
}

impl Entry {
    fn new(shared: Arc<Shared>, caller: Option<Caller>, spoke: Arc<AtomicBool>) -> Self {
        let peer = PeerServer::new(Service { shared: shared.clone() })
            .max_decoding_message_size(ENVELOPED_BYTES_MAX)
            .max_encoding_message_size(ENVELOPED_BYTES_MAX);
        Self { shared, caller, spoke, peer }
    }

    async fn answer(mut self, mut request: http::Request<Incoming>) -> Result<http::Response<Body>, Infallible> {
        self.spoke.store(true, Ordering::Relaxed);
        let Ok(place) = self.shared.places.clone().try_acquire_owned() else {
            let text = "the node has as many calls under way as it takes";
            return Ok(refused(&Refusal::Unavailable(text.into())));
        };
        if let Some(caller) = self.caller {
            request.extensions_mut().insert(caller);
        }
        let path = request.uri().path();
        let response = if path.starts_with(PEER_PATH) {
            self.peer.call(request).await?
        } else if path == HELLO_PATH {
            return Ok(self.hello());
        } else {
            request.extensions_mut().insert(Admission { shared: self.shared.clone(), caller: self.caller });
            match self.further() {
                Ok(further) => further(request).await,
                Err(refusal) => refused(&refusal),
            }
        };
        Ok(response.map(|body| Body::new(Held::new(body, place))))
    }

    fn further(&self) -> Result<Further, Refusal> {
        if let Some(caller) = self.caller {
            self.shared.check(caller.node)?;
        }
        self.shared.further.read().clone().ok_or_else(|| Refusal::Unavailable("the node is starting".into()))
    }

    fn hello(&self) -> http::Response<Body> {
        let mut response = http::Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        if let Ok(node) = HeaderValue::from_str(&self.shared.me.node.to_string()) {
            response.headers_mut().insert(HELLO_NODE, node);
        }
        response
    }
}

fn refused(refusal: &Refusal) -> http::Response<Body> {
    wire::status(refusal).into_http()
}
