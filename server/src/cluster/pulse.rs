//! The pulse: this node tells every other node how it is, and hears the same in the answer.

use std::collections::BTreeSet;
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

/// Exchanges reports until the room is stopped. At most one exchange with a node is under way.
pub(super) async fn run(inner: Arc<Inner>) {
    let mut tick = tokio::time::interval(ms(inner.config.pulse_ms));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut under_way, mut exchanges) = (BTreeSet::new(), JoinSet::new());
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = inner.news.notified() => {}
            Some(done) = exchanges.join_next() => {
                // An exchange that panicked stays under way: that node is not asked again, and counts as silent.
                if let Ok(node) = done {
                    under_way.remove(&node);
                }
                continue;
            }
        }
        let others = inner.others();
        if others.is_empty() {
            continue;
        }
        let report = encode(&inner.report());
        for node in others {
            if under_way.insert(node) {
                exchanges.spawn(inner.tasks.track_future(exchange(inner.clone(), node, report.clone())));
            }
        }
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
        self.contacts.lock().heard(node, report, Instant::now(), &self.config);
    }

    /// How this node is.
    pub fn report(&self) -> Report {
        let newest = self.registry.changed().map_or(0, |changed| *changed.borrow());
        Report {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_ms: self.started.elapsed().as_millis() as u64,
            revision: self.lease.acts_on(newest),
            fresh: self.lease.check(Instant::now()).is_ok(),
            stopping: self.stopping.load(Ordering::Relaxed),
            key_epoch: self.keys.epoch(),
            groups: self.shards.all().iter().map(|shard| self.group_report(shard)).collect(),
        }
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
