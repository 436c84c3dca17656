//! HTTP(S) out: what a worker's `fetch` does, and which addresses it may reach.
//!
//! ```text
//!  Fetcher ── one pool per policy and host ── Connector: resolve ─ check ─ connect ─ TLS
//! ```
//!
//! The promise: without leave in its [`Policy`], no byte of a worker's request goes to a loopback, private, link-local or
//! otherwise special address. The check is made on the address that is connected to, after names are resolved, and
//! pooled connections are never shared between policies. Redirects are not followed here; JavaScript does that, and each
//! step comes back through the same check.

mod address;
mod config;
mod connect;
mod fetcher;
mod gunzip;
pub(crate) mod hop;
mod incoming;
mod policy;
mod pools;
mod resolve;
pub(crate) mod stall;

#[cfg(test)]
mod tests;

pub use config::Config;
pub use fetcher::Fetcher;
pub use policy::{Pattern, PatternError, Policy};
pub use resolve::{Resolve, SystemResolver};

/// Why a fetch has no response. The text is for the worker's author: it names the host as they wrote it and the reason,
/// and nothing of this machine or its network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not `http:` or `https:`.
    #[error("only http: and https: URLs can be fetched")]
    Scheme,
    /// No host, a user name in it, or a method that cannot be sent.
    #[error("this request cannot be sent: {0}")]
    Request(&'static str),
    /// The policy forbids the address.
    #[error("fetching {host} is not allowed: it is {kind}; the worker's configuration can allow it")]
    Refused {
        /// Host of the URL.
        host: String,
        /// What sort of address it is, with its article.
        kind: &'static str,
    },
    /// The name has no address.
    #[error("no address was found for {host}")]
    Resolve {
        /// Host of the URL.
        host: String,
    },
    /// Nobody answered at the address.
    #[error("could not connect to {host}: {reason}")]
    Connect {
        /// Host of the URL.
        host: String,
        /// Refused, unreachable, ...
        reason: String,
    },
    /// TLS could not be agreed on, or the certificate is not trusted.
    #[error("no secure connection to {host}: {reason}")]
    Tls {
        /// Host of the URL.
        host: String,
        /// What TLS said.
        reason: String,
    },
    /// Resolving, connecting and TLS together took too long.
    #[error("connecting to {host} took longer than {ms} ms")]
    ConnectTimeout {
        /// Host of the URL.
        host: String,
        /// The bound.
        ms: u64,
    },
    /// No response head within the bound.
    #[error("{host} did not answer within {ms} ms")]
    ResponseTimeout {
        /// Host of the URL.
        host: String,
        /// The bound.
        ms: u64,
    },
    /// The bound on requests or connections is reached.
    #[error("too many outgoing requests are under way, try again")]
    Busy,
    /// The connection ended, or what came was not HTTP or over a bound.
    #[error("{host} gave no valid response: {reason}")]
    Response {
        /// Host of the URL.
        host: String,
        /// What was wrong.
        reason: &'static str,
    },
    /// The roots in [`Config::extra_roots_pem`] cannot be read.
    #[error("extra TLS roots: {0}")]
    Roots(String),
}
