//! A wall clock of a node's own, that jumps when it is told to. Its monotonic clock stays true.
//!
//! Needs Debian's `faketime`: a library that is loaded before the program and reads the offset from a file.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};

use crate::run;

const LIBRARIES: &str = "/usr/lib";
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// The offset of one node's clock.
#[derive(Clone, Debug)]
pub struct Clock {
    file: PathBuf,
    library: PathBuf,
}

impl Clock {
    /// A clock that is right; `file` will hold its offset.
    pub fn create(file: PathBuf) -> Result<Self> {
        let clock = Self { file, library: library().context("no libfaketime: clocks need Debian's faketime")? };
        clock.jump(0)?;
        Ok(clock)
    }

    /// From now on the clock is this many seconds ahead of ours, or behind it.
    pub fn jump(&self, ahead_seconds: i64) -> Result<()> {
        // Whole at once: a program may read it at any time.
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{ahead_seconds:+}\n")).context("the clock's file")?;
        fs::rename(&new, &self.file).context("the clock's file")
    }

    /// Makes a program live by this clock.
    pub fn give(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("FAKETIME_TIMESTAMP_FILE", &self.file);
        command.envs([("FAKETIME_NO_CACHE", "1"), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")]);
    }
}

/// Milliseconds since 1970, by our own clock.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The library, in the folder of this machine's architecture.
fn library() -> Option<PathBuf> {
    let folders = fs::read_dir(LIBRARIES).ok()?.flatten().map(|entry| entry.path());
    folders.map(|folder: PathBuf| folder.join(LIBRARY)).find(|path: &PathBuf| Path::exists(path))
}

/// Tries it: a program whose clock is ahead says so. Says why it did not work.
pub fn try_clock() -> Result<()> {
    let dir = tempfile::tempdir().context("a temporary folder")?;
    let clock = Clock::create(dir.path().join("clock"))?;
    clock.jump(100_000)?;
    let mut command = Command::new("date");
    clock.give(command.arg("+%s"));
    let said: i64 = run(&mut command, "")?.trim().parse().context("what `date` printed")?;
    ensure!(said - now_ms() / 1000 > 90_000, "the clock did not jump");
    Ok(())
}
