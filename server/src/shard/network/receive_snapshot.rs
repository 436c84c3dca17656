//! Takes in a snapshot that another node sends.
//!
//! It goes into a file of its own and is verified as a whole before openraft hears of it: to openraft a snapshot that
//! cannot be installed is the end of the group. Whatever goes wrong before that is answered, and leaves nothing. Meanwhile the
//! sender hears how much is here, and gives up where that does not grow.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use lethe_proto::NodeId;
use openraft::async_runtime::WatchReceiver;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::spawn_blocking;

use super::receive::stopped;
use super::wire::{self, SnapshotAnswer, SnapshotHead};
use crate::peer::{Answers, Error, Refusal};
use crate::shard::machine::{SnapshotFile, SnapshotOf, snapshot_meta};
use crate::shard::replica::Replica;
use crate::shard::shards::Hosted;
use crate::shard::types::{SnapshotMeta, Vote};
use crate::store::snapshot::{Checked, Incoming};
use crate::store::state;

/// Largest snapshot taken, in bytes.
const BYTES_MAX: u64 = 1 << 40;
/// So often does the sender hear how far its snapshot is before it would give up.
const TOLD: u32 = 8;
/// Answers that wait for the sender.
const ANSWERS: usize = 8;

type Messages = BoxStream<'static, Result<Bytes, Error>>;

/// How far a snapshot is.
struct Progress {
    tell: mpsc::Sender<Result<Bytes, Refusal>>,
    /// How long it may make none.
    stall: Duration,
    /// Bytes that are here.
    taken: AtomicU64,
}

/// What came of a transfer.
enum Taken {
    /// All of it is here.
    Whole(Box<Checked>, SnapshotHead),
    /// It is not wanted: this vote is higher than the sender's.
    Outvoted(Vote),
}

/// Takes a snapshot in, in a task of its own. It ends when the sender leaves or the node stops, but not any more while
/// openraft has the snapshot: its file must not go away then.
pub(super) fn receive(
    hosted: Arc<Hosted>,
    replica: Arc<Replica>,
    turn: OwnedSemaphorePermit,
    from: NodeId,
    messages: Messages,
) -> Answers<Refusal> {
    let (tell, answers) = mpsc::channel(ANSWERS);
    let tasks = hosted.tasks.clone();
    let progress = Progress { tell: tell.clone(), stall: hosted.snapshot_stall(), taken: AtomicU64::new(0) };
    tasks.spawn(async move {
        let _turn = turn;
        let mut stop = hosted.stop.subscribe();
        let taken = tokio::select! {
            taken = progress.of(take_in(&replica, from, &progress, messages)) => taken,
            _ = stop.wait_for(|stop| *stop) => Err(stopped("the node stops")),
            () = tell.closed() => return,
        };
        let done = match taken {
            Ok(Taken::Whole(checked, head)) => progress.of(install(&hosted, &replica, *checked, head)).await,
            Ok(Taken::Outvoted(vote)) => Ok(vote),
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = &done {
            tracing::warn!(group = replica.id, %from, %refusal, "a snapshot was not taken in");
        }
        // A sender that does not read its answers must not keep the turn.
        let told = tell.send(done.map(|vote| wire::encode(&SnapshotAnswer::Done(vote))));
        drop(tokio::time::timeout(progress.stall, told).await);
    });
    stream::unfold(answers, |mut answers| async move { Some((answers.recv().await?, answers)) }).boxed()
}

impl Progress {
    /// Works, and tells again and again how far it is.
    async fn of<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(self.stall / TOLD) => {
                    let taken = self.taken.load(Ordering::Relaxed);
                    // If the sender does not read its answers there are enough of these already.
                    drop(self.tell.try_send(Ok(wire::encode(&SnapshotAnswer::Working { taken }))));
                }
            }
        }
    }

    /// What comes next, if it comes in time.
    async fn next(&self, messages: &mut Messages) -> Result<Option<Bytes>, Refusal> {
        let next = tokio::time::timeout(self.stall, messages.next()).await;
        let next = next.map_err(|_| stopped("no more of the snapshot came"))?;
        next.transpose().map_err(|error| stopped(&error.to_string()))
    }
}

async fn take_in(
    replica: &Replica,
    from: NodeId,
    progress: &Progress,
    mut messages: Messages,
) -> Result<Taken, Refusal> {
    let first = progress.next(&mut messages).await?.ok_or_else(|| wire::malformed("it is empty"))?;
    let head: SnapshotHead = wire::decode(&first)?;
    wire::check_leader(from, &head.vote)?;
    let sound = head.meta.last_log_id.is_some_and(|last| last.leader_id <= head.vote.leader_id);
    if !sound || head.bytes > BYTES_MAX {
        return Err(wire::malformed("it is of no position its sender could have, or too large"));
    }
    let vote = replica.raft.metrics().borrow_watched().vote;
    if vote > head.vote {
        return Ok(Taken::Outvoted(vote));
    }
    tracing::info!(group = replica.id, %from, bytes = head.bytes, "taking in a snapshot");
    let (snapshots, group, bytes) = (replica.machine.snapshots().clone(), replica.id, head.bytes);
    let incoming = blocking(move || snapshots.receive(group, bytes).map_err(refused)).await?;
    let incoming = fill(incoming, bytes, progress, messages).await?;
    let checked = check(incoming, head.meta.clone()).await?;
    Ok(Taken::Whole(Box::new(checked), head))
}

/// Hands the snapshot to openraft and waits until it is installed, or found to be older than what is here.
async fn install(hosted: &Hosted, replica: &Replica, checked: Checked, head: SnapshotHead) -> Result<Vote, Refusal> {
    let (vfs, found) = (hosted.vfs.clone(), checked.found().clone());
    let file = SnapshotFile { vfs, found, doubted: Arc::default() };
    let snapshot = SnapshotOf { meta: head.meta, snapshot: file };
    let index = snapshot.meta.last_log_id.map_or(0, |last| last.index);
    let installed = replica.raft.install_full_snapshot(head.vote, snapshot).await;
    drop(checked);
    let vote = installed.map_err(|error| stopped(&error.to_string()))?.vote;
    tracing::info!(group = replica.id, index, "took in a snapshot");
    Ok(vote)
}

async fn fill(
    mut incoming: Incoming,
    bytes: u64,
    progress: &Progress,
    mut messages: Messages,
) -> Result<Incoming, Refusal> {
    while let Some(chunk) = progress.next(&mut messages).await? {
        incoming = blocking(move || {
            incoming.push(&chunk).map_err(refused)?;
            Ok(incoming)
        })
        .await?;
        progress.taken.store(incoming.bytes(), Ordering::Relaxed);
    }
    match incoming.bytes() == bytes {
        true => Ok(incoming),
        false => Err(wire::malformed("it is shorter than announced")),
    }
}

/// Reads all of it, and compares it with what was announced.
async fn check(incoming: Incoming, meta: SnapshotMeta) -> Result<Checked, Refusal> {
    blocking(move || {
        let checked = incoming.check().map_err(refused)?;
        match snapshot_meta(&checked.found().head) {
            Ok(of) if of == meta => Ok(checked),
            _ => Err(wire::malformed("the snapshot is of another position than announced")),
        }
    })
    .await
}

/// What is damaged is the sender's fault, anything else is ours.
fn refused(error: state::Error) -> Refusal {
    match error {
        state::Error::Damaged { .. } => Refusal::Malformed(error.to_string()),
        other => stopped(&other.to_string()),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Refusal> + Send + 'static) -> Result<T, Refusal> {
    spawn_blocking(work).await.map_err(|error| stopped(&error.to_string()))?
}
