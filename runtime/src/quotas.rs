//! Bounds on what an isolate has on its way outside of its own heap, where its memory limit does not see it: values that
//! storage reads for it, arguments of calls it has sent, arguments of calls that wait for it.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Records that storage may be reading at once for one actor; further reads wait. A value has at most 128 KiB, so these
/// are at most 128 MiB.
const READS_MAX: usize = 1024;

/// Bytes that storage has read for an isolate and that wait to enter it; one more read fails. It does not wait for room:
/// what would make room may be waiting, at the input gate, for the read.
pub(crate) const READ_BYTES_MAX: usize = 128 << 20;

/// Bytes of arguments of calls in flight from one isolate; one more call is refused.
pub(crate) const SENT_BYTES_MAX: usize = 128 << 20;

/// Bytes of arguments of calls that wait in front of one actor; one more call is refused.
pub(crate) const WAITING_BYTES_MAX: usize = 128 << 20;

/// Permits are of this many bytes.
const UNIT_BYTES: usize = 1024;

/// A share of a quota, given back when it is dropped.
pub(crate) type Share = OwnedSemaphorePermit;

/// A number of bytes that can be shared out.
#[derive(Clone)]
pub(crate) struct Bytes(Arc<Semaphore>);

impl Bytes {
    /// At most `max` bytes.
    pub(crate) fn new(max: usize) -> Self {
        Self(Arc::new(Semaphore::new(max / UNIT_BYTES)))
    }

    /// A share of `bytes`, if so much is left.
    pub(crate) fn take(&self, bytes: usize) -> Option<Share> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).ok()?;
        self.0.clone().try_acquire_many_owned(units).ok()
    }
}

/// Quotas of one isolate.
pub(crate) struct Quotas {
    /// Arguments of calls in flight.
    pub(crate) sent: Bytes,
    /// Results of reads that wait to enter.
    pub(crate) read: Bytes,
    reads: Arc<Semaphore>,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            sent: Bytes::new(SENT_BYTES_MAX),
            read: Bytes::new(READ_BYTES_MAX),
            reads: Arc::new(Semaphore::new(READS_MAX)),
        }
    }
}

impl Quotas {
    /// The place of a read of `records`; those that ask first get theirs first.
    pub(crate) fn begin_read(&self, records: usize) -> Read {
        let records = u32::try_from(records.clamp(1, READS_MAX)).unwrap_or(u32::MAX);
        let share = self.reads.clone().try_acquire_many_owned(records).ok();
        Read { reads: self.reads.clone(), records, share }
    }
}

/// A read's place in the quota, or in the line for one.
pub(crate) struct Read {
    reads: Arc<Semaphore>,
    records: u32,
    share: Option<Share>,
}

impl Read {
    /// Whether the read may begin now.
    pub(crate) fn is_ready(&self) -> bool {
        self.share.is_some()
    }

    /// Waits until the read may begin.
    pub(crate) async fn ready(self) -> Option<Share> {
        match self.share {
            Some(share) => Some(share),
            None => self.reads.acquire_many_owned(self.records).await.ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn bytes_are_shared_out_until_none_are_left_and_come_back() {
        let bytes = Bytes::new(10 * UNIT_BYTES);
        let first = bytes.take(9 * UNIT_BYTES + 1).expect("all of it");
        assert!(bytes.take(1).is_none());
        assert!(bytes.take(0).is_some(), "nothing needs no room");
        drop(first);
        assert!(bytes.take(10 * UNIT_BYTES).is_some());
        assert!(bytes.take(usize::MAX).is_none());
    }

    #[test]
    fn reads_wait_for_those_before_them() {
        let quotas = Quotas::default();
        let first = quotas.begin_read(READS_MAX);
        let second = quotas.begin_read(1);
        assert!(first.is_ready() && !second.is_ready());
        let mut second = Box::pin(second.ready());
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        assert!(second.now_or_never().is_some_and(|share| share.is_some()));
    }

    #[test]
    fn a_read_of_more_than_all_waits_for_all_and_not_for_ever() {
        let quotas = Quotas::default();
        assert!(quotas.begin_read(usize::MAX).is_ready());
    }
}
