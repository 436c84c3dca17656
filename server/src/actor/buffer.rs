//! Storage buffer: what an actor has stored, as its JavaScript sees it, ahead of what is committed.
//!
//! Reads see every write at once. Writes gather in one open batch, which `cut` takes when a turn ends; while an explicit
//! transaction is open nothing is cut, and `rollback` undoes what was written since its `begin`. Names are all in memory;
//! values are kept while they are not committed, and as a bounded cache afterwards.

use std::{
    collections::BTreeMap,
    mem,
    ops::Bound::{self, Excluded, Included, Unbounded},
};

use bytes::Bytes;
use lethe_runtime::host::{ListOptions, StorageError};

/// Most bytes one batch may hold: names, values, and what sealing adds to them.
pub(super) const BATCH_BYTES_MAX: usize = 12 << 20;
/// What sealing and framing add to a record, at most.
const RECORD_OVERHEAD_BYTES: usize = 128;
/// Most bytes of committed values kept in memory per actor.
const CACHE_BYTES_MAX: usize = 2 << 20;
/// Deepest nesting of explicit transactions.
const TRANSACTIONS_MAX: usize = 64;

#[derive(Clone)]
struct Slot {
    /// The value if it is in memory; it always is while its batch is not committed.
    value: Option<Bytes>,
    /// Number of the batch that wrote it last; 0 if it was there at activation.
    written: u64,
}

/// Writes that become visible together, or never. `clear` comes before `writes`.
#[derive(Clone, Default)]
pub(super) struct Batch {
    /// Batches of one instance are numbered from 1.
    pub number: u64,
    /// Everything stored earlier is removed first.
    pub clear: bool,
    /// The value, or `None` for a removal, of each name.
    pub writes: BTreeMap<String, Option<Bytes>>,
    /// Whether anything in it must hold the output gate.
    pub confirmed: bool,
    bytes: usize,
}

impl Batch {
    /// Bytes it takes in the log, at most.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn is_empty(&self) -> bool {
        !self.clear && self.writes.is_empty()
    }

    fn write(&mut self, name: String, value: Option<Bytes>) {
        self.bytes += write_bytes(&name, value.as_ref());
        let bare = write_bytes(&name, None);
        if let Some(old) = self.writes.insert(name, value) {
            self.bytes -= bare + old.map_or(0, |value| value.len());
        }
    }

    fn restore(&mut self, name: String, write: Option<Option<Bytes>>) {
        match write {
            Some(value) => self.write(name, value),
            None => {
                if let Some(value) = self.writes.remove(&name) {
                    self.bytes -= write_bytes(&name, value.as_ref());
                }
            }
        }
    }
}

/// One step of a rollback.
enum Undo {
    Write { name: String, slot: Option<Slot>, write: Option<Option<Bytes>> },
    Clear { records: BTreeMap<String, Slot>, batch: Batch },
}

/// Where a value is.
pub(super) enum Found {
    /// Nothing is stored under this name.
    Absent,
    /// In memory.
    Cached(Bytes),
    /// Committed and on disk; `written` is to be given back to `loaded`.
    OnDisk {
        /// Number of the batch that wrote it.
        written: u64,
    },
}

/// See the module's documentation.
pub(super) struct Buffer {
    records: BTreeMap<String, Slot>,
    batch: Batch,
    undo: Vec<Vec<Undo>>,
    committed: u64,
    cached_bytes: usize,
}

impl Buffer {
    /// A buffer over what is stored already.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        let records = names.into_iter().map(|name| (name, Slot { value: None, written: 0 })).collect();
        let batch = Batch { number: 1, ..Batch::default() };
        Self { records, batch, undo: Vec::new(), committed: 0, cached_bytes: 0 }
    }

    /// Where the value of `name` is.
    pub fn get(&self, name: &str) -> Found {
        match self.records.get(name) {
            None => Found::Absent,
            Some(Slot { value: Some(value), .. }) => Found::Cached(value.clone()),
            Some(Slot { value: None, written }) => Found::OnDisk { written: *written },
        }
    }

    /// Takes a value that was read from disk, unless the name was written in between.
    pub fn loaded(&mut self, name: &str, written: u64, value: Bytes) {
        if let Some(slot) = self.records.get_mut(name).filter(|slot| slot.written == written && slot.value.is_none()) {
            self.cached_bytes += value.len();
            slot.value = Some(value);
            self.shrink();
        }
    }

    /// Names in the order and range asked for.
    pub fn list(&self, options: &ListOptions) -> Vec<String> {
        let Some(bounds) = bounds(options) else { return Vec::new() };
        let prefix = options.prefix.as_deref().unwrap_or("");
        let names = self.records.range::<str, _>(bounds).map(|(name, _)| name).filter(|name| name.starts_with(prefix));
        let limit = options.limit.unwrap_or(usize::MAX);
        match options.reverse {
            false => names.take(limit).cloned().collect(),
            true => names.rev().take(limit).cloned().collect(),
        }
    }

    /// Writes all of `records`, or none if they would make the batch too large.
    pub fn put(&mut self, records: Vec<(String, Bytes)>, unconfirmed: bool) -> Result<(), StorageError> {
        self.admit(records.iter().map(|(name, value)| write_bytes(name, Some(value))).sum())?;
        for (name, value) in records {
            self.write(name, Some(value));
        }
        self.batch.confirmed |= !unconfirmed;
        Ok(())
    }

    /// Removes `names`; returns how many were there.
    pub fn delete(&mut self, names: Vec<String>, unconfirmed: bool) -> Result<u64, StorageError> {
        self.admit(names.iter().map(|name| write_bytes(name, None)).sum())?;
        let mut removed = 0;
        for name in names {
            if self.records.contains_key(&name) {
                self.write(name, None);
                removed += 1;
            }
        }
        self.batch.confirmed |= removed > 0 && !unconfirmed;
        Ok(removed)
    }

    /// Removes everything.
    pub fn delete_all(&mut self, unconfirmed: bool) {
        let number = self.batch.number;
        let confirmed = self.batch.confirmed || !unconfirmed;
        let batch = mem::replace(&mut self.batch, Batch { number, clear: true, confirmed, ..Batch::default() });
        let records = mem::take(&mut self.records);
        self.cached_bytes = 0;
        if let Some(undo) = self.undo.last_mut() {
            undo.push(Undo::Clear { records, batch });
        }
    }

    /// Opens a transaction inside those that are open.
    pub fn begin(&mut self) -> Result<(), StorageError> {
        if self.undo.len() >= TRANSACTIONS_MAX {
            let message = format!("transactions are nested more than {TRANSACTIONS_MAX} deep");
            return Err(StorageError { name: "Error", message });
        }
        self.undo.push(Vec::new());
        Ok(())
    }

    /// Closes the innermost transaction and keeps its writes.
    pub fn commit(&mut self) -> Result<(), StorageError> {
        let steps = self.undo.pop().ok_or_else(no_transaction)?;
        if let Some(outer) = self.undo.last_mut() {
            outer.extend(steps);
        }
        Ok(())
    }

    /// Closes the innermost transaction and undoes its writes.
    pub fn rollback(&mut self) -> Result<(), StorageError> {
        let steps = self.undo.pop().ok_or_else(no_transaction)?;
        for step in steps.into_iter().rev() {
            match step {
                Undo::Write { name, slot, write } => {
                    self.set_slot(&name, slot);
                    self.batch.restore(name, write);
                }
                Undo::Clear { records, batch } => {
                    self.cached_bytes = records.values().filter_map(|slot| slot.value.as_ref()).map(Bytes::len).sum();
                    self.records = records;
                    self.batch = batch;
                }
            }
        }
        Ok(())
    }

    /// Takes the open batch to be committed; `None` if it is empty or a transaction is open.
    pub fn cut(&mut self) -> Option<Batch> {
        if !self.undo.is_empty() || self.batch.is_empty() {
            return None;
        }
        let next = Batch { number: self.batch.number + 1, ..Batch::default() };
        Some(mem::replace(&mut self.batch, next))
    }

    /// Number of the newest batch that holds a write; 0 before the first.
    pub fn last_written(&self) -> u64 {
        if self.batch.is_empty() { self.batch.number - 1 } else { self.batch.number }
    }

    /// Number of the newest batch that is cut when the turn ends. An explicit transaction that is open keeps its batch
    /// open, so nobody may wait for that one.
    pub fn last_closing(&self) -> u64 {
        if self.undo.is_empty() { self.last_written() } else { self.batch.number - 1 }
    }

    /// All batches up to `number` are committed and can be read from disk.
    pub fn committed(&mut self, number: u64) {
        self.committed = number;
        self.shrink();
    }

    fn admit(&self, bytes: usize) -> Result<(), StorageError> {
        if self.batch.bytes + bytes <= BATCH_BYTES_MAX {
            return Ok(());
        }
        let message = format!(
            "writes without an await between them are committed together and may hold at most {} MiB; \
             await something between them to commit what is written so far",
            BATCH_BYTES_MAX >> 20
        );
        Err(StorageError { name: "RangeError", message })
    }

    fn write(&mut self, name: String, value: Option<Bytes>) {
        let slot = value.clone().map(|value| Slot { value: Some(value), written: self.batch.number });
        let old_slot = self.set_slot(&name, slot);
        if let Some(undo) = self.undo.last_mut() {
            let write = self.batch.writes.get(&name).cloned();
            undo.push(Undo::Write { name: name.clone(), slot: old_slot, write });
        }
        self.batch.write(name, value);
    }

    fn set_slot(&mut self, name: &str, slot: Option<Slot>) -> Option<Slot> {
        let bytes = |slot: &Option<Slot>| slot.as_ref().and_then(|slot| slot.value.as_ref()).map_or(0, Bytes::len);
        self.cached_bytes += bytes(&slot);
        let old = match slot {
            Some(slot) => self.records.insert(name.to_owned(), slot),
            None => self.records.remove(name),
        };
        self.cached_bytes -= bytes(&old);
        old
    }

    /// Forgets committed values when there are too many of them. Rolling back must find every value it undoes, so
    /// nothing is forgotten while a transaction is open.
    fn shrink(&mut self) {
        if self.cached_bytes <= CACHE_BYTES_MAX || !self.undo.is_empty() {
            return;
        }
        for slot in self.records.values_mut().filter(|slot| slot.written <= self.committed) {
            self.cached_bytes -= slot.value.take().map_or(0, |value| value.len());
        }
    }
}

fn write_bytes(name: &str, value: Option<&Bytes>) -> usize {
    RECORD_OVERHEAD_BYTES + name.len() + value.map_or(0, Bytes::len)
}

fn no_transaction() -> StorageError {
    StorageError { name: "Error", message: "no transaction is open".into() }
}

/// The range of names to look at; `None` if it is empty.
fn bounds(options: &ListOptions) -> Option<(Bound<&str>, Bound<&str>)> {
    let prefix = options.prefix.as_deref().unwrap_or("");
    let start = match (&options.start, &options.start_after) {
        (_, Some(after)) if after.as_str() >= prefix => Excluded(after.as_str()),
        (Some(start), _) if start.as_str() >= prefix => Included(start.as_str()),
        _ => Included(prefix),
    };
    let end = options.end.as_deref().map_or(Unbounded, Excluded);
    match (start, end) {
        (Included(start), Excluded(end)) if start >= end => None,
        (Excluded(start), Excluded(end)) if start >= end => None,
        _ => Some((start, end)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(buffer: &mut Buffer, name: &str, value: &str) {
        buffer.put(vec![(name.into(), Bytes::copy_from_slice(value.as_bytes()))], false).unwrap();
    }

    fn text(buffer: &Buffer, name: &str) -> Option<String> {
        match buffer.get(name) {
            Found::Absent => None,
            Found::Cached(value) => Some(String::from_utf8(value.to_vec()).unwrap()),
            Found::OnDisk { .. } => Some("(on disk)".into()),
        }
    }

    fn list(buffer: &Buffer, options: ListOptions) -> Vec<String> {
        buffer.list(&options)
    }

    #[test]
    fn the_batch_of_an_open_transaction_is_not_one_to_wait_for() {
        let mut buffer = Buffer::new([]);
        put(&mut buffer, "a", "1");
        assert_eq!(buffer.last_closing(), 1);
        assert_eq!(buffer.cut().map(|batch| batch.number), Some(1));
        buffer.begin().unwrap();
        put(&mut buffer, "b", "2");
        assert_eq!((buffer.last_closing(), buffer.last_written()), (1, 2));
        buffer.commit().unwrap();
        assert_eq!(buffer.last_closing(), 2);
    }

    #[test]
    fn reads_see_writes_that_are_not_committed() {
        let mut buffer = Buffer::new(["old".to_owned()]);
        put(&mut buffer, "a", "1");
        assert_eq!(buffer.delete(vec!["old".into(), "missing".into()], false).unwrap(), 1);
        assert_eq!((text(&buffer, "a"), text(&buffer, "old")), (Some("1".into()), None));
    }

    #[test]
    fn writes_of_one_turn_are_one_batch_and_later_writes_win() {
        let mut buffer = Buffer::new([]);
        put(&mut buffer, "a", "1");
        put(&mut buffer, "b", "2");
        put(&mut buffer, "a", "3");
        let batch = buffer.cut().unwrap();
        let writes: Vec<_> = batch.writes.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        assert_eq!(writes, [("a", Some(&b"3"[..])), ("b", Some(&b"2"[..]))]);
        assert_eq!((batch.number, batch.bytes()), (1, 4 + 2 * RECORD_OVERHEAD_BYTES));
        assert!(buffer.cut().is_none());
    }

    #[test]
    fn nothing_is_cut_while_a_transaction_is_open() {
        let mut buffer = Buffer::new([]);
        buffer.begin().unwrap();
        put(&mut buffer, "a", "1");
        assert!(buffer.cut().is_none());
        buffer.commit().unwrap();
        assert!(buffer.cut().is_some());
    }

    #[test]
    fn rollback_restores_records_and_batch() {
        let mut buffer = Buffer::new(["disk".to_owned()]);
        put(&mut buffer, "a", "1");
        buffer.begin().unwrap();
        put(&mut buffer, "a", "2");
        buffer.begin().unwrap();
        buffer.delete(vec!["disk".into()], false).unwrap();
        buffer.delete_all(false);
        put(&mut buffer, "b", "3");
        buffer.commit().unwrap();
        assert_eq!((text(&buffer, "a"), text(&buffer, "b")), (None, Some("3".into())));
        buffer.rollback().unwrap();
        let seen = (text(&buffer, "a"), text(&buffer, "b"), text(&buffer, "disk"));
        assert_eq!(seen, (Some("1".into()), None, Some("(on disk)".into())));
        let batch = buffer.cut().unwrap();
        assert_eq!((batch.clear, batch.writes.len(), batch.bytes()), (false, 1, 2 + RECORD_OVERHEAD_BYTES));
    }

    #[test]
    fn delete_all_comes_before_later_writes_of_its_batch() {
        let mut buffer = Buffer::new(["x".to_owned()]);
        put(&mut buffer, "a", "1");
        buffer.delete_all(false);
        put(&mut buffer, "b", "2");
        let batch = buffer.cut().unwrap();
        assert!(batch.clear);
        assert_eq!(batch.writes.keys().collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn a_value_loaded_late_does_not_replace_a_newer_one() {
        let mut buffer = Buffer::new(["a".to_owned()]);
        let Found::OnDisk { written } = buffer.get("a") else { panic!("must be on disk") };
        put(&mut buffer, "a", "new");
        buffer.loaded("a", written, Bytes::from_static(b"old"));
        assert_eq!(text(&buffer, "a"), Some("new".into()));
    }

    #[test]
    fn committed_values_beyond_the_cache_leave_memory_and_others_stay() {
        let mut buffer = Buffer::new([]);
        let value = "v".repeat(100_000);
        for i in 0..30 {
            put(&mut buffer, &format!("k{i}"), &value);
        }
        let first = buffer.cut().unwrap();
        put(&mut buffer, "pending", "p");
        buffer.committed(first.number);
        assert_eq!(text(&buffer, "k7"), Some("(on disk)".into()));
        assert_eq!(text(&buffer, "pending"), Some("p".into()));
    }

    #[test]
    fn a_batch_that_grows_too_large_is_refused_whole() {
        let mut buffer = Buffer::new([]);
        let half = Bytes::from(vec![0; BATCH_BYTES_MAX / 2 - 1000]);
        buffer.put(vec![("a".into(), half.clone())], false).unwrap();
        let error = buffer.put(vec![("b".into(), Bytes::new()), ("c".into(), half.clone()), ("d".into(), half)], false);
        assert!(error.unwrap_err().message.contains("12 MiB"));
        assert_eq!(list(&buffer, ListOptions::default()), ["a"]);
    }

    #[test]
    fn lists_respect_bounds_prefix_order_and_limit() {
        let names = ["a", "b1", "b2", "b3", "c", "é"].map(str::to_owned);
        let buffer = Buffer::new(names);
        let of = |options| list(&buffer, options);
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(of(ListOptions { prefix: some("b"), ..Default::default() }), ["b1", "b2", "b3"]);
        assert_eq!(
            of(ListOptions { prefix: some("b"), reverse: true, limit: Some(2), ..Default::default() }),
            ["b3", "b2"]
        );
        assert_eq!(of(ListOptions { start: some("b2"), end: some("c"), ..Default::default() }), ["b2", "b3"]);
        assert_eq!(of(ListOptions { start_after: some("b3"), ..Default::default() }), ["c", "é"]);
        assert_eq!(of(ListOptions { start: some("z"), end: some("a"), ..Default::default() }), Vec::<String>::new());
        assert_eq!(of(ListOptions { limit: Some(0), ..Default::default() }), Vec::<String>::new());
        assert_eq!(
            of(ListOptions { prefix: some("b"), start: some("a"), end: some("b3"), ..Default::default() }),
            ["b1", "b2"]
        );
    }
}
