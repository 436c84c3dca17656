//! Records a history while it happens, and reads it back.
//!
//! One lock gives each line its index and keeps it, so the order of lines is the order in which things were seen by
//! this process: an operation whose answer is recorded before another is invoked really was over by then.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, BufWriter, Write},
    path::Path,
    sync::Mutex,
    time::Instant,
};

use anyhow::{Context, bail};
use serde_json::Value;

use super::{Kind, Op, Process};

/// Lines one run may record; a run that would go over it stops recording with an error.
const OPS_MAX: usize = 20_000_000;

/// Records a history. Share it by reference.
pub struct Writer {
    started: Instant,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    ops: Vec<Op>,
    file: Option<BufWriter<File>>,
    next_process: u64,
    answered: u64,
    installed: BTreeMap<String, u64>,
    open: BTreeMap<Process, usize>,
    error: Option<std::io::Error>,
}

/// An operation that was invoked and has no answer yet.
#[derive(Clone, Copy, Debug)]
#[must_use = "every invocation must be completed"]
pub struct Pending {
    process: Process,
    at: usize,
}

impl Writer {
    /// Records into memory and, if a path is given, into a file of JSON lines.
    pub fn create(path: Option<&Path>) -> anyhow::Result<Self> {
        let file = path
            .map(|path| File::create(path).with_context(|| format!("cannot create {}", path.display())))
            .transpose()?
            .map(BufWriter::new);
        let inner = Inner { file, ..Inner::default() };
        Ok(Self { started: Instant::now(), inner: Mutex::new(inner) })
    }

    /// A process number never used before. A worker takes one at its start and after each `info`.
    pub fn new_process(&self) -> Process {
        let mut inner = self.inner.lock().expect("no holder of this lock panics");
        inner.next_process += 1;
        Process::Client(inner.next_process - 1)
    }

    /// Records that `process` is about to do something. Call it before the first byte is sent.
    pub fn invoke(&self, process: Process, f: &str, key: &str, value: Value, node: &str) -> Pending {
        let mut inner = self.inner.lock().expect("no holder of this lock panics");
        let op = Op {
            index: inner.ops.len() as u64,
            time: self.started.elapsed().as_nanos() as u64,
            process,
            kind: Kind::Invoke,
            f: f.to_string(),
            key: Some(key.to_string()),
            value,
            error: None,
            node: Some(node.to_string()),
        };
        let at = inner.ops.len();
        let before = inner.open.insert(process, at);
        assert!(before.is_none(), "process {process:?} already has an operation open");
        inner.push(op);
        Pending { process, at }
    }

    /// Records the answer. After [`Kind::Info`] the process must not be used again.
    pub fn complete(&self, pending: Pending, kind: Kind, value: Value, error: Option<String>) {
        assert!(kind != Kind::Invoke, "an operation is not completed by invoking it");
        let mut inner = self.inner.lock().expect("no holder of this lock panics");
        inner.open.remove(&pending.process).expect("an operation is completed once");
        inner.answered += u64::from(kind == Kind::Ok);
        let time = self.started.elapsed().as_nanos() as u64;
        let op = Op { index: inner.ops.len() as u64, time, kind, value, error, ..inner.ops[pending.at].clone() };
        inner.push(op);
    }

    /// Records something the nemesis did.
    pub fn nemesis(&self, f: &str, value: Value) {
        let mut inner = self.inner.lock().expect("no holder of this lock panics");
        if value["status"] == "installed" {
            *inner.installed.entry(f.to_string()).or_default() += 1;
        }
        let op = Op {
            index: inner.ops.len() as u64,
            time: self.started.elapsed().as_nanos() as u64,
            process: Process::Nemesis,
            kind: Kind::Info,
            f: f.to_string(),
            key: None,
            value,
            error: None,
            node: None,
        };
        inner.push(op);
    }

    /// Lines that were recorded so far.
    pub fn lines(&self) -> usize {
        self.inner.lock().expect("no holder of this lock panics").ops.len()
    }

    /// Operations that were answered so far.
    pub fn answered(&self) -> u64 {
        self.inner.lock().expect("no holder of this lock panics").answered
    }

    /// How often the nemesis has installed this fault so far.
    pub fn installed(&self, fault: &str) -> u64 {
        self.inner.lock().expect("no holder of this lock panics").installed.get(fault).copied().unwrap_or(0)
    }

    /// The history so far, with every open operation closed with `info`.
    pub fn so_far(&self) -> Vec<Op> {
        let inner = self.inner.lock().expect("no holder of this lock panics");
        let mut ops = inner.ops.clone();
        let time = self.started.elapsed().as_nanos() as u64;
        for at in inner.open.values() {
            let closed = closed(&ops[*at], ops.len(), time);
            ops.push(closed);
        }
        ops
    }

    /// Closes every open operation with `info`, syncs the file, and hands out the whole history.
    pub fn finish(self) -> anyhow::Result<Vec<Op>> {
        let mut inner = self.inner.into_inner().expect("no holder of this lock panics");
        let open: Vec<usize> = std::mem::take(&mut inner.open).into_values().collect();
        for at in open {
            let time = self.started.elapsed().as_nanos() as u64;
            let closed = closed(&inner.ops[at], inner.ops.len(), time);
            inner.push(closed);
        }
        if let Some(error) = inner.error {
            return Err(error).context("the history could not be recorded");
        }
        if let Some(file) = inner.file.take() {
            let file = file.into_inner().map_err(|error| error.into_error()).context("the history file")?;
            file.sync_all().context("the history file")?;
        }
        Ok(inner.ops)
    }
}

/// The end of an operation of which nobody heard.
fn closed(invoke: &Op, index: usize, time: u64) -> Op {
    let error = Some("the run ended before an answer came".to_string());
    Op { index: index as u64, time, kind: Kind::Info, error, ..invoke.clone() }
}

impl Inner {
    /// Appends a line. The first error is kept and reported by `finish`: a run whose history is not whole is rejected.
    fn push(&mut self, op: Op) {
        if self.error.is_none() {
            self.error = self.write_line(&op).err();
        }
        self.ops.push(op);
    }

    fn write_line(&mut self, op: &Op) -> std::io::Result<()> {
        if self.ops.len() >= OPS_MAX {
            return Err(std::io::Error::other(format!("more than {OPS_MAX} lines")));
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        serde_json::to_writer(&mut *file, op)?;
        file.write_all(b"\n")
    }
}

/// Writes a whole history as JSON lines.
pub fn write(path: &Path, history: &[Op]) -> anyhow::Result<()> {
    let mut file = BufWriter::new(File::create(path).with_context(|| format!("cannot create {}", path.display()))?);
    for op in history {
        serde_json::to_writer(&mut file, op)?;
        file.write_all(b"\n")?;
    }
    file.into_inner().map_err(|error| error.into_error())?.sync_all()?;
    Ok(())
}

/// Reads a history of JSON lines.
pub fn read(path: &Path) -> anyhow::Result<Vec<Op>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut history = Vec::new();
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let place = || format!("{}:{}", path.display(), number + 1);
        let line = line.with_context(place)?;
        history.push(serde_json::from_str(&line).with_context(place)?);
        if history.len() > OPS_MAX {
            bail!("{}: more than {OPS_MAX} lines", path.display());
        }
    }
    Ok(history)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::validate;
    use serde_json::json;

    #[test]
    fn what_was_recorded_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.jsonl");
        let writer = Writer::create(Some(&path)).unwrap();
        let process = writer.new_process();
        let pending = writer.invoke(process, "write", "a", json!(1), "n1");
        writer.complete(pending, Kind::Ok, json!(1), None);
        writer.nemesis("kill", json!({"status": "installed"}));
        let history = writer.finish().unwrap();
        assert_eq!(history.iter().map(|op| op.kind).collect::<Vec<_>>(), [Kind::Invoke, Kind::Ok, Kind::Info]);
        assert_eq!(read(&path).unwrap(), history);
        validate(&history).unwrap();
    }

    #[test]
    fn an_operation_still_open_at_the_end_becomes_info() {
        let writer = Writer::create(None).unwrap();
        let _open = writer.invoke(writer.new_process(), "write", "a", json!(7), "n1");
        let so_far = writer.so_far();
        assert_eq!((so_far.len(), so_far[1].kind, so_far[1].index), (2, Kind::Info, 1));
        validate(&so_far).unwrap();
        let history = writer.finish().unwrap();
        assert_eq!(history.len(), 2, "looking at it added nothing");
        assert_eq!((history[1].kind, &history[1].value, history[1].index), (Kind::Info, &json!(7), 1));
        validate(&history).unwrap();
    }

    #[test]
    fn a_line_that_is_no_op_is_an_error_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.jsonl");
        std::fs::write(&path, "{\"index\":0}\n").unwrap();
        let error = format!("{:#}", read(&path).unwrap_err());
        assert!(error.contains("history.jsonl:1"), "{error}");
    }

    #[test]
    #[should_panic(expected = "already has an operation open")]
    fn a_process_cannot_do_two_things_at_a_time() {
        let writer = Writer::create(None).unwrap();
        let process = writer.new_process();
        let _first = writer.invoke(process, "read", "a", json!(null), "n1");
        let _second = writer.invoke(process, "read", "a", json!(null), "n1");
    }
}
