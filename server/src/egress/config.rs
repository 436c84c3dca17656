//! What a [`super::Fetcher`] is told: its bounds, and whom it trusts.

use std::time::Duration;

/// Bounds of all outgoing requests of a node together.
#[derive(Clone, Debug)]
pub struct Config {
    /// Certificates, as PEM, that are trusted beside the public web's.
    pub extra_roots_pem: Option<String>,
    /// Resolving, connecting and the TLS handshake together.
    pub connect_timeout_ms: u64,
    /// From a connection to the response's head.
    pub response_timeout_ms: u64,
    /// How long a response's body may stand still while somebody waits for it.
    pub body_stall_timeout_ms: u64,
    /// Requests under way, bodies included; one more waits up to the connect time-out and is then refused.
    pub requests_max: usize,
    /// Open sockets; idle ones are closed when one more is needed, and then the same.
    pub connections_max: usize,
    /// Idle connections kept for one host.
    pub idle_per_host_max: usize,
    /// How long an idle connection is kept.
    pub idle_timeout_ms: u64,
    /// Bytes of a response's head.
    pub header_bytes_max: usize,
    /// Header lines of a response.
    pub headers_max: usize,
    /// Hosts whose idle connections are kept; more, and the one asked least recently is forgotten.
    pub pools_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            extra_roots_pem: None,
            connect_timeout_ms: 10_000,
            response_timeout_ms: 100_000,
            body_stall_timeout_ms: 100_000,
            requests_max: 4096,
            connections_max: 4096,
            idle_per_host_max: 16,
            idle_timeout_ms: 30_000,
            header_bytes_max: 128 << 10,
            headers_max: 256,
            pools_max: 1024,
        }
    }
}

impl Config {
    pub(super) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    pub(super) fn idle_timeout(&self) -> Duration {
        Duration::from_millis(self.idle_timeout_ms)
    }

    pub(super) fn body_stall_timeout(&self) -> Duration {
        Duration::from_millis(self.body_stall_timeout_ms)
    }

    pub(super) fn response_timeout(&self) -> Duration {
        Duration::from_millis(self.response_timeout_ms)
    }
}
