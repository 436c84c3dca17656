//! What the gateway is told: where to listen, how to speak TLS, and every bound it keeps.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::Error;

/// Where and how to listen.
#[derive(Clone, Debug)]
pub struct Config {
    /// Port 0 takes a free one; ask [`super::Bound::local_addr`].
    pub listen: SocketAddr,
    /// With TLS the port speaks nothing else.
    pub tls: Option<Tls>,
    /// Every bound.
    pub limits: Limits,
    /// One `tracing` event per request, target `lethe::access`.
    pub access_log: bool,
}

impl Config {
    /// Plain HTTP on `listen` with the default limits and the access log on.
    pub fn new(listen: SocketAddr) -> Self {
        Self { listen, tls: None, limits: Limits::default(), access_log: true }
    }
}

/// PEM files: the certificate chain, leaf first, and its private key.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The certificate chain.
    pub cert_pem_path: PathBuf,
    /// The private key: PKCS#8, PKCS#1 or SEC1.
    pub key_pem_path: PathBuf,
}

/// Bounds of the gateway. Whatever is over one is refused with a status that says so.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Request line and headers together; more is 431.
    pub header_bytes_max: usize,
    /// Header lines; more is 431.
    pub headers_max: usize,
    /// The request's URL as it is in the request line; more is 414.
    pub url_bytes_max: usize,
    /// A request's body; more is 413, or the body's stream fails if the answer has already begun.
    pub request_body_bytes_max: u64,
    /// Open sockets; one more is answered 503 and closed.
    pub connections_max: usize,
    /// Requests under way over all connections; one more is answered 503.
    pub requests_max: usize,
    /// From the first byte of a request head to its last, and the whole TLS handshake; longer is 408.
    pub header_timeout_ms: u64,
    /// A connection on which no request is under way is closed after this.
    pub idle_timeout_ms: u64,
    /// How long a client may neither send the body that is waited for, nor take the response that is ready.
    pub body_stall_timeout_ms: u64,
    /// How long a drain waits for requests under way before it cuts them off.
    pub drain_timeout_ms: u64,
    /// How long a drain keeps HTTP/1 connections open that are idle, or have not said what they are: a request that is on
    /// its way is still answered, and its answer says that it is the last.
    pub drain_idle_ms: u64,
    /// HTTP/2 streams open at once on one connection.
    pub h2_streams_max: u32,
    /// HTTP/2 streams the client may reset before they were accepted ("rapid reset"); more ends the connection.
    pub h2_resets_max: usize,
    /// Bytes of one HTTP/2 stream's request body that may be on their way to a reader who does not read.
    pub h2_stream_window_bytes: u32,
    /// The same over all streams of a connection.
    pub h2_connection_window_bytes: u32,
    /// An HTTP/2 client that is silent this long is asked for a sign of life.
    pub h2_ping_interval_ms: u64,
    /// And is taken for gone when it does not answer within this.
    pub h2_ping_timeout_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes_max: 128 << 10,
            headers_max: 256,
            url_bytes_max: 16 << 10,
            request_body_bytes_max: 100 << 20,
            connections_max: 10_000,
            requests_max: 4096,
            header_timeout_ms: 15_000,
            idle_timeout_ms: 75_000,
            body_stall_timeout_ms: 60_000,
            drain_timeout_ms: 30_000,
            drain_idle_ms: 500,
            h2_streams_max: 128,
            h2_resets_max: 20,
            h2_stream_window_bytes: 256 << 10,
            h2_connection_window_bytes: 1 << 20,
            h2_ping_interval_ms: 20_000,
            h2_ping_timeout_ms: 20_000,
        }
    }
}

/// hyper refuses to work with a smaller buffer.
const HEADER_BYTES_MIN: usize = 8 << 10;
/// The smallest window HTTP/2 allows a connection.
const H2_WINDOW_BYTES_MIN: u32 = 65_535;
/// The largest window HTTP/2 can express.
const H2_WINDOW_BYTES_MAX: u32 = (1 << 31) - 1;

impl Limits {
    /// Names the first limit that cannot work.
    pub(super) fn check(&self) -> Result<(), Error> {
        let wrong = |name, reason| Err(Error::Limit { name, reason });
        if self.header_bytes_max < HEADER_BYTES_MIN {
            return wrong("header_bytes_max", "must be at least 8192");
        }
        if self.url_bytes_max > self.header_bytes_max {
            return wrong("url_bytes_max", "must not be above header_bytes_max");
        }
        let positive = [
            ("headers_max", self.headers_max as u64),
            ("url_bytes_max", self.url_bytes_max as u64),
            ("connections_max", self.connections_max as u64),
            ("requests_max", self.requests_max as u64),
            ("header_timeout_ms", self.header_timeout_ms),
            ("idle_timeout_ms", self.idle_timeout_ms),
            ("body_stall_timeout_ms", self.body_stall_timeout_ms),
            ("h2_streams_max", u64::from(self.h2_streams_max)),
            ("h2_ping_interval_ms", self.h2_ping_interval_ms),
            ("h2_ping_timeout_ms", self.h2_ping_timeout_ms),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return wrong(name, "must be above 0");
        }
        let windows = H2_WINDOW_BYTES_MIN..=H2_WINDOW_BYTES_MAX;
        if !windows.contains(&self.h2_connection_window_bytes) {
            return wrong("h2_connection_window_bytes", "must be from 65535 to 2147483647");
        }
        if !windows.contains(&self.h2_stream_window_bytes) {
            return wrong("h2_stream_window_bytes", "must be from 65535 to 2147483647");
        }
        Ok(())
    }

    pub(super) fn header_timeout(&self) -> Duration {
        Duration::from_millis(self.header_timeout_ms)
    }

    pub(super) fn idle_timeout(&self) -> Duration {
        Duration::from_millis(self.idle_timeout_ms)
    }

    pub(super) fn body_stall_timeout(&self) -> Duration {
        Duration::from_millis(self.body_stall_timeout_ms)
    }

    pub(super) fn drain_idle(&self) -> Duration {
        Duration::from_millis(self.drain_idle_ms)
    }

    pub(super) fn drain_timeout(&self) -> Duration {
        Duration::from_millis(self.drain_timeout_ms)
    }
}
