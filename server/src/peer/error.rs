//! Why a message has no answer, and what that says about its delivery.

/// A message has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It was surely not delivered: no connection could be made, or the node is not known.
    #[error("the node cannot be reached: {0}")]
    Unreachable(String),
    /// It was delivered and refused: nothing was done.
    #[error("the node refused: {0}")]
    Refused(Refusal),
    /// The connection broke after it was sent: it may have been delivered.
    #[error("the connection broke: {0}")]
    Lost(String),
    /// No answer came in time: it may have been delivered.
    #[error("the node did not answer in time")]
    Deadline,
}

/// Why a node does not take a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It comes from, or is meant for, another cluster.
    #[error("it belongs to cluster {theirs}, this is cluster {ours}")]
    OtherCluster {
        /// The message's.
        theirs: String,
        /// The receiver's.
        ours: String,
    },
    /// It is meant for another node.
    #[error("it is for node {meant}, this is node {here}")]
    OtherNode {
        /// The message's.
        meant: String,
        /// The receiver's.
        here: String,
    },
    /// The sender is not who it says it is, or was removed from the cluster.
    #[error("the sender is not welcome: {0}")]
    Sender(String),
    /// There is no such replica here, or not any more, or not yet.
    #[error("there is no replica of group {group} with incarnation {incarnation} here")]
    NoReplica {
        /// The group.
        group: u32,
        /// The life that was meant.
        incarnation: u64,
    },
    /// The message cannot be read.
    #[error("it cannot be read: {0}")]
    Malformed(String),
    /// The node cannot do it now.
    #[error("{0}")]
    Unavailable(String),
}

/// Why the peer port cannot be opened, or a file of the cluster's certificates cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The port is taken.
    #[error("port {} on {} is in use (peer); choose another as [peer] listen", .0.port(), .0.ip())]
    InUse(std::net::SocketAddr),
    /// Anything else the operating system has against the address.
    #[error("cannot listen on {address} for other nodes: {error}")]
    Listen {
        /// The address asked for.
        address: std::net::SocketAddr,
        /// The operating system's words.
        error: std::io::Error,
    },
    /// A certificate, a key or a list of authorities is missing or wrong.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate or a key cannot be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(String),
}

impl SetupError {
    /// An error about a file.
    pub(super) fn file(path: &std::path::Path, reason: impl Into<String>) -> Self {
        Self::File { path: path.to_owned(), reason: reason.into() }
    }
}
