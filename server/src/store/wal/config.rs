//! Sizes and limits of the log, and the two hooks its owner may set.

use std::{cmp::Ordering, fmt, sync::Arc, time::Duration};

use uuid::Uuid;

use super::{Error, frame};

/// Compares two stored votes, so that the log can refuse one that goes back.
pub type VoteOrder = fn(&[u8], &[u8]) -> Ordering;

/// Called once when the log fails for good.
pub type OnFatal = Arc<dyn Fn(&Error) + Send + Sync>;

/// Largest segment: offsets in it are 32 bits.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 31;
/// A segment has a whole number of so many bytes.
pub const SEGMENT_BYTES_UNIT: u64 = 4096;

/// Sizes and limits. `WalConfig::new` has what a node needs; tests make segments small.
#[derive(Clone)]
pub struct WalConfig {
    /// The node; a segment of another node is refused.
    pub node: Uuid,
    /// Size of a segment file, a multiple of 4096. Made whole and filled with zeros before its first use.
    pub segment_bytes: u64,
    /// Segments kept ready ahead of the one in use. They are made as that one fills, one for each quarter, so that a log
    /// that is hardly used stays small.
    pub spare_segments: u32,
    /// Bound of all segments together, spares included.
    pub total_bytes_max: u64,
    /// From this many segments in use, the oldest one's few live entries are rewritten so that it can go.
    pub compact_segments: u32,
    /// From this many segments in use, the groups that keep the oldest one are named by `Wal::pins`.
    pub pin_segments: u32,
    /// Room that appends leave for votes, truncations and purges.
    pub reserve_bytes: u64,
    /// Largest single entry. At most a quarter of a segment.
    pub entry_bytes_max: u64,
    /// Largest vote, committed or purged log id.
    pub meta_bytes_max: u64,
    /// Groups in the log.
    pub groups_max: u32,
    /// Largest group commit: what one sync makes durable.
    pub frame_bytes_max: u64,
    /// Bytes waiting for the disk; a caller that would go over it waits for the disk.
    pub queue_bytes_max: u64,
    /// Bytes of already durable entries each group keeps in memory for readers.
    pub tail_bytes_max: u64,
    /// How often making a segment is tried again when the disk is full.
    pub retry: Duration,
    /// Order of votes, if the log shall check it.
    pub vote_order: Option<VoteOrder>,
    /// What to do about an I/O error. The default logs it and aborts the process.
    pub on_fatal: OnFatal,
}

impl WalConfig {
    /// The configuration of a node.
    pub fn new(node: Uuid) -> Self {
        Self {
            node,
            segment_bytes: 64 << 20,
            spare_segments: 2,
            total_bytes_max: 16 << 30,
            compact_segments: 16,
            pin_segments: 64,
            reserve_bytes: 1 << 20,
            entry_bytes_max: 16 << 20,
            meta_bytes_max: 256,
            groups_max: 1024,
            frame_bytes_max: 8 << 20,
            queue_bytes_max: 64 << 20,
            tail_bytes_max: 2 << 20,
            retry: Duration::from_secs(1),
            vote_order: None,
            on_fatal: Arc::new(|error| {
                tracing::error!(%error, "the write-ahead log failed; the process ends, because what is durable is unknown");
                std::process::abort();
            }),
        }
    }

    /// Checks the limits against each other.
    pub(super) fn check(&self) -> Result<(), Error> {
        let rules = [
            (self.segment_bytes.is_multiple_of(SEGMENT_BYTES_UNIT), "segment_bytes must be a multiple of 4096"),
            (self.segment_bytes <= SEGMENT_BYTES_MAX, "segment_bytes must be at most 2 GiB"),
            (self.entry_bytes_max <= self.segment_bytes / 4, "entry_bytes_max must be at most segment_bytes / 4"),
            (self.reserve_bytes <= self.segment_bytes / 4, "reserve_bytes must be at most segment_bytes / 4"),
            (
                self.checkpoint_bytes_max(self.groups_max) <= self.segment_bytes / 4,
                "a checkpoint of groups_max groups must fit into segment_bytes / 4",
            ),
            (self.spare_segments >= 1, "spare_segments must be at least 1"),
            (self.total_bytes_max >= 3 * self.segment_bytes, "total_bytes_max must hold at least 3 segments"),
            (self.queue_bytes_max >= 2 * self.entry_bytes_max, "queue_bytes_max must hold at least 2 entries"),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(Error::Config(rule.into())),
            None => Ok(()),
        }
    }

    /// Segments that should be ready when the one in use is filled up to `offset`.
    pub(super) fn spares_wanted(&self, offset: u64) -> u64 {
        u64::from(self.spare_segments).min(4 * offset / self.segment_bytes)
    }

    /// Largest checkpoint of this many groups, in a segment.
    pub(super) fn checkpoint_bytes_max(&self, groups: u32) -> u64 {
        u64::from(groups) * (3 * self.meta_bytes_max + super::record::CHECKPOINT_BYTES)
    }

    /// Largest piece of a segment that one entry or control record needs in the worst case.
    pub(super) fn piece_bytes_max(&self) -> u64 {
        frame::padded(self.entry_bytes_max.max(self.meta_bytes_max) + super::record::OVERHEAD_BYTES_MAX)
    }

    /// Largest request that fits into the spare segments whatever else is going on.
    pub(super) fn request_bytes_max(&self) -> u64 {
        let lost =
            self.piece_bytes_max() + frame::padded(self.checkpoint_bytes_max(self.groups_max)) + 2 * frame::SECTOR;
        u64::from(self.spare_segments) * self.segment_bytes.saturating_sub(lost)
    }
}

impl fmt::Debug for WalConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WalConfig")
            .field("node", &self.node)
            .field("segment_bytes", &self.segment_bytes)
            .field("spare_segments", &self.spare_segments)
            .field("total_bytes_max", &self.total_bytes_max)
            .finish_non_exhaustive()
    }
}
