//! A storage in memory that remembers the batches written to it and can hold calls back until a test lets them go.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::future::BoxFuture;
use lethe_runtime::host::{ListOptions, Storage, StorageError};
use parking_lot::Mutex;

use crate::hold::Holds;

type Records = BTreeMap<String, Bytes>;

/// One write, as text: `put a`, `put a unconfirmed`, `delete a`, `delete all`.
pub type Write = String;

/// Storage of one fake actor.
#[derive(Default)]
pub struct FakeStorage {
    state: Mutex<State>,
    holds: Holds,
}

#[derive(Default)]
struct State {
    records: Records,
    /// What each open transaction would restore: records, and the length of `batch`.
    savepoints: Vec<(Records, usize)>,
    batch: Vec<Write>,
    batches: Vec<Vec<Write>>,
    turns: u64,
}

impl FakeStorage {
    pub fn new(holds: Holds) -> Self {
        Self { state: Mutex::default(), holds }
    }

    /// The implicit transactions so far, each with its writes in order.
    pub fn batches(&self) -> Vec<Vec<Write>> {
        self.state.lock().batches.clone()
    }

    /// How often a turn has ended.
    pub fn turns(&self) -> u64 {
        self.state.lock().turns
    }

    /// Closes the implicit transaction, unless an explicit one is open.
    pub fn turn_ended(&self) {
        let mut state = self.state.lock();
        state.turns += 1;
        if state.savepoints.is_empty() && !state.batch.is_empty() {
            let batch = std::mem::take(&mut state.batch);
            state.batches.push(batch);
        }
    }

    fn write(&self, write: Write, unconfirmed: bool) {
        self.state.lock().batch.push(if unconfirmed { write + " unconfirmed" } else { write });
    }

    fn close(&self, keep: bool) -> Result<(), StorageError> {
        let mut state = self.state.lock();
        let Some((records, writes)) = state.savepoints.pop() else {
            return Err(StorageError { name: "Error", message: "no transaction is open".into() });
        };
        if !keep {
            state.records = records;
            state.batch.truncate(writes);
        }
        Ok(())
    }
}

impl Storage for FakeStorage {
    fn get(&self, names: Vec<String>) -> BoxFuture<'static, Result<Vec<Option<Bytes>>, StorageError>> {
        let state = self.state.lock();
        let found = names.iter().map(|name| state.records.get(name).cloned()).collect();
        self.holds.pass("get", Ok(found))
    }

    fn list(&self, options: ListOptions) -> BoxFuture<'static, Result<Vec<(String, Bytes)>, StorageError>> {
        let state = self.state.lock();
        let wanted = |name: &String| {
            options.start.as_ref().is_none_or(|start| name >= start)
                && options.start_after.as_ref().is_none_or(|after| name > after)
                && options.end.as_ref().is_none_or(|end| name < end)
                && options.prefix.as_ref().is_none_or(|prefix| name.starts_with(prefix))
        };
        let mut found: Vec<_> = state.records.iter().filter(|(name, _)| wanted(name)).collect();
        if options.reverse {
            found.reverse();
        }
        found.truncate(options.limit.unwrap_or(usize::MAX));
        let found = found.into_iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        self.holds.pass("list", Ok(found))
    }

    fn put(&self, records: Vec<(String, Bytes)>, unconfirmed: bool) -> Result<(), StorageError> {
        if records.iter().any(|(name, _)| name == "refused") {
            return Err(StorageError { name: "RangeError", message: "the fake storage refuses this name".into() });
        }
        for (name, value) in records {
            self.write(format!("put {name}"), unconfirmed);
            self.state.lock().records.insert(name, value);
        }
        Ok(())
    }

    fn delete(&self, names: Vec<String>, unconfirmed: bool) -> Result<u64, StorageError> {
        let mut count = 0;
        for name in names {
            if self.state.lock().records.remove(&name).is_some() {
                count += 1;
                self.write(format!("delete {name}"), unconfirmed);
            }
        }
        Ok(count)
    }

    fn delete_all(&self, unconfirmed: bool) -> Result<(), StorageError> {
        self.state.lock().records.clear();
        self.write("delete all".into(), unconfirmed);
        Ok(())
    }

    fn sync(&self) -> BoxFuture<'static, Result<(), StorageError>> {
        self.holds.pass("sync", Ok(()))
    }

    fn begin(&self) -> Result<(), StorageError> {
        let mut state = self.state.lock();
        let savepoint = (state.records.clone(), state.batch.len());
        state.savepoints.push(savepoint);
        Ok(())
    }

    fn commit(&self) -> Result<(), StorageError> {
        self.close(true)
    }

    fn rollback(&self) -> Result<(), StorageError> {
        self.close(false)
    }
}
