//! Sends a snapshot file: what it is of, then its bytes in chunks, and waits until it is installed over there.
//!
//! Only what the other node says it has taken in is progress. A transfer without any gives its turn to another group's.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use lethe_proto::NodeId;
use openraft::error::RPCError;
use openraft::raft::SnapshotResponse;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::wire::{self, SnapshotAnswer, SnapshotHead};
use super::{Links, lost, rpc_error};
use crate::peer::{Error, Head, Refusal};
use crate::shard::machine::{SnapshotFile, SnapshotOf};
use crate::shard::types::{Types, Vote};
use crate::store::vfs::File;

/// Bytes of a chunk.
const CHUNK_BYTES: u64 = 256 << 10;
/// A node checks and installs at least so many bytes in a second.
const INSTALL_BYTES: u64 = 4 << 20;

/// Sends a snapshot. Waits its turn first: a node sends few at once.
pub(super) async fn snapshot(
    links: &Links,
    to: NodeId,
    head: Head,
    vote: Vote,
    snapshot: SnapshotOf,
) -> Result<SnapshotResponse<Types>, RPCError<Types>> {
    let Ok(_turn) = links.sends.acquire().await else { return Err(lost("the node stops")) };
    let SnapshotOf { meta, snapshot: file } = snapshot;
    let doubted = file.doubted.clone();
    let refused = |error| {
        if matches!(error, Error::Refused(Refusal::Malformed(_))) {
            doubted.store(true, Ordering::Relaxed);
        }
        rpc_error(error)
    };
    let (file, bytes) = open(file).await?;
    tracing::info!(group = head.group, %to, bytes, "sending a snapshot");
    let first = wire::encode(&SnapshotHead { vote, meta, bytes });
    let chunks = stream::once(std::future::ready(first)).chain(chunks(file, bytes)).boxed();
    let mut answers = links.transport.stream(to, head, chunks).await.map_err(rpc_error)?;
    let (mut had, mut until) = (0, Instant::now() + links.snapshot_stall);
    loop {
        let Ok(answer) = tokio::time::timeout_at(until, answers.next()).await else {
            return Err(lost("a snapshot made no progress"));
        };
        let answer = answer.ok_or_else(|| lost("the stream of a snapshot ended without an answer"))?;
        match wire::decode(&answer.map_err(refused)?).map_err(|refusal| lost(&refusal.to_string()))? {
            SnapshotAnswer::Working { taken } if taken > had => {
                had = taken;
                let installing = Duration::from_secs(if taken < bytes { 0 } else { bytes / INSTALL_BYTES });
                until = Instant::now() + links.snapshot_stall + installing;
            }
            SnapshotAnswer::Working { .. } => {}
            SnapshotAnswer::Done(vote) => return Ok(SnapshotResponse { vote }),
        }
    }
}

async fn open(file: SnapshotFile) -> Result<(Arc<dyn File>, u64), RPCError<Types>> {
    let opening = spawn_blocking(move || {
        let file = file.vfs.open(&file.found.path)?;
        let bytes = file.size()?;
        Ok::<_, std::io::Error>((file, bytes))
    });
    // A newer snapshot may have taken this one's place by now; the next attempt gets that one.
    match opening.await {
        Ok(Ok(open)) => Ok(open),
        Ok(Err(error)) => Err(lost(&format!("a snapshot cannot be opened: {error}"))),
        Err(error) => Err(lost(&error.to_string())),
    }
}

/// The file's bytes. A part that cannot be read ends the stream early, and the receiver then refuses what it has.
fn chunks(file: Arc<dyn File>, bytes: u64) -> BoxStream<'static, Bytes> {
    let chunks = stream::unfold(0, move |at| {
        let file = file.clone();
        async move {
            if at >= bytes {
                return None;
            }
            let len = CHUNK_BYTES.min(bytes - at);
            let reading = spawn_blocking(move || {
                let mut chunk = vec![0; len as usize];
                file.read_exact_at(&mut chunk, at).map(|()| chunk)
            });
            match reading.await {
                Ok(Ok(chunk)) => Some((Bytes::from(chunk), at + len)),
                Ok(Err(error)) => {
                    tracing::error!(%error, "a snapshot that is being sent cannot be read");
                    None
                }
                Err(_) => None,
            }
        }
    });
    chunks.boxed()
}
