//! `ctx.storage` of one instance: the buffer JavaScript sees, and the queue of batches that `committer` writes.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use lethe_proto::ActorId;
use lethe_runtime::host::{ListOptions, Storage, StorageError};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use super::{
    buffer::{Batch, Buffer, Found},
    output_gate::{OutputGate, Ticket},
};
use crate::{shard::Shard, vault::Sealer};

/// Most bytes written and not yet committed, per actor; more is refused.
const UNCOMMITTED_BYTES_MAX: usize = 64 << 20;

/// Held by every read that may go to disk. A batch is committed only after the reads begun before it, so a read never
/// sees a value written after it was asked for.
pub(super) type Reads = Arc<watch::Sender<()>>;

/// A batch on its way to the log.
pub(super) struct Pending {
    pub batch: Batch,
    /// Holds the output gate; none if every write in it was unconfirmed.
    pub ticket: Option<Ticket>,
    /// Ends when all reads begun before the batch was cut have ended.
    pub reads: watch::Receiver<()>,
}

/// Where the records are, and the key they are sealed with.
pub(super) struct Records {
    pub shard: Shard,
    pub actor: ActorId,
    pub incarnation: Uuid,
    pub sealer: Sealer,
}

struct Writes {
    buffer: Buffer,
    reads: Reads,
    uncommitted_bytes: usize,
}

/// Storage of one instance; shared by its host and its committer.
pub(super) struct ActorStorage {
    pub records: Records,
    gate: Arc<OutputGate>,
    read_bytes_max: usize,
    writes: Mutex<Writes>,
    queue: mpsc::UnboundedSender<Pending>,
    /// Number of the last committed batch.
    committed: watch::Sender<u64>,
}

impl ActorStorage {
    /// Storage over records that exist, and the queue its batches come out of.
    pub fn new(
        records: Records,
        names: Vec<String>,
        gate: Arc<OutputGate>,
        read_bytes_max: usize,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Pending>) {
        let (queue, batches) = mpsc::unbounded_channel();
        let writes = Writes { buffer: Buffer::new(names), reads: new_reads(), uncommitted_bytes: 0 };
        let committed = watch::Sender::new(0);
        (Arc::new(Self { records, gate, read_bytes_max, writes: Mutex::new(writes), queue, committed }), batches)
    }

    /// Closes the implicit transaction: what was written since the last cut goes to the committer.
    pub fn cut(&self) {
        let mut writes = self.writes.lock();
        let Some(batch) = writes.buffer.cut() else { return };
        if self.gate.broken().is_some() {
            return;
        }
        let reads = std::mem::replace(&mut writes.reads, new_reads()).subscribe();
        writes.uncommitted_bytes += batch.bytes();
        let ticket = batch.confirmed.then(|| self.gate.lock());
        // A committer that is gone has broken the gate, and dropping the ticket says the same.
        let _ = self.queue.send(Pending { batch, ticket, reads });
    }

    /// Batches up to `number`, of `bytes` together, are committed.
    pub fn committed(&self, number: u64, bytes: usize) {
        let mut writes = self.writes.lock();
        writes.buffer.committed(number);
        writes.uncommitted_bytes -= bytes;
        self.committed.send_replace(number);
    }

    /// Number of the last batch that has a write in it, cut or not. It grows when something is written in a later turn.
    pub fn last_written(&self) -> u64 {
        self.writes.lock().buffer.last_written()
    }

    /// Whether nothing waits to be committed, confirmed or not.
    pub fn is_settled(&self) -> bool {
        let writes = self.writes.lock();
        writes.uncommitted_bytes == 0 && *self.committed.borrow() == writes.buffer.last_written()
    }

    /// Room for a write of so many bytes. A broken gate refuses it under the same lock under which `last_written` counts:
    /// who finds the gate broken and then reads that number knows of every write there will ever be.
    fn writable(&self, bytes: usize) -> Result<MutexGuard<'_, Writes>, StorageError> {
        let writes = self.writes.lock();
        if let Some(reason) = self.gate.broken() {
            return Err(StorageError { name: "Error", message: reason.error.message });
        }
        if writes.uncommitted_bytes + bytes <= UNCOMMITTED_BYTES_MAX {
            return Ok(writes);
        }
        let message = format!(
            "more than {} MiB of writes wait to be committed; await ctx.storage.sync() before writing more",
            UNCOMMITTED_BYTES_MAX >> 20
        );
        Err(StorageError { name: "Error", message })
    }

    /// Values of `names` that are now stored, reading from disk what is not in memory. `found` was taken under the lock.
    fn fetch(self: Arc<Self>, found: Vec<(String, Found)>, reads: Reads) -> ValuesFuture {
        Box::pin(async move {
            let mut values = Vec::with_capacity(found.len());
            let mut bytes = 0;
            for (name, found) in found {
                let value = match found {
                    Found::Absent => None,
                    Found::Cached(value) => Some(value),
                    Found::OnDisk { written } => Some(self.load(&name, written).await?),
                };
                bytes += name.len() + value.as_ref().map_or(0, Bytes::len);
                if bytes > self.read_bytes_max {
                    return Err(too_much(self.read_bytes_max));
                }
                values.push((name, value));
            }
            drop(reads);
            Ok(values)
        })
    }

    async fn load(&self, name: &str, written: u64) -> Result<Bytes, StorageError> {
        let Records { shard, actor, incarnation, sealer } = &self.records;
        let id = sealer.record_id(name.as_bytes());
        let unreadable =
            |what: String| StorageError { name: "Error", message: format!("a stored value could not be read: {what}") };
        let sealed = shard.value(*actor, *incarnation, id).await.map_err(|error| unreadable(error.to_string()))?;
        let sealed = sealed.ok_or_else(|| unreadable("its record is missing".into()))?;
        let value = sealer.open_value(id, &sealed).map_err(|error| unreadable(error.to_string()))?;
        let value = Bytes::from(value);
        self.writes.lock().buffer.loaded(name, written, value.clone());
        Ok(value)
    }
}

type ValuesFuture = BoxFuture<'static, Result<Vec<(String, Option<Bytes>)>, StorageError>>;

fn too_much(bytes_max: usize) -> StorageError {
    let message = format!("one read gives at most {} MiB; ask for less at a time, with `limit`", bytes_max >> 20);
    StorageError { name: "RangeError", message }
}

fn new_reads() -> Reads {
    Arc::new(watch::Sender::new(()))
}

/// The `Storage` an isolate gets: the same storage, as a handle its futures can keep.
pub(super) struct StorageHandle(pub Arc<ActorStorage>);

impl Storage for StorageHandle {
    fn get(&self, names: Vec<String>) -> BoxFuture<'static, Result<Vec<Option<Bytes>>, StorageError>> {
        let (found, reads) = {
            let writes = self.0.writes.lock();
            let look = |name: String| (writes.buffer.get(&name), name);
            let found = names.into_iter().map(look).map(|(found, name)| (name, found)).collect();
            (found, writes.reads.clone())
        };
        let values = self.0.clone().fetch(found, reads);
        Box::pin(async move { Ok(values.await?.into_iter().map(|(_, value)| value).collect()) })
    }

    fn list(&self, options: ListOptions) -> BoxFuture<'static, Result<Vec<(String, Bytes)>, StorageError>> {
        let (found, reads) = {
            let writes = self.0.writes.lock();
            let names = writes.buffer.list(&options).into_iter();
            let found = names.map(|name| (writes.buffer.get(&name), name)).map(|(found, name)| (name, found)).collect();
            (found, writes.reads.clone())
        };
        let values = self.0.clone().fetch(found, reads);
        Box::pin(async move { Ok(values.await?.into_iter().filter_map(|(name, v)| v.map(|v| (name, v))).collect()) })
    }

    fn put(&self, records: Vec<(String, Bytes)>, unconfirmed: bool) -> Result<(), StorageError> {
        let bytes = records.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.0.writable(bytes)?.buffer.put(records, unconfirmed)
    }

    fn delete(&self, names: Vec<String>, unconfirmed: bool) -> Result<u64, StorageError> {
        let bytes = names.iter().map(String::len).sum();
        self.0.writable(bytes)?.buffer.delete(names, unconfirmed)
    }

    fn delete_all(&self, unconfirmed: bool) -> Result<(), StorageError> {
        self.0.writable(0)?.buffer.delete_all(unconfirmed);
        Ok(())
    }

    fn sync(&self) -> BoxFuture<'static, Result<(), StorageError>> {
        let storage = self.0.clone();
        let last = storage.writes.lock().buffer.last_closing();
        Box::pin(async move {
            let mut committed = storage.committed.subscribe();
            tokio::select! {
                _ = committed.wait_for(|number| *number >= last) => Ok(()),
                reason = storage.gate.until_broken() => {
                    Err(StorageError { name: "Error", message: reason.error.message })
                }
            }
        })
    }

    fn begin(&self) -> Result<(), StorageError> {
        self.0.writes.lock().buffer.begin()
    }

    fn commit(&self) -> Result<(), StorageError> {
        self.0.writes.lock().buffer.commit()
    }

    fn rollback(&self) -> Result<(), StorageError> {
        self.0.writes.lock().buffer.rollback()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::mpsc, thread};

    use serde_json::json;

    use super::*;
    use crate::actor::{
        Config, error,
        tests::rig::{Rig, eventually},
    };

    /// A call that ends meanwhile is told that it did nothing, because nothing was written when the gate broke.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_write_that_waits_while_the_gate_breaks_is_refused() {
        let rig = Rig::start(Config::default()).await;
        rig.call("a", "put", json!(["k", 1])).await.unwrap();
        let live = rig.live_actor("a");
        let handle = StorageHandle(live.storage.clone());
        let before = live.storage.last_written();
        let writes = live.storage.writes.lock();
        let (tell, thread) = mpsc::channel();
        let writer = thread::spawn(move || {
            tell.send(fs::read_link("/proc/thread-self").unwrap()).unwrap();
            handle.put(vec![("late".to_owned(), Bytes::from_static(b"x"))], false)
        });
        let stat = std::path::Path::new("/proc").join(thread.recv().unwrap()).join("stat");
        // The lock is held by this thread, which must not leave it: so it is waited for here and not in a task.
        let sleeps = || fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") S "));
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !sleeps() {
            assert!(std::time::Instant::now() < deadline, "the writer does not wait");
            thread::yield_now();
        }
        live.gate.fail(error::reset("on purpose"));
        drop(writes);
        assert!(writer.join().unwrap().is_err());
        assert_eq!(live.storage.last_written(), before);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_written_before_the_gate_broke_is_not_queued_after_it() {
        let rig = Rig::start(Config::default()).await;
        rig.call("a", "put", json!(["k", 1])).await.unwrap();
        let live = rig.live_actor("a");
        StorageHandle(live.storage.clone()).put(vec![("k".to_owned(), Bytes::from_static(b"x"))], false).unwrap();
        live.gate.fail(error::reset("on purpose"));
        let cut_before = live.gate.mark();
        live.storage.cut();
        assert_eq!(live.gate.mark(), cut_before);
        eventually("the committer to end", || live.storage.queue.is_closed()).await;
    }
}
