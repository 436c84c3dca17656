//! What opening a log found, for the operator's log line.

use std::{fmt, path::PathBuf};

use super::{GroupId, GroupState};

/// A torn end that was cut off. Nobody was told that what stood there is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The segment.
    pub path: PathBuf,
    /// Where the log ends now.
    pub offset: u64,
    /// Bytes that were zeroed.
    pub bytes: u64,
}

/// What opening found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Segments in use.
    pub segments: u64,
    /// Frames read.
    pub frames: u64,
    /// Bytes read.
    pub bytes: u64,
    /// A torn end, if there was one.
    pub cut: Option<Cut>,
    /// State of every group.
    pub groups: Vec<(GroupId, GroupState)>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} groups in {} segments, {} frames", self.groups.len(), self.segments, self.frames)?;
        if let Some(cut) = &self.cut {
            write!(f, "; a torn end was cut from {} at {}", cut.path.display(), cut.offset)?;
        }
        Ok(())
    }
}
