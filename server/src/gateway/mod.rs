//! HTTP(S) in: limits, time-outs, streaming, graceful drain.
//!
//! ```text
//!  accept ── connection ── wire (time-outs, write stalls) ── hyper ── entry ── Serve
//!    │ bound on sockets        one task per socket                   │ decode, bounds, access log
//!    └ drain: stop, finish, cut                                      └ request_body, response_body
//! ```
//!
//! [`Gateway::bind`] takes the port before anything slow happens; [`Bound::serve`] starts answering with a [`Serve`];
//! [`Handle::drain`] stops. A request reaches [`Serve`] with an absolute URL, checked bounds and no hop-by-hop header.
//! When the client leaves, the future or the body that [`Serve`] returned is dropped.

mod accept;
mod access;
mod activity;
mod config;
mod connection;
mod decode;
mod encode;
mod entry;
mod progress;
mod refusal;
mod request_body;
mod response_body;
mod tls;
mod wire;

#[cfg(test)]
mod tests;

pub use accept::{Bound, Drained, Gateway, Handle};
pub use config::{Config, Limits, Tls};

use std::net::SocketAddr;
use std::path::PathBuf;

use futures::future::BoxFuture;
use lethe_runtime::body::Body;
use uuid::Uuid;

/// Answers requests. The node implements it once, over `deploy` and the runtime.
pub trait Serve: Send + Sync + 'static {
    /// Answers one request. Must not block. The future, and then the response's body, are dropped when the client
    /// leaves; a panic in either becomes a 500 or a broken-off response, never a dead server.
    fn serve(&self, request: http::Request<Body>, peer: Peer) -> BoxFuture<'static, http::Response<Body>>;
}

/// Who sent a request, and the name it has in logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The other end of the socket.
    pub addr: SocketAddr,
    /// Whether the request came over TLS.
    pub tls: bool,
    /// Version 7: ordered by time. The client gets it as `x-lethe-request-id`.
    pub request_id: Uuid,
}

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another program listens there.
    #[error("{addr} is already in use: stop the program that listens there, or choose another port")]
    AddressInUse {
        /// The address that was asked for.
        addr: SocketAddr,
    },
    /// The operating system refused the port.
    #[error("not allowed to listen on {addr}: ports below 1024 need privileges, choose a higher one")]
    AddressDenied {
        /// The address that was asked for.
        addr: SocketAddr,
    },
    /// The address is not one of this machine, or the socket could not be made.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// The address that was asked for.
        addr: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A certificate or key file is missing, unreadable or wrong.
    #[error("TLS file {}: {reason}", path.display())]
    TlsFile {
        /// The file as it was configured.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A limit that cannot work.
    #[error("gateway limit {name}: {reason}")]
    Limit {
        /// The field of [`Limits`].
        name: &'static str,
        /// What it must be.
        reason: &'static str,
    },
}
