//! The pulse: this node tells every other node how it is, and hears the same in the answer.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use lethe_proto::NodeId;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::config::ms;
use super::handle::Inner;
use super::map::SYSTEM;
use super::message::{GroupReport, Lead, Report, decode, encode};
use crate::peer::{self, Head, Lane, Refusal, Topic};
use crate::shard::Shard;

/// Exchanges reports until the room is stopped. At most one exchange with a node is under way; news that come meanwhile
/// are told right after it.
pub(super) async fn run(inner: Arc<Inner>) {
    let mut tick = tokio::time::interval(ms(inner.config.pulse_ms));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut partners, mut exchanges) = (Partners::default(), JoinSet::new());
    loop {
        let (others, news) = tokio::select! {
            _ = tick.tick() => (inner.others(), false),
            () = inner.news.notified() => (inner.others(), true),
            Some(done) = exchanges.join_next() => match done {
                Ok(node) if partners.end(node) => {
                    (inner.others().into_iter().filter(|other| *other == node).collect(), true)
                }
                // An exchange that panicked stays under way: that node is not asked again, and counts as silent.
                Ok(_) | Err(_) => continue,
            }
        };
        let mut report = None;
        for node in others {
            if partners.begin(node, news) {
                let report = report.get_or_insert_with(|| encode(&inner.report())).clone();
                exchanges.spawn(inner.tasks.track_future(exchange(inner.clone(), node, report)));
            }
        }
    }
}

/// Nodes with which an exchange is under way, and whether something happened that they are to be told after it.
#[derive(Default)]
struct Partners(BTreeMap<NodeId, bool>);

impl Partners {
    /// Whether to begin an exchange now; if not, `news` are kept for the end of the one that is under way.
    fn begin(&mut self, node: NodeId, news: bool) -> bool {
        match self.0.entry(node) {
            Entry::Vacant(free) => {
                free.insert(false);
                true
            }
            Entry::Occupied(mut busy) => {
                *busy.get_mut() |= news;
                false
            }
        }
    }

    /// An exchange is over. Whether to begin another at once.
    fn end(&mut self, node: NodeId) -> bool {
        self.0.remove(&node) == Some(true)
    }
}

async fn exchange(inner: Arc<Inner>, node: NodeId, report: bytes::Bytes) -> NodeId {
    let head = Head { lane: Lane::Control, topic: Topic::Status, group: SYSTEM, incarnation: 0 };
    let deadline = Instant::now() + ms(inner.config.message_ms);
    match inner.transport.call(node, head, report, deadline).await {
        Ok(answer) => match decode(&answer) {
            Ok(report) => inner.heard(node, report),
            Err(refusal) => tracing::warn!(%node, reason = %refusal, "another node's report cannot be read"),
        },
        Err(peer::Error::Refused(Refusal::Sender(reason))) => inner.unwelcome(reason),
        Err(error) => tracing::debug!(%node, reason = %error, "another node does not answer"),
    }
    node
}

impl Inner {
    /// A node said how it is.
    pub fn heard(&self, node: NodeId, report: Report) {
        let full = {
            let mut contacts = self.contacts.lock();
            contacts.heard(node, report, Instant::now(), &self.config);
            contacts.full()
        };
        self.shards.others_full(full);
    }

    /// How this node is.
    pub fn report(&self) -> Report {
        let newest = self.registry.changed().map_or(0, |changed| *changed.borrow());
        let is_full = self.is_log_full();
        let full = self.shards.log_full().filter(|_| is_full);
        Report {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_ms: self.started.elapsed().as_millis() as u64,
            revision: self.lease.acts_on(newest),
            fresh: self.lease.check().is_ok(),
            stopping: self.stopping.load(Ordering::Relaxed) || is_full,
            key_epoch: self.keys.epoch(),
            groups: self.shards.all().iter().map(|shard| self.group_report(shard)).collect(),
            full: full.map(|why| (why.to_string(), self.shards.log_free_bytes())),
        }
    }

    /// Whether this node gives all leadership away because its log cannot grow. A leader that cannot append any more stands
    /// still, and calls that reach its node would wait for it.
    pub fn is_log_full(&self) -> bool {
        self.fullness.lock().look(Instant::now(), self.shards.log_full().as_ref())
    }

    fn group_report(&self, shard: &Shard) -> GroupReport {
        let metrics = shard.metrics();
        let lead = metrics.epoch.and_then(|epoch| {
            let confirmed = self.confirmed.lock().get(&shard.id()).filter(|(known, _)| *known == epoch).cloned();
            Some(Lead {
                term: epoch.term,
                last: metrics.last,
                confirmed: confirmed.map(|(_, confirmed)| confirmed),
                progress: shard.progress()?.into_iter().collect(),
            })
        });
        GroupReport {
            group: shard.id(),
            incarnation: shard.incarnation(),
            applied: metrics.applied,
            digest: metrics.digest,
            missing_keys: u32::try_from(self.keys.missing(shard.id())).unwrap_or(u32::MAX),
            lead,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_that_come_while_an_exchange_is_under_way_are_told_right_after_it() {
        let (mut partners, node) = (Partners::default(), NodeId::from(2));
        assert!(partners.begin(node, true));
        assert!(!partners.begin(node, true), "one at a time");
        assert!(!partners.begin(node, false), "a pulse does not take the news back");
        assert!(partners.end(node), "the news are told");
        assert!(partners.begin(node, true));
        assert!(!partners.end(node), "and told once");
    }

    #[test]
    fn a_pulse_that_is_missed_is_not_made_up_for() {
        let (mut partners, node) = (Partners::default(), NodeId::from(2));
        assert!(partners.begin(node, false));
        assert!(!partners.begin(node, false));
        assert!(!partners.end(node));
    }
}
