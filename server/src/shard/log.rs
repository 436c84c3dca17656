//! openraft's log of one group, in the node's write-ahead log.
//!
//! The write-ahead log makes everything durable in the order it was given, so a completion also covers all earlier
//! ones, which is what openraft expects. A full disk never fails an append, because openraft would take that for the
//! end of the group: the append waits until there is room again, and new proposals are refused meanwhile.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::time::Duration;

use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use super::codec;
use super::types::{Entry, LogId, Types, Vote};
use crate::store::wal::{Error, GroupId, GroupLog, Wal, WalEntry};

/// Entries handed to the log at once, in bytes. One that is larger goes alone.
const REQUEST_BYTES: usize = 1 << 20;
/// How long an append waits before it asks a full log again.
const FULL_RETRY: Duration = Duration::from_millis(50);
/// Entries this far behind the last one are expected on disk and read on a blocking thread.
const NEAR_ENTRIES: u64 = 256;
/// What a reader for a follower gets at once, in bytes.
const READ_BYTES_MAX: u64 = 4 << 20;

/// Log of one group. Clones are handles of the same log.
#[derive(Clone, Debug)]
pub(super) struct Log {
    wal: GroupLog,
}

impl Log {
    pub fn new(wal: GroupLog) -> Self {
        Self { wal }
    }

    /// The last purged and the last log id.
    pub fn state(&self) -> io::Result<(Option<LogId>, Option<LogId>)> {
        let state = self.wal.state();
        let purged = state.purged.map(|(_, log_id)| codec::decode_log_id(&log_id)).transpose()?;
        let last = match state.last {
            Some((index, _)) => self.log_id(index)?,
            None => None,
        };
        Ok((purged, last.max(purged)))
    }

    /// The log id at an index, if the log still has it.
    pub fn log_id(&self, index: u64) -> io::Result<Option<LogId>> {
        let entry = self.wal.read(index..index + 1).map_err(failed)?.pop();
        entry.map(|entry| codec::entry_log_id(&entry)).transpose()
    }

    /// The log of a replica, which begins now if it has not begun. Blocks.
    pub fn create(wal: &Wal, group: u32, incarnation: u64) -> Result<Self, Error> {
        let (tell, told) = std::sync::mpsc::channel();
        let log = wal.create(GroupId(group), incarnation, Box::new(move |outcome| drop(tell.send(outcome))));
        told.recv().map_err(|_| Error::Closed)??;
        Ok(Self::new(log))
    }

    /// Removes everything of a replica, and keeps it from coming back. Blocks.
    pub fn destroy(wal: &Wal, group: u32, incarnation: u64) -> Result<(), Error> {
        let (tell, told) = std::sync::mpsc::channel();
        wal.destroy(GroupId(group), incarnation, Box::new(move |outcome| drop(tell.send(outcome))));
        told.recv().map_err(|_| Error::Closed)?
    }

    async fn read(&self, start: u64, end: u64, bytes_max: u64) -> io::Result<Vec<Entry>> {
        let last = self.wal.state().last.map_or(0, |(index, _)| index);
        let wal = self.wal.clone();
        let read = move || {
            let entries = wal.read_up_to(start..end, bytes_max).map_err(failed)?;
            entries.iter().map(codec::decode_entry).collect()
        };
        match start + NEAR_ENTRIES > last {
            true => read(),
            false => spawn_blocking(read).await.map_err(io::Error::other)?,
        }
    }
}

impl Log {
    /// Hands entries to the log, however long that takes. Failures are told to the callback; without one, to that of
    /// the request behind, which then fails too.
    async fn append_request(&self, entries: Vec<WalEntry>, callback: Option<IOFlushed<Types>>) {
        let waiting = Arc::new(Mutex::new((callback, None)));
        loop {
            let waiting_too = waiting.clone();
            let done = move |outcome: Result<(), Error>| {
                let mut waiting = waiting_too.lock();
                match outcome {
                    Err(full @ Error::Full { .. }) => waiting.1 = Some(full),
                    outcome => {
                        if let Some(callback) = waiting.0.take() {
                            callback.io_completed(outcome.map_err(failed));
                        }
                    }
                }
            };
            self.wal.append(entries.clone(), Box::new(done));
            let Some(full) = waiting.lock().1.take() else { return };
            tracing::warn!(error = %full, "the log is full; appending waits for room");
            tokio::time::sleep(FULL_RETRY).await;
        }
    }
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<R>(&mut self, range: R) -> io::Result<Vec<Entry>>
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let start = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(index) => index + 1,
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX,
        };
        self.read(start, end, u64::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read(start, end, READ_BYTES_MAX).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        self.wal.state().vote.map(|vote| codec::decode_vote(&vote)).transpose()
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let (last_purged_log_id, last_log_id) = self.state()?;
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let vote = codec::encode_vote(vote);
        durable(|done| self.wal.save_vote(vote, done)).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.wal.save_committed(committed.as_ref().map(codec::encode_log_id));
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        self.wal.state().committed.map(|log_id| codec::decode_log_id(&log_id)).transpose()
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut callback = Some(callback);
        let mut entries = entries.into_iter().map(|entry| codec::encode_entry(&entry)).peekable();
        while callback.is_some() {
            let mut bytes = 0;
            let mut request = Vec::new();
            while let Some(entry) = entries.next_if(|entry| bytes == 0 || bytes + entry.bytes.len() <= REQUEST_BYTES) {
                bytes += entry.bytes.len();
                request.push(entry);
            }
            let last = entries.peek().is_none();
            self.append_request(request, if last { callback.take() } else { None }).await;
        }
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        durable(|done| self.wal.truncate_after(last.map(|log_id| log_id.index), done)).await
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        let bytes = codec::encode_log_id(&log_id);
        durable(|done| self.wal.purge(log_id.index, bytes, done)).await
    }
}

/// Waits until a change is durable.
async fn durable(change: impl FnOnce(crate::store::wal::Done)) -> io::Result<()> {
    let (tell, told) = oneshot::channel();
    change(Box::new(move |outcome| drop(tell.send(outcome))));
    told.await.map_err(|_| failed(Error::Closed))?.map_err(failed)
}

fn failed(error: Error) -> io::Error {
    io::Error::other(error)
}
