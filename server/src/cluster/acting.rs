//! Which nodes act on a revision of the registry: what a deploy waits for.

use std::time::Duration;

use super::config::ms;
use super::{Cluster, State};

impl Cluster {
    /// Whether every member said that it acts on this revision.
    pub fn all_act_on(&self, revision: u64) -> bool {
        let inner = &self.inner;
        let Some(map) = inner.now() else { return false };
        let contacts = inner.contacts.lock();
        map.members.iter().filter(|(_, member)| member.value.state != State::Removed).all(|(node, _)| {
            match *node == inner.me {
                true => inner.lease.acts_on(revision) >= revision,
                false => contacts.report(*node).is_some_and(|report| report.revision >= revision),
            }
        })
    }

    /// A node that has not confirmed the registry for so long starts nothing new. A tenth is added for clocks that do
    /// not run alike.
    pub fn lapse(&self) -> Duration {
        ms(self.inner.config.lease_ms) * 11 / 10
    }
}
