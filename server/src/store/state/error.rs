//! Errors of the state store and of snapshot files.

use std::path::PathBuf;

/// The state store or a snapshot file failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store under the state failed.
    #[error("state store {path}: {source}")]
    Engine {
        /// Its directory.
        path: PathBuf,
        /// What it said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Something in the state is not what was written.
    #[error("state of group {group} is damaged: {what}")]
    State {
        /// Which group.
        group: u32,
        /// What does not fit.
        what: String,
    },
    /// The operating system refused.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// Bytes of a snapshot file are not what was written.
    #[error("{path} is damaged: {what}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
}
