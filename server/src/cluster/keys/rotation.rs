//! Replaces the key epoch on a timer, unless that could lose a key.
//!
//! A share in the log that no replica has applied yet may be all there is of its key. So the previous epoch's private key
//! goes only when every entry that was in a log half a rotation ago is applied; nothing is sealed to that epoch any more by then.

use std::{collections::BTreeMap, sync::Arc};

use tokio::task::spawn_blocking;

use super::Inner;
use crate::shard::Shards;

/// Where the logs of this node ended, by group.
type Ends = BTreeMap<u32, Option<u64>>;

pub(super) async fn run(inner: Arc<Inner>) {
    let mut ends: Option<Ends> = None;
    loop {
        tokio::select! {
            () = inner.stop.cancelled() => return,
            () = tokio::time::sleep(inner.config.rotate / 2) => {}
        }
        let Some(shards) = inner.shards() else { return };
        let Some(before) = ends.take() else {
            ends = Some(shards.all().iter().map(|shard| (shard.id(), shard.metrics().last)).collect());
            continue;
        };
        if let Some(group) = unsettled(&shards, &before) {
            tracing::warn!(
                group,
                "the key epoch stays: the group has not applied what was in its log half an epoch ago"
            );
            ends = Some(before);
            continue;
        }
        let vault = inner.vault.clone();
        match spawn_blocking(move || vault.rotate()).await {
            Ok(Ok(epoch)) => tracing::debug!(epoch, "a new key epoch begins"),
            Ok(Err(error)) => tracing::error!(%error, "the key epoch cannot be replaced"),
            Err(error) => tracing::error!(%error, "replacing the key epoch failed"),
        }
    }
}

/// A group that has not applied so much of its log.
pub(super) fn unsettled(shards: &Shards, ends: &Ends) -> Option<u32> {
    let behind = |(group, end): (&u32, &Option<u64>)| {
        let shard = shards.group(*group)?;
        (shard.metrics().applied < *end).then_some(*group)
    };
    ends.iter().find_map(behind)
}
