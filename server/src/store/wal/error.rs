//! What can go wrong in the write-ahead log. Cloneable, because one failed sync answers many callers.

use std::{io, path::PathBuf, sync::Arc};

use uuid::Uuid;

use super::{GroupId, Life};

/// An error of the write-ahead log. Everything but `Failed`, `Io` and `Closed` left the log as it was before the call.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The file system failed. While the log is open this is final: the log is `Failed` from then on.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// Bytes that were durable once are wrong now. The log refuses to open; the node must rejoin as a new one.
    #[error(
        "{path} is corrupt at offset {offset}: {reason}; data that was durable is damaged, so the log is not opened"
    )]
    Corrupt {
        /// The segment file.
        path: PathBuf,
        /// Offset of the damage in it.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// The segment was written by another node, or belongs to another log.
    #[error("{path} belongs to node {found}, this is node {expected}")]
    Foreign {
        /// The segment file.
        path: PathBuf,
        /// Node named in the file.
        found: Uuid,
        /// Node that opens it.
        expected: Uuid,
    },
    /// The segment is of a format this version does not know.
    #[error("{path} has log format {found}, this version reads {known}")]
    Version {
        /// The segment file.
        path: PathBuf,
        /// Version in the file.
        found: u32,
        /// Version of this program.
        known: u32,
    },
    /// Another process has the directory open.
    #[error("{dir} is in use by another process")]
    Locked {
        /// The log's directory.
        dir: PathBuf,
    },
    /// There is no room, and none can be made now. Nothing was written; try again after purging or freeing disk space.
    #[error("the log is full: {needed} bytes are needed, {free} are free ({reason})")]
    Full {
        /// Bytes the call would need.
        needed: u64,
        /// Bytes that are left for it.
        free: u64,
        /// Why no more can be made.
        reason: String,
    },
    /// One entry or one opaque value is larger than the limit in the configuration.
    #[error("{what} of {bytes} bytes is over the limit of {max}")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// Its size.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// More groups than the configuration allows.
    #[error("the log has {max} groups already")]
    TooManyGroups {
        /// The limit.
        max: u32,
    },
    /// Entries that do not follow the last one.
    #[error("group {group} must continue at index {expected}, got {index}")]
    Hole {
        /// The group.
        group: GroupId,
        /// Index of the offending entry.
        index: u64,
        /// Index that would fit.
        expected: u64,
    },
    /// A term lower than that of the entry before.
    #[error("group {group}: entry {index} has term {term}, the entry before it has {last}")]
    Term {
        /// The group.
        group: GroupId,
        /// Index of the offending entry.
        index: u64,
        /// Its term.
        term: u64,
        /// Term of the entry before.
        last: u64,
    },
    /// A truncation that would reach into what was purged.
    #[error("group {group} cannot be truncated after {index}: it is purged up to {purged}")]
    Purged {
        /// The group.
        group: GroupId,
        /// Index asked for.
        index: u64,
        /// Index purged.
        purged: u64,
    },
    /// A vote lower than the one before.
    #[error("group {group}: the new vote is lower than the stored one")]
    Vote {
        /// The group.
        group: GroupId,
    },
    /// The group does not live as this incarnation, or cannot.
    #[error("group {group} {life}; this is about incarnation {incarnation}")]
    Life {
        /// The group.
        group: GroupId,
        /// The incarnation that was meant.
        incarnation: u64,
        /// What is so.
        life: Life,
    },
    /// An earlier I/O error; the process must restart to find out what is on the disk.
    #[error("the log has failed and takes nothing more: {0}")]
    Failed(Arc<Error>),
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
    /// The configuration makes no sense.
    #[error("log configuration: {0}")]
    Config(String),
}

impl Error {
    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source: Arc::new(source) }
    }
}
