//! Lies that a server tells on purpose: the consistency harness must catch each (`jepsen mutants`), or its "valid" means
//! nothing.
//!
//! Compiled only with the feature `liar`, which nothing but the binary `lethe-liar` asks for. Even then no lie is told
//! before somebody names one. Every place that lies is found by the feature's name.

use std::sync::OnceLock;

/// A promise that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// A read index is answered at once, by whoever believes that he leads.
    SkipReadIndex,
    /// Replies leave before the writes they rest on are committed.
    ReleaseBeforeCommit,
    /// Instances of a leadership that is over live on, and answer although it cannot be confirmed.
    KeepOldLeader,
    /// Seven of eight frames of the log count as synced when they are written.
    SkipSync,
}

/// The one lie of this process.
static TOLD: OnceLock<Option<Lie>> = OnceLock::new();

/// From now on this process tells the lie of this name; `honest` tells none. Fails if it is no lie.
pub fn tell(name: &str) -> Result<(), String> {
    let lie = match name {
        "honest" => None,
        "skip-read-index" => Some(Lie::SkipReadIndex),
        "release-before-commit" => Some(Lie::ReleaseBeforeCommit),
        "keep-old-leader" => Some(Lie::KeepOldLeader),
        "skip-sync" => Some(Lie::SkipSync),
        _ => return Err(format!("{name:?} is no lie; call this program by the name of one")),
    };
    TOLD.set(lie).map_err(|_| "a process tells one lie, and knows which".to_owned())
}

/// Whether this process tells this lie.
pub fn is_told(lie: Lie) -> bool {
    TOLD.get() == Some(&Some(lie))
}
