//! Which nodes act on a revision of the registry: what a deploy waits for.

use std::time::{Duration, Instant};

use super::Cluster;
use super::config::ms;
use super::handle::Inner;

/// How often waiting looks again, in milliseconds.
const POLL_MS: u64 = 20;

impl Cluster {
    /// Waits until every node that still starts anything acts on this revision, which must have been written before: each
    /// member said so, or its lease has run out. So has that of each node that was removed: nobody renews it after the
    /// removal, but one that was cut off may not know. That is at most a lease and a little more.
    pub async fn everywhere(&self, revision: u64) {
        // A node that has not confirmed the registry for so long starts nothing new, or took it after the write.
        let lapsed = Instant::now() + self.inner.lapse();
        while Instant::now() < lapsed && !self.inner.all_act_on(revision) {
            tokio::time::sleep(ms(POLL_MS)).await;
        }
    }
}

impl Inner {
    /// How long after it was last renewed a lease is surely over: a tenth is added for clocks that do not run alike.
    fn lapse(&self) -> Duration {
        ms(self.config.lease_ms) * 11 / 10
    }

    /// Whether every member said that it acts on this revision, and nobody else has a lease. Only a map that has the
    /// revision knows all of them.
    fn all_act_on(&self, revision: u64) -> bool {
        let Some(map) = self.now().filter(|map| map.revision >= revision) else { return false };
        let contacts = self.contacts.lock();
        if contacts.any_removed_within(self.lapse(), Instant::now()) {
            return false;
        }
        map.present().all(|node| match node == self.me {
            true => self.lease.acts_on(revision) >= revision,
            false => contacts.report(node).is_some_and(|report| report.revision >= revision),
        })
    }
}
