//! Takes in a snapshot that another node sends.
//!
//! It goes into a file of its own and is verified as a whole before openraft hears of it: to openraft a snapshot that
//! cannot be installed is the end of the group. Whatever goes wrong before that is answered, and leaves nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use lethe_proto::NodeId;
use openraft::async_runtime::WatchReceiver;
use openraft::raft::SnapshotResponse;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::spawn_blocking;

use super::receive::stopped;
use super::wire::{self, SnapshotAnswer, SnapshotHead};
use crate::peer::{Answers, Error, Refusal};
use crate::shard::machine::{SnapshotFile, SnapshotOf, snapshot_meta};
use crate::shard::replica::Replica;
use crate::shard::shards::Hosted;
use crate::store::snapshot::{Found, Reader};
use crate::store::vfs::{File, Vfs};

/// Largest snapshot taken, in bytes.
const BYTES_MAX: u64 = 1 << 40;
/// How often the sender hears that its snapshot is still being taken in.
const WORKING: Duration = Duration::from_secs(1);
/// Answers that wait for the sender.
const ANSWERS: usize = 8;

type Messages = BoxStream<'static, Result<Bytes, Error>>;

/// A file that is being filled. It is gone when this is.
struct Incoming {
    vfs: Arc<dyn Vfs>,
    path: PathBuf,
    file: Arc<dyn File>,
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Err(error) = self.vfs.remove(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "a snapshot that was taken in cannot be removed");
        }
    }
}

/// Takes a snapshot in, in a task of its own that ends when the sender leaves or the node stops.
pub(super) fn receive(
    hosted: Arc<Hosted>,
    replica: Arc<Replica>,
    turn: OwnedSemaphorePermit,
    from: NodeId,
    messages: Messages,
) -> Answers<Refusal> {
    let (tell, answers) = mpsc::channel(ANSWERS);
    let tasks = hosted.tasks.clone();
    tasks.spawn(async move {
        let _turn = turn;
        let mut stop = hosted.stop.subscribe();
        let work = take_in(&hosted, &replica, from, messages);
        tokio::pin!(work);
        loop {
            let done = tokio::select! {
                done = &mut work => done,
                _ = stop.wait_for(|stop| *stop) => Err(stopped("the node stops")),
                () = tell.closed() => return,
                () = tokio::time::sleep(WORKING) => {
                    // If the sender does not read its answers there are enough of these already.
                    drop(tell.try_send(Ok(wire::encode(&SnapshotAnswer::Working))));
                    continue;
                }
            };
            let answer = done.map(|response| wire::encode(&SnapshotAnswer::Done(response.vote)));
            if let Err(refusal) = &answer {
                tracing::warn!(group = replica.id, %from, %refusal, "a snapshot was not taken in");
            }
            drop(tell.send(answer).await);
            return;
        }
    });
    stream::unfold(answers, |mut answers| async move { Some((answers.recv().await?, answers)) }).boxed()
}

async fn take_in(
    hosted: &Hosted,
    replica: &Replica,
    from: NodeId,
    mut messages: Messages,
) -> Result<SnapshotResponse<crate::shard::types::Types>, Refusal> {
    let first = messages.next().await.ok_or_else(|| wire::malformed("it is empty"))?;
    let head: SnapshotHead = wire::decode(&first.map_err(|error| stopped(&error.to_string()))?)?;
    wire::check_leader(from, &head.vote)?;
    let sound = head.meta.last_log_id.is_some_and(|last| last.leader_id <= head.vote.leader_id);
    if !sound || head.bytes > BYTES_MAX {
        return Err(wire::malformed("it is of no position its sender could have, or too large"));
    }
    let vote = replica.raft.metrics().borrow_watched().vote;
    if vote > head.vote {
        return Ok(SnapshotResponse { vote });
    }
    tracing::info!(group = replica.id, %from, bytes = head.bytes, "taking in a snapshot");
    let incoming = begin(hosted, replica.id).await?;
    fill(&incoming, head.bytes, messages).await?;
    let (found, incoming) = verify(incoming, replica.id, &head).await?;
    let file = SnapshotFile { vfs: incoming.vfs.clone(), found };
    let snapshot = SnapshotOf { meta: head.meta, snapshot: file };
    let installed = replica.raft.install_full_snapshot(head.vote, snapshot).await;
    installed.map_err(|error| stopped(&error.to_string()))
}

async fn begin(hosted: &Hosted, group: u32) -> Result<Incoming, Refusal> {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    // Names that end like this are removed when the node starts.
    let path = hosted.snapshots_dir().join(format!("incoming-{group:08x}-{serial}.tmp"));
    let vfs = hosted.vfs.clone();
    blocking(move || {
        let file = vfs.create(&path).map_err(|error| stopped(&error.to_string()))?;
        Ok(Incoming { vfs, path, file })
    })
    .await
}

async fn fill(incoming: &Incoming, bytes: u64, mut messages: Messages) -> Result<(), Refusal> {
    let mut at = 0;
    while let Some(chunk) = messages.next().await {
        let chunk = chunk.map_err(|error| stopped(&error.to_string()))?;
        let len = chunk.len() as u64;
        if len > bytes - at {
            return Err(wire::malformed("it is longer than announced"));
        }
        let file = incoming.file.clone();
        blocking(move || file.write_all_at(&chunk, at).map_err(|error| stopped(&error.to_string()))).await?;
        at += len;
    }
    match at == bytes {
        true => Ok(()),
        false => Err(wire::malformed("it is shorter than announced")),
    }
}

/// Reads all of it, and compares it with what was announced.
async fn verify(incoming: Incoming, group: u32, announced: &SnapshotHead) -> Result<(Found, Incoming), Refusal> {
    let (meta, bytes) = (announced.meta.clone(), announced.bytes);
    blocking(move || {
        let verified = Reader::open(&*incoming.vfs, &incoming.path).and_then(Reader::verify);
        let head = verified.map_err(|error| Refusal::Malformed(error.to_string()))?;
        let of = snapshot_meta(&head).map_err(|error| Refusal::Malformed(error.to_string()))?;
        if head.group != group || of != meta {
            return Err(wire::malformed("the snapshot is of another group or position than announced"));
        }
        Ok((Found { path: incoming.path.clone(), head, bytes }, incoming))
    })
    .await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Refusal> + Send + 'static) -> Result<T, Refusal> {
    spawn_blocking(work).await.map_err(|error| stopped(&error.to_string()))?
}
