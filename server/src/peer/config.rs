//! What the peer room is told: where to listen, which certificates to use, and every bound it keeps.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use lethe_proto::{ClusterId, NodeId};

use super::ca;

/// Largest message, bytes: a command of the largest size, twice over, and envelopes. Streams carry parts of this size.
pub const MESSAGE_BYTES_MAX: usize = 40 << 20;
/// The same with its envelope.
pub(super) const ENVELOPED_BYTES_MAX: usize = MESSAGE_BYTES_MAX + 256;

/// Who this node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Me {
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// Its id.
    pub node: NodeId,
}

/// Where to listen and how to be known.
#[derive(Clone, Debug)]
pub struct Config {
    /// Port 0 takes a free one; ask [`super::Bound::local_addr`].
    pub listen: SocketAddr,
    /// Certificates; `None` speaks plain text and believes what a message says of its sender. For tests and closed
    /// networks only.
    pub tls: Option<TlsFiles>,
    /// Every bound.
    pub limits: Limits,
}

impl Config {
    /// The usual limits.
    pub fn new(listen: SocketAddr, tls: Option<TlsFiles>) -> Self {
        Self { listen, tls, limits: Limits::default() }
    }
}

/// PEM files of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate authorities whose nodes are believed.
    pub ca_pem_path: PathBuf,
    /// This node's certificate; it must name the node and its cluster, see [`ca::server_name`].
    pub node_pem_path: PathBuf,
    /// Its private key.
    pub node_key_pem_path: PathBuf,
}

impl TlsFiles {
    /// The files by their usual names.
    pub fn in_dir(dir: &Path) -> Self {
        Self {
            ca_pem_path: dir.join(ca::CA_FILE),
            node_pem_path: dir.join(ca::NODE_FILE),
            node_key_pem_path: dir.join(ca::NODE_KEY_FILE),
        }
    }
}

/// Bounds of the peer room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A connection must be made, TLS included, within this; so must one that comes in.
    pub connect_timeout_ms: u64,
    /// After a connection could not be made, none is tried for this long; doubled at every failure ...
    pub redial_min_ms: u64,
    /// ... up to this.
    pub redial_max_ms: u64,
    /// A connection is asked for a sign of life this often.
    pub keepalive_interval_ms: u64,
    /// And is taken for broken when none comes within this.
    pub keepalive_timeout_ms: u64,
    /// Connections that come in at the same time; one more is closed at once.
    pub connections_max: usize,
    /// Calls and streams under way on one connection; one more is refused at once.
    pub connection_calls_max: u32,
    /// Calls and streams of all nodes under way here; one more is refused at once.
    pub calls_max: usize,
    /// A call that names no deadline, or a later one, has this long.
    pub call_timeout_max_ms: u64,
    /// How long a drain waits for calls under way.
    pub drain_timeout_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_timeout_ms: 1_000,
            redial_min_ms: 20,
            redial_max_ms: 500,
            keepalive_interval_ms: 2_000,
            keepalive_timeout_ms: 2_000,
            connections_max: 256,
            connection_calls_max: 4_096,
            calls_max: 16_384,
            call_timeout_max_ms: 60_000,
            drain_timeout_ms: 5_000,
        }
    }
}
