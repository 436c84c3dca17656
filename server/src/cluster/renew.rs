//! Renewing the lease: asks for the newest revision again and again, and waits until this node acts on it.

use std::sync::Arc;
use std::time::Instant;

use tokio::time::MissedTickBehavior;

use super::config::ms;
use super::error::WriteError;
use super::handle::Inner;
use crate::clock::Moment;

/// Confirms the registry until the room is stopped.
pub(super) async fn run(inner: Arc<Inner>) {
    let mut tick = tokio::time::interval(ms(inner.config.confirm_ms));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut fresh = false;
    loop {
        tick.tick().await;
        let began = Moment::now();
        let deadline = Instant::now() + ms(inner.config.message_ms);
        let reason = match inner.registry.confirm(deadline).await {
            Err(WriteError::NotDone(reason) | WriteError::Refused(reason)) => reason,
            Err(WriteError::Conflict(reason) | WriteError::Unknown(reason)) => reason,
            Ok(0) => "the cluster is not made yet".to_owned(),
            Ok(revision) => match tokio::time::timeout_at(deadline.into(), inner.lease.all_reach(revision)).await {
                Ok(()) => {
                    inner.lease.confirm(began);
                    if !std::mem::replace(&mut fresh, true) {
                        tracing::info!(revision, "the registry is confirmed: this node takes requests");
                    }
                    continue;
                }
                Err(_) => "a part of this node does not follow the registry".to_owned(),
            },
        };
        if inner.lease.check().is_err() && std::mem::replace(&mut fresh, false) {
            tracing::warn!(reason, "the registry is not confirmed: this node takes no new requests");
        }
    }
}
