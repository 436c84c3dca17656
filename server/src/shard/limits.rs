//! What all groups of a node share when it comes to taking a proposal: bytes in flight, and room in the log.

use tokio::sync::{Semaphore, SemaphorePermit};

use super::{Config, NotDone};
use crate::store::wal::Wal;

/// One permit stands for so many bytes.
const UNIT: usize = 1 << 10;

/// Limits over all groups.
pub(super) struct Limits {
    wal: Wal,
    bytes: Semaphore,
    bytes_max: usize,
    command_bytes_max: usize,
}

impl Limits {
    pub fn new(config: &Config, wal: Wal) -> Self {
        Self {
            wal,
            bytes: Semaphore::new(config.proposals_bytes_max / UNIT),
            bytes_max: config.proposals_bytes_max,
            command_bytes_max: config.command_bytes_max,
        }
    }

    /// Takes a command of so many bytes, or says why not. The permit is held until its result is known.
    pub fn admit(&self, bytes: usize) -> Result<SemaphorePermit<'_>, NotDone> {
        if bytes > self.command_bytes_max {
            return Err(NotDone::TooLarge { bytes, bytes_max: self.command_bytes_max });
        }
        let permit = self.bytes.try_acquire_many(bytes.div_ceil(UNIT) as u32).map_err(|_| NotDone::Overloaded)?;
        // While no segment can be made, everything in flight must still fit, so that no append ever has to wait.
        let stats = self.wal.stats();
        match stats.full.is_some() && stats.free_bytes < (bytes + self.bytes_max) as u64 {
            true => Err(NotDone::DiskFull),
            false => Ok(permit),
        }
    }
}
