//! What all groups of a node share when it comes to taking a proposal: bytes in flight, and room in the log.
//!
//! Everything in flight always fits into the segments that exist, so an append never has to wait for one: openraft's
//! core would stand still meanwhile. A proposal that would not fit waits shortly for the next segment and is then
//! refused, at once if it is known that none can be made.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Config, NotDone};
use crate::store::wal::Wal;

/// One permit stands for so many bytes.
const UNIT: usize = 1 << 10;
/// What the log's framing may cost one proposal, in bytes.
const FRAMING_BYTES: u64 = 2 << 10;
/// How long a proposal waits for a segment that is being made, and how often it looks.
const SEGMENT_WAIT: Duration = Duration::from_secs(2);
const SEGMENT_POLL: Duration = Duration::from_millis(2);

/// Limits over all groups.
pub(super) struct Limits {
    wal: Wal,
    segment_bytes: u64,
    bytes: Arc<Semaphore>,
    bytes_max: usize,
    command_bytes_max: usize,
    admitted: AtomicU64,
}

/// A proposal that was taken. Held until its result is known.
pub(super) struct Admitted {
    limits: Arc<Limits>,
    _bytes: OwnedSemaphorePermit,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.limits.admitted.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Limits {
    pub fn new(config: &Config, wal: Wal) -> Self {
        Self {
            wal,
            segment_bytes: config.wal_segment_bytes,
            bytes: Arc::new(Semaphore::new(config.proposals_bytes_max / UNIT)),
            bytes_max: config.proposals_bytes_max,
            command_bytes_max: config.command_bytes_max,
            admitted: AtomicU64::new(0),
        }
    }

    /// Bytes of the log's segments that are in use.
    pub fn log_bytes(&self) -> u64 {
        self.wal.stats().segments * self.segment_bytes
    }

    /// Takes a command of so many bytes, or says why not.
    pub async fn admit(self: &Arc<Self>, bytes: usize) -> Result<Admitted, NotDone> {
        if bytes > self.command_bytes_max {
            return Err(NotDone::TooLarge { bytes, bytes_max: self.command_bytes_max });
        }
        let permit = self.bytes.clone().try_acquire_many_owned(bytes.div_ceil(UNIT) as u32);
        let permit = permit.map_err(|_| NotDone::Overloaded)?;
        self.admitted.fetch_add(1, Ordering::Relaxed);
        let admitted = Admitted { limits: self.clone(), _bytes: permit };
        let patience = Instant::now() + SEGMENT_WAIT;
        loop {
            let stats = self.wal.stats();
            if stats.free_bytes >= self.needed() {
                return Ok(admitted);
            }
            if stats.full.is_some() {
                return Err(NotDone::DiskFull);
            }
            if Instant::now() >= patience {
                return Err(NotDone::Overloaded);
            }
            tokio::time::sleep(SEGMENT_POLL).await;
        }
    }

    /// What everything in flight may need in the log, as if nothing of it were there yet.
    fn needed(&self) -> u64 {
        let bytes = self.bytes_max - self.bytes.available_permits() * UNIT;
        bytes as u64 + self.admitted.load(Ordering::Relaxed) * FRAMING_BYTES
    }
}
