//! What all groups of a node share when it comes to taking a proposal: bytes in flight, and room in the log.
//!
//! Everything in flight always fits into the segments that exist, so an append never has to wait for one: openraft's
//! core would stand still meanwhile. A proposal that would not fit waits shortly for the next segment and is then
//! refused, at once if it is known that none can be made.
//!
//! What a leader appends its followers must append, too, and one without room stands still with all groups that it has.
//! So nothing is taken that a majority of the voters, by what they said last, could only write into the rest of its log.
//! A part of that rest is for activations: without them no actor that sleeps, or comes from another node, could be read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Command, Config, NodeId, NotDone};
use crate::store::wal::Wal;

/// One permit stands for so many bytes.
const UNIT: usize = 1 << 10;
/// What the log's framing may cost one proposal, in bytes.
const FRAMING_BYTES: u64 = 2 << 10;
/// How long a proposal waits for a segment that is being made, and how often it looks.
const SEGMENT_WAIT: Duration = Duration::from_secs(2);
const SEGMENT_POLL: Duration = Duration::from_millis(2);

/// What stays free of a log that cannot grow, in bytes: for votes, and for leaders and members that change.
const RESERVE_BYTES: u64 = 8 << 20;

/// Limits over all groups.
pub(super) struct Limits {
    wal: Wal,
    segment_bytes: u64,
    bytes: Arc<Semaphore>,
    bytes_max: usize,
    command_bytes_max: usize,
    admitted: AtomicU64,
    /// Other nodes whose log cannot grow, and how many bytes are left of it.
    full: Mutex<BTreeMap<NodeId, u64>>,
    /// Whether there are any.
    any_full: AtomicBool,
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
            full: Mutex::default(),
            any_full: AtomicBool::new(false),
        }
    }

    /// Bytes of the log's segments that are in use.
    pub fn log_bytes(&self) -> u64 {
        self.wal.stats().segments * self.segment_bytes
    }

    /// These other nodes, and no more, have a log that cannot grow; so many bytes are left of it.
    pub fn others_full(&self, full: BTreeMap<NodeId, u64>) {
        self.any_full.store(!full.is_empty(), Ordering::Relaxed);
        *self.full.lock() = full;
    }

    /// Whether a majority of the voters has room for a command that `me` proposes.
    pub fn fits_majority(
        &self,
        me: NodeId,
        command: &Command,
        voters: impl FnOnce() -> Vec<NodeId>,
    ) -> Result<(), NotDone> {
        if !self.any_full.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut left = self.full.lock().clone();
        let own = self.wal.stats();
        if own.full.is_some() {
            left.insert(me, own.free_bytes);
        }
        let wakes = matches!(command, Command::Activate { create: None, .. });
        majority(&voters(), &left, wakes)
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

/// Whether most voters can write something, given what is `left` where a log cannot grow. What `wakes` an actor may use some
/// of that.
fn majority(voters: &[NodeId], left: &BTreeMap<NodeId, u64>, wakes: bool) -> Result<(), NotDone> {
    let is_full = |node: &&NodeId| left.get(*node).is_some_and(|bytes| !wakes || *bytes < RESERVE_BYTES);
    let full = voters.iter().filter(is_full).count();
    match 2 * full < voters.len() {
        true => Ok(()),
        false => Err(NotDone::DisksFull { full, voters: voters.len() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_needs_room_to_write_and_something_left_to_wake_an_actor() {
        let voters = [1, 2, 3].map(NodeId::from);
        let asked = |left: &[(u64, u64)], wakes| {
            let left = left.iter().map(|(node, bytes)| (NodeId::from(*node), *bytes)).collect();
            majority(&voters, &left, wakes)
        };
        let refused = Err(NotDone::DisksFull { full: 2, voters: 3 });
        assert_eq!(asked(&[], false), Ok(()));
        assert_eq!(asked(&[(1, 0)], false), Ok(()), "two are enough");
        assert_eq!(asked(&[(1, RESERVE_BYTES), (3, RESERVE_BYTES)], false), refused);
        assert_eq!(asked(&[(1, RESERVE_BYTES), (3, RESERVE_BYTES)], true), Ok(()));
        assert_eq!(asked(&[(1, RESERVE_BYTES), (3, RESERVE_BYTES - 1)], true), Ok(()), "one is stuck soon");
        assert_eq!(asked(&[(1, 0), (3, RESERVE_BYTES - 1)], true), refused);
        assert_eq!(asked(&[(1, 0), (4, 0)], false), Ok(()), "4 does not vote");
    }
}
