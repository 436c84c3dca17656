//! Erases keys of groups that are not on this node any more.

use std::sync::Arc;

use tokio::{sync::watch, task::spawn_blocking};

use super::Inner;
use crate::vault::Owner;

/// Keys that are erased at once.
const PAGE: usize = 1024;

/// Looks whenever replicas came or went.
pub(super) async fn run(inner: Arc<Inner>, mut changes: watch::Receiver<u64>) {
    loop {
        let sweeping = inner.clone();
        // A blocking task cannot be cancelled; it ends by itself after each page.
        if let Err(error) = spawn_blocking(move || sweep(&sweeping)).await {
            tracing::error!(%error, "looking for keys of groups that left failed");
        }
        tokio::select! {
            () = inner.stop.cancelled() => return,
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

/// Blocks.
fn sweep(inner: &Inner) {
    let Some(reach) = inner.reach.get() else { return };
    let group_of = |owner: &Owner| (reach.group_of)(owner.actor);
    let gone = |owner: &Owner| match (reach.shards.upgrade(), group_of(owner)) {
        (Some(shards), Some(group)) => shards.group(group).is_none(),
        _ => false,
    };
    let owners: Vec<_> = inner.vault.incarnations().into_iter().filter(gone).collect();
    for page in owners.chunks(PAGE) {
        if inner.stop.is_cancelled() {
            return;
        }
        let page: Vec<_> = page.iter().copied().filter(gone).collect();
        match inner.vault.erase_all(&page) {
            Ok(erased) => tracing::info!(erased, "keys of groups that left this node were erased"),
            Err(error) => return tracing::error!(%error, "keys of groups that left this node cannot be erased"),
        }
        // The group may have come back in this very moment; then its keys are asked for again.
        for group in page.iter().filter_map(group_of) {
            if reach.shards.upgrade().is_some_and(|shards| shards.group(group).is_some()) {
                inner.wanted.lock().scan(group);
                inner.wake.notify_one();
            }
        }
    }
}
