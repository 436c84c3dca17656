//! The node's upkeep: decides when groups take snapshots, purges their logs behind them, and reclaims space.
//!
//! One snapshot is built at a time. A log is purged only up to the *older* of the two snapshots that are kept, so the
//! newest may turn out damaged and nothing is lost.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::LogIdOptionExt;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::Config;
use super::replica::Replica;
use super::shards::Hosted;

/// How many reclaim batches a group gets before the next one has its turn.
const RECLAIM_BATCHES: usize = 64;

/// How long openraft may take to know of a snapshot.
const TOLD: Duration = Duration::from_secs(10);

/// Runs until it is told to stop.
pub(super) async fn run(hosted: Arc<Hosted>, mut stop: watch::Receiver<bool>) {
    let config = hosted.config().clone();
    let mut clock = tokio::time::interval(Duration::from_millis(config.upkeep_ms));
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = clock.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        for replica in hosted.replicas() {
            tokio::select! {
                done = look_after(&replica, &config) => {
                    if let Err(error) = done {
                        tracing::warn!(group = replica.id, %error, "upkeep failed; it is tried again later");
                    }
                }
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }
}

async fn look_after(replica: &Arc<Replica>, config: &Config) -> Result<(), String> {
    let reclaiming = replica.clone();
    spawn_blocking(move || reclaim(&reclaiming)).await.map_err(|error| error.to_string())??;
    let applied = replica.group.mark().index();
    let before = replica.machine.snapshot_index();
    let due = before.map_or(0, |index| index + 1) + config.snapshot_entries;
    let many = applied.is_some_and(|applied| applied + 1 >= due);
    let large = applied > before && replica.machine.unsaved_bytes() >= config.snapshot_bytes();
    if many || large {
        snapshot(replica, before).await?;
    }
    Ok(())
}

fn reclaim(replica: &Replica) -> Result<(), String> {
    let _open = replica.machine.hold_open().map_err(|error| error.to_string())?;
    for _ in 0..RECLAIM_BATCHES {
        if !replica.group.reclaim().map_err(|error| error.to_string())? {
            break;
        }
    }
    replica.reclaim_backlog.store(replica.group.reclaim_backlog(), Ordering::Relaxed);
    Ok(())
}

/// Builds a snapshot, tells openraft of it, and purges the log up to the one before.
async fn snapshot(replica: &Arc<Replica>, before: Option<u64>) -> Result<(), String> {
    let machine = replica.machine.clone();
    let prepared = spawn_blocking(move || machine.prepare()).await.map_err(|error| error.to_string())?;
    let index = prepared.map_err(|error| error.to_string())?.head.mark.index();
    replica.raft.trigger().snapshot().await.map_err(|error| error.to_string())?;
    let known = replica.raft.wait(Some(TOLD)).metrics(|now| now.snapshot.index() >= index, "a snapshot").await;
    known.map_err(|error| error.to_string())?;
    if let Some(before) = before {
        replica.raft.trigger().purge_log(before).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}
