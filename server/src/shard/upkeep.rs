//! The node's upkeep: decides when groups take snapshots, purges their logs behind them, and reclaims space.
//!
//! One snapshot is built at a time. A log is purged only up to the *older* of the two snapshots that are kept, so the
//! newest may turn out damaged and nothing is lost.
//!
//! Segments of the write-ahead log go oldest first, so a group that wrote much once and then fell silent would hold back all
//! that the others write. When too many segments are in use, the log names such groups, and they take two snapshots at
//! once, of the same position if nothing happens in them any more.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::LogIdOptionExt;
use tokio::sync::watch;

use super::Config;
use super::care::blocking;
use super::machine::SNAPSHOTS_KEPT;
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
        tokio::select! {
            () = relieve(&hosted) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Frees the oldest segment of a crowded log from the groups that keep it, those with the most bytes there first.
async fn relieve(hosted: &Hosted) {
    let mut pins = hosted.wal.pins();
    pins.sort_by_key(|pin| std::cmp::Reverse(pin.bytes));
    for pin in pins {
        let Some(replica) = hosted.replica(pin.group.0) else { continue };
        match let_go(&replica, pin.upto).await {
            Ok(()) => tracing::debug!(group = pin.group.0, bytes = pin.bytes, "a group let go of the oldest segment"),
            Err(error) => tracing::warn!(group = pin.group.0, %error, "a group keeps the oldest segment of the log"),
        }
    }
}

/// Snapshots a group until its log can be purged up to an entry, and purges it.
async fn let_go(replica: &Arc<Replica>, upto: u64) -> Result<(), String> {
    if replica.group.mark().index() < Some(upto) {
        return Err(format!("entry {upto} is not applied yet"));
    }
    for _ in 0..SNAPSHOTS_KEPT {
        if older_snapshot(replica).await? >= Some(upto) {
            break;
        }
        build(replica).await?;
    }
    match older_snapshot(replica).await? {
        Some(older) if older >= upto => purge(replica, older).await,
        Some(_) | None => Err("its snapshots do not last".to_owned()),
    }
}

async fn older_snapshot(replica: &Arc<Replica>) -> Result<Option<u64>, String> {
    let machine = replica.machine.clone();
    blocking(move || machine.older_snapshot_index()).await
}

async fn look_after(replica: &Arc<Replica>, config: &Config) -> Result<(), String> {
    let reclaiming = replica.clone();
    if blocking(move || reclaim(&reclaiming).map(|()| reclaiming.machine.is_rotten())).await? {
        build(replica).await?;
    }
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

/// Builds a snapshot and purges the log up to the one before.
async fn snapshot(replica: &Arc<Replica>, before: Option<u64>) -> Result<(), String> {
    build(replica).await?;
    match before {
        Some(before) => purge(replica, before).await,
        None => Ok(()),
    }
}

/// Builds a snapshot and tells openraft of it.
async fn build(replica: &Arc<Replica>) -> Result<(), String> {
    let machine = replica.machine.clone();
    let index = blocking(move || machine.prepare()).await?.head.mark.index();
    replica.raft.trigger().snapshot().await.map_err(|error| error.to_string())?;
    let known = replica.raft.wait(Some(TOLD)).metrics(|now| now.snapshot.index() >= index, "a snapshot").await;
    known.map(|_| ()).map_err(|error| error.to_string())
}

async fn purge(replica: &Arc<Replica>, upto: u64) -> Result<(), String> {
    replica.raft.trigger().purge_log(upto).await.map_err(|error| error.to_string())
}
