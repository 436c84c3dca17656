//! The listening socket: takes connections up to a bound, and stops in an orderly way.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{self, Shared, Streams};
use super::refusal::Refusal;
use super::wire::LINGER;
use super::{Config, Error, Serve, tls};

/// Connections the kernel holds for us until we take them.
const BACKLOG: u32 = 1024;
/// How long to leave the listener alone when no socket can be taken, say for want of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// Connections over the bound that are told so at once; still more are just closed.
const REFUSALS_MAX: usize = 64;

/// The HTTP server; see [`Gateway::bind`].
pub struct Gateway;

impl Gateway {
    /// Checks the configuration, reads the certificate and takes the port. Nothing is answered yet: connections wait in
    /// the kernel's queue until [`Bound::serve`].
    pub async fn bind(config: Config) -> Result<Bound, Error> {
        config.limits.check()?;
        let tls = config.tls.as_ref().map(tls::acceptor).transpose()?;
        let addr = config.listen;
        let listener = listen(addr).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => Error::AddressInUse { addr },
            io::ErrorKind::PermissionDenied => Error::AddressDenied { addr },
            _ => Error::Listen { addr, source },
        })?;
        let local = listener.local_addr().map_err(|source| Error::Listen { addr, source })?;
        Ok(Bound { listener, tls, local, config })
    }
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // So that a restart need not wait for old connections to be forgotten. Two listeners still exclude each other.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// A gateway that has its port and does not answer yet.
pub struct Bound {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    local: SocketAddr,
    config: Config,
}

impl Bound {
    /// The address in use; its port is the real one when port 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Starts to answer.
    pub fn serve(self, serve: Arc<dyn Serve>) -> Handle {
        let (drain, cut, tasks) = (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
        let limits = Arc::new(self.config.limits);
        let streams = Streams { tasks: tasks.clone(), cut: cut.clone(), stall_timeout: limits.body_stall_timeout() };
        let shared = Arc::new(Shared {
            serve,
            limits: limits.clone(),
            access_log: self.config.access_log,
            tls: self.tls,
            local: self.local,
            requests: Arc::new(Semaphore::new(limits.requests_max.min(Semaphore::MAX_PERMITS))),
            http: connection::http(&limits, streams),
            drain: drain.clone(),
            cut: cut.clone(),
        });
        let connections_max = limits.connections_max.min(Semaphore::MAX_PERMITS);
        let connections = Arc::new(Semaphore::new(connections_max));
        tasks.spawn(accept(self.listener, shared, connections.clone(), tasks.clone()));
        Handle { drain, cut, tasks, connections, connections_max, drain_timeout: limits.drain_timeout() }
    }
}

/// Takes connections until the gateway is drained; at the end those that wait in the kernel's queue, which would be reset.
async fn accept(listener: TcpListener, shared: Arc<Shared>, connections: Arc<Semaphore>, tasks: TaskTracker) {
    let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
    let door = Door { shared, connections, refusals, tasks };
    // So that a lasting failure is one line in the log, not twenty a second.
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = door.shared.drain.cancelled() => break,
        };
        match accepted {
            Ok((tcp, peer)) => {
                failing = false;
                door.enter(tcp, peer);
            }
            Err(error) if of_one_connection(&error) => {}
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "cannot take connections, trying until it works again");
                }
                failing = true;
                tokio::select! {
                    () = tokio::time::sleep(ACCEPT_RETRY) => {}
                    () = door.shared.drain.cancelled() => break,
                }
            }
        }
    }
    // The kernel is asked itself: tokio knows only of connections that it was told of.
    let Ok(listener) = listener.into_std() else { return };
    for _ in 0..BACKLOG {
        match last(&listener) {
            Ok((tcp, peer)) => door.enter(tcp, peer),
            Err(error) if of_one_connection(&error) => {}
            Err(_) => return,
        }
    }
}

/// A connection that waits in the kernel's queue.
fn last(listener: &std::net::TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (tcp, peer) = listener.accept()?;
    tcp.set_nonblocking(true)?;
    Ok((TcpStream::from_std(tcp)?, peer))
}

/// Where connections come in.
struct Door {
    shared: Arc<Shared>,
    connections: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Door {
    /// Serves a connection, or says that there are too many.
    fn enter(&self, tcp: TcpStream, peer: SocketAddr) {
        match self.connections.clone().try_acquire_owned() {
            Ok(permit) => {
                let (shared, cut) = (self.shared.clone(), self.shared.cut.clone());
                self.tasks.spawn(async move {
                    tokio::select! {
                        () = connection::run(tcp, peer, shared) => {}
                        () = cut.cancelled() => {}
                    }
                    drop(permit);
                });
            }
            Err(_) => {
                tracing::debug!(%peer, "too many connections");
                let Ok(permit) = self.refusals.clone().try_acquire_owned() else { return };
                let plain = self.shared.tls.is_none();
                self.tasks.spawn(async move {
                    if plain {
                        // Nobody waits for this to succeed.
                        drop(tokio::time::timeout(LINGER, refuse(tcp)).await);
                    }
                    drop(permit);
                });
            }
        }
    }
}

/// The client gave up while it waited in the queue.
fn of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// Says why and hangs up; listens for a moment, so that the client sees the answer and not a reset.
async fn refuse(mut tcp: TcpStream) -> io::Result<()> {
    tcp.write_all(&Refusal::TooManyConnections.last_words()).await?;
    tcp.shutdown().await?;
    let mut space = [0u8; 16 << 10];
    while tcp.read(&mut space).await? > 0 {}
    Ok(())
}

/// A gateway that answers. Dropping it cuts everything off; [`Handle::drain`] is the orderly way.
pub struct Handle {
    drain: CancellationToken,
    cut: CancellationToken,
    tasks: TaskTracker,
    connections: Arc<Semaphore>,
    connections_max: usize,
    drain_timeout: Duration,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were still busy when the time was over, and were cut off.
    pub cut: usize,
}

impl Handle {
    /// Sockets open now.
    pub fn connections(&self) -> usize {
        self.connections_max.saturating_sub(self.connections.available_permits())
    }

    /// Stops taking connections, lets requests under way finish within `drain_timeout_ms`, then cuts the rest off. An idle
    /// connection may bring one more request, for `drain_idle_ms`.
    /// When it returns, the port is free and no task of the gateway is left.
    pub async fn drain(self) -> Drained {
        self.drain.cancel();
        self.tasks.close();
        let in_time = tokio::time::timeout(self.drain_timeout, self.tasks.wait()).await;
        let cut = if in_time.is_ok() { 0 } else { self.connections() };
        self.cut.cancel();
        self.tasks.wait().await;
        Drained { cut }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.drain.cancel();
        self.cut.cancel();
    }
}
