//! Makes connections: resolve, check each address against the policy, connect, TLS. All within one time-out.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::Uri;
use http::uri::Scheme;
use hyper::rt::ReadBufCursor;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::pools::Pools;
use super::{Error, Policy, Resolve};

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;
/// The longest name DNS knows.
const HOST_BYTES_MAX: usize = 253;

/// Makes the connections of one policy.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) policy: Arc<Policy>,
    pub(super) resolver: Arc<dyn Resolve>,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) sockets: Arc<Semaphore>,
    /// Where sockets can be taken from.
    pub(super) pools: Weak<Pools>,
    pub(super) timeout: Duration,
}

impl tower_service::Service<Uri> for Connector {
    type Response = Socket;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Socket, Error>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let host = bare_host(&target).unwrap_or_default().to_owned();
            let timeout = connector.timeout;
            let ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
            let connected = tokio::time::timeout(timeout, connector.connect(target)).await;
            connected.unwrap_or(Err(Error::ConnectTimeout { host, ms }))
        })
    }
}

/// The URL's host without the brackets of an IPv6 address.
pub(super) fn bare_host(target: &Uri) -> Option<&str> {
    let host = target.host()?;
    Some(host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host))
}

impl Connector {
    async fn connect(self, target: Uri) -> Result<Socket, Error> {
        let secure = target.scheme() == Some(&Scheme::HTTPS);
        let host = bare_host(&target).ok_or(Error::Request("the URL has no host"))?.to_owned();
        let port = target.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let addresses = self.allowed(&host, port).await?;
        let permit = match self.sockets.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                if let Some(pools) = self.pools.upgrade() {
                    pools.make_room();
                }
                // The time-out around this bounds the wait.
                self.sockets.clone().acquire_owned().await.map_err(|_| Error::Busy)?
            }
        };
        let tcp = first_that_answers(&host, port, &addresses).await?;
        // Failing is harmless: small writes are then sent a little later.
        drop(tcp.set_nodelay(true));
        let stream = if secure { self.secured(&host, tcp).await? } else { Stream::Plain(TokioIo::new(tcp)) };
        Ok(Socket { stream, _permit: permit })
    }

    /// The addresses of `host` that the policy allows; an error when there are none.
    async fn allowed(&self, host: &str, port: u16) -> Result<Vec<IpAddr>, Error> {
        let found = match host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) if host.len() > HOST_BYTES_MAX + 1 => Vec::new(),
            // The resolver's own words are the operator's business.
            Err(_) => self.resolver.resolve(host.to_owned()).await.unwrap_or_else(|error| {
                tracing::debug!(host, %error, "name not resolved");
                Vec::new()
            }),
        };
        if found.is_empty() {
            return Err(Error::Resolve { host: host.to_owned() });
        }
        let mut refused = None;
        let mut allowed = Vec::new();
        for address in found.into_iter().take(ADDRESSES_MAX) {
            match self.policy.check(host, address, port) {
                Ok(()) => allowed.push(address),
                Err(kind) => refused = Some(kind),
            }
        }
        match refused {
            Some(kind) if allowed.is_empty() => Err(Error::Refused { host: host.to_owned(), kind }),
            Some(_) | None => Ok(allowed),
        }
    }

    async fn secured(&self, host: &str, tcp: TcpStream) -> Result<Stream, Error> {
        let failed = |reason: String| Error::Tls { host: host.to_owned(), reason };
        let name = host.strip_suffix('.').unwrap_or(host).to_owned();
        let name = ServerName::try_from(name).map_err(|_| failed("its name cannot be in a certificate".into()))?;
        let tls = TlsConnector::from(self.tls.clone()).connect(name, tcp).await;
        tls.map(|tls| Stream::Tls(Box::new(TokioIo::new(tls)))).map_err(|error| failed(error.to_string()))
    }
}

/// Tries the addresses in order, each with its share of a bounded time, so that one that is silent does not use it all.
async fn first_that_answers(host: &str, port: u16, addresses: &[IpAddr]) -> Result<TcpStream, Error> {
    const PATIENCE: Duration = Duration::from_millis(2500);
    let mut reason = "no address to try".to_owned();
    for (tried, address) in addresses.iter().enumerate() {
        let connecting = TcpStream::connect(SocketAddr::new(*address, port));
        let last = tried + 1 == addresses.len();
        let connected = if last { Ok(connecting.await) } else { tokio::time::timeout(PATIENCE, connecting).await };
        match connected {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => reason = said(&error),
            Err(_) => reason = "it did not answer".to_owned(),
        }
    }
    Err(Error::Connect { host: host.to_owned(), reason })
}

/// The kind of a connect error, without the operating system's numbers.
fn said(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::TimedOut => "it did not answer".to_owned(),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "not reachable".to_owned(),
        other => other.to_string(),
    }
}

enum Stream {
    Plain(TokioIo<TcpStream>),
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

/// A checked connection. Counts against the bound on sockets until it is closed.
pub(super) struct Socket {
    stream: Stream,
    _permit: OwnedSemaphorePermit,
}

impl Connection for Socket {
    fn connected(&self) -> Connected {
        match &self.stream {
            Stream::Plain(_) => Connected::new(),
            Stream::Tls(tls) => {
                let h2 = tls.inner().get_ref().1.alpn_protocol() == Some(b"h2");
                if h2 { Connected::new().negotiated_h2() } else { Connected::new() }
            }
        }
    }
}

/// Calls the same method on whichever stream there is.
macro_rules! either {
    ($socket:expr, $method:ident($($argument:expr),*)) => {
        match &mut $socket.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).$method($($argument),*),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).$method($($argument),*),
        }
    };
}

impl hyper::rt::Read for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        either!(self, poll_read(cx, buf))
    }
}

impl hyper::rt::Write for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, poll_shutdown(cx))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, poll_write_vectored(cx, parts))
    }
}
