//! `lethe.toml`: what one node of a cluster is told.
//!
//! ```text
//! Settings::load(path) ── parse ── the one table of all keys ── help, example, --print-config
//! ```
//!
//! Each key stands once in `table.rs` with its documentation, range and place in [`Settings`]. What is not in the file has
//! the default that the room it belongs to chose. A key nobody knows is an error, never ignored.

mod table;
mod parse;
mod print;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use lethe_runtime::engine;

use crate::{
    actor,
    cluster::{self, keys},
    egress, gateway, grpc, peer, shard,
};

pub use parse::is_name;
pub use print::{example, help};

/// Largest configuration file, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Ports if the file names none.
const HTTP_PORT: u16 = 8787;
const GRPC_PORT: u16 = 7070;
const PEER_PORT: u16 = 7071;

/// Everything `lethe.toml` can say.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What people call the node, if it is not the name in its join file or the machine's.
    pub name: Option<String>,
    /// Where everything durable is.
    pub data_dir: PathBuf,
    /// Peer addresses of other nodes, `host:port`, used until the registry is known.
    pub join: Vec<String>,
    /// The HTTP face.
    pub http: gateway::Config,
    /// `host:port` at which clients reach the HTTP face, if it is not where it listens.
    pub http_advertise: Option<String>,
    /// The certificate chain of the HTTP face.
    pub http_cert: Option<PathBuf>,
    /// Its private key.
    pub http_key: Option<PathBuf>,
    /// The gRPC face.
    pub grpc: grpc::Config,
    /// `host:port` at which programs reach the gRPC face, if it is not where it listens.
    pub grpc_advertise: Option<String>,
    /// Where other nodes are listened for.
    pub peer_listen: SocketAddr,
    /// `host:port` at which other nodes reach this one, if it is not where it listens.
    pub peer_advertise: Option<String>,
    /// Bounds of the port for other nodes.
    pub peer: peer::Limits,
    /// Periods and limits of the cluster.
    pub cluster: cluster::Config,
    /// Data keys of actors.
    pub keys: keys::Config,
    /// The node's certificates.
    pub tls_dir: Option<PathBuf>,
    /// Speak plain text with other nodes.
    pub tls_insecure: bool,
    /// The Raft groups and their log.
    pub shard: shard::Config,
    /// Actors.
    pub actors: actor::Config,
    /// The JavaScript engine.
    pub engine: engine::Config,
    /// Outgoing requests.
    pub egress: egress::Config,
}

/// What is wrong with a configuration file, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's or decoder's words.
        reason: String,
    },
    /// Something at a known place.
    #[error("{at}: {message}")]
    At {
        /// Where.
        at: Position,
        /// What was wrong and what was expected.
        message: String,
    },
}

/// A place in the file; lines count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The file as it was named.
    pub file: String,
    /// The line.
    pub line: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl Default for Settings {
    fn default() -> Self {
        let everywhere = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        Self {
            name: None,
            data_dir: PathBuf::from("/var/lib/lethe"),
            join: Vec::new(),
            http: gateway::Config::new(everywhere(HTTP_PORT)),
            http_advertise: None,
            http_cert: None,
            http_key: None,
            grpc: grpc::Config::new(SocketAddr::from((Ipv4Addr::LOCALHOST, GRPC_PORT))),
            grpc_advertise: None,
            peer_listen: everywhere(PEER_PORT),
            peer_advertise: None,
            peer: peer::Limits::default(),
            cluster: cluster::Config::default(),
            keys: keys::Config::default(),
            tls_dir: None,
            tls_insecure: false,
            shard: shard::Config::new(1),
            actors: actor::Config::default(),
            engine: engine::Config::default(),
            egress: egress::Config::default(),
        }
    }
}

impl Settings {
    /// Reads a file. Relative paths in it are relative to its directory.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let unreadable = |reason: String| Error::Unreadable { path: path.to_owned(), reason };
        let length = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
        if length > FILE_BYTES_MAX {
            return Err(unreadable(format!("it has {length} bytes; a configuration has at most {FILE_BYTES_MAX}")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        let absolute = std::path::absolute(path).map_err(|error| unreadable(error.to_string()))?;
        let dir = absolute.parent().unwrap_or(Path::new("/"));
        Self::parse(&path.display().to_string(), &text, dir)
    }

    /// Where the node's certificates are: `ca.pem`, `node.pem`, `node-key.pem`.
    pub fn tls_dir(&self) -> PathBuf {
        self.tls_dir.clone().unwrap_or_else(|| self.data_dir.join("tls"))
    }

    /// Certificate and key of the HTTP face, if it speaks TLS.
    pub fn http_tls(&self) -> Option<gateway::Tls> {
        let (cert, key) = (self.http_cert.clone()?, self.http_key.clone()?);
        Some(gateway::Tls { cert_pem_path: cert, key_pem_path: key })
    }

    /// `host:port` at which other nodes reach this one, given where it really listens.
    pub fn peer_advertise(&self, bound: SocketAddr) -> String {
        self.peer_advertise.clone().unwrap_or_else(|| bound.to_string())
    }
}

/// The machine's name, or `lethe` where it has none that can be printed.
pub fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if parse::is_name(&name) { name } else { "lethe".to_owned() }
}
