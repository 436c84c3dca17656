//! One connection from its handshake to its end.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Serve;
use super::activity::Activity;
use super::config::Limits;
use super::entry::Entry;
use super::progress;
use super::wire::Wire;

/// What all connections of a gateway share.
pub(super) struct Shared {
    pub(super) serve: Arc<dyn Serve>,
    pub(super) limits: Arc<Limits>,
    pub(super) access_log: bool,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) local: SocketAddr,
    pub(super) requests: Arc<Semaphore>,
    pub(super) http: auto::Builder<Streams>,
    /// Finish what is under way, take nothing new.
    pub(super) drain: CancellationToken,
    /// End at once.
    pub(super) cut: CancellationToken,
}

/// Starts the tasks of HTTP/2 streams where a drain can wait for them.
#[derive(Clone)]
pub(super) struct Streams {
    pub(super) tasks: TaskTracker,
    pub(super) cut: CancellationToken,
    pub(super) stall_timeout: Duration,
}

impl<F> Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        let (cut, stall_timeout) = (self.cut.clone(), self.stall_timeout);
        self.tasks.spawn(async move {
            tokio::select! {
                () = progress::watched(stream, stall_timeout) => {}
                () = cut.cancelled() => {}
            }
        });
    }
}

/// The HTTP library, told our bounds.
pub(super) fn http(limits: &Limits, streams: Streams) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(streams);
    let head_bytes_max = limits.header_bytes_max + limits.url_bytes_max;
    builder
        .http1()
        .timer(TokioTimer::new())
        // The wire keeps this time, and says why.
        .header_read_timeout(None)
        .max_headers(limits.headers_max)
        .max_buf_size(head_bytes_max);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX))
        .max_concurrent_streams(limits.h2_streams_max)
        .max_pending_accept_reset_streams(limits.h2_resets_max)
        .initial_stream_window_size(limits.h2_stream_window_bytes)
        .initial_connection_window_size(limits.h2_connection_window_bytes)
        .max_send_buf_size(limits.h2_stream_window_bytes as usize)
        .keep_alive_interval(Duration::from_millis(limits.h2_ping_interval_ms))
        .keep_alive_timeout(Duration::from_millis(limits.h2_ping_timeout_ms));
    builder
}

/// Serves one socket until either side is done with it.
pub(super) async fn run(tcp: TcpStream, peer: SocketAddr, shared: Arc<Shared>) {
    // Responses are written whole; waiting to fill a packet would only delay them. Failing is harmless.
    drop(tcp.set_nodelay(true));
    let Some(acceptor) = &shared.tls else {
        return speak(tcp, peer, &shared).await;
    };
    let handshake = tokio::time::timeout(shared.limits.header_timeout(), acceptor.accept(tcp));
    tokio::select! {
        done = handshake => match done {
            Ok(Ok(tls)) => speak(tls, peer, &shared).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
        },
        () = shared.drain.cancelled() => {}
    }
}

async fn speak<S>(stream: S, peer: SocketAddr, shared: &Shared)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Arc::new(Activity::default());
    let entry = Entry {
        serve: shared.serve.clone(),
        limits: shared.limits.clone(),
        access_log: shared.access_log,
        requests: shared.requests.clone(),
        activity: activity.clone(),
        peer,
        local: shared.local,
        tls: shared.tls.is_some(),
        drain: shared.drain.clone(),
    };
    let wire = Wire::new(stream, activity.clone(), &shared.limits);
    let mut connection = pin!(shared.http.serve_connection(TokioIo::new(wire), entry));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = farewell(shared, &activity) => {
            connection.as_mut().graceful_shutdown();
            connection.as_mut().await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

/// Returns when the connection should take no new request. In a drain that is at once where requests that are on their
/// way can be told apart from those that are answered, as in HTTP/2. In HTTP/1 they cannot: there the next answer ends the
/// connection, and only one that stays idle is closed.
async fn farewell(shared: &Shared, activity: &Activity) {
    let drained = async {
        shared.drain.cancelled().await;
        if !activity.is_multiplexed() {
            tokio::time::sleep(shared.limits.drain_idle()).await;
        }
    };
    tokio::select! {
        () = drained => {}
        () = activity.tired() => {}
    }
}
