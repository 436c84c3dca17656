//! Damage to files of a node that is down: what rots, is torn, or is deleted by hand.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

/// What a disk writes at once.
const SECTOR_BYTES: u64 = 512;
/// What is left of a torn write.
const TORN_BYTES: usize = 2048;

/// Files of the write-ahead log in a data directory, oldest first.
pub fn log_files(data: &Path) -> Result<Vec<PathBuf>> {
    files(&data.join("wal"), "wal")
}

/// Files of the rebuildable state in a data directory.
pub fn state_files(data: &Path) -> Result<Vec<PathBuf>> {
    files(&data.join("state"), "")
}

/// A snapshot file of a node.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Its group.
    pub group: u32,
    /// Index of the last entry in it.
    pub index: u64,
    /// Where it is.
    pub path: PathBuf,
}

/// Snapshots in a data directory, by group, oldest first.
pub fn snapshots(data: &Path) -> Result<Vec<Snapshot>> {
    let files = files(&data.join("snapshots"), "snapshot")?;
    files.into_iter().map(|path| snapshot(&path).with_context(|| format!("the name of {}", path.display()))).collect()
}

/// Reads `group-GROUP-PLACE.snapshot`, hexadecimal; the place of entry n is n + 1, and a second one of it is a twin.
fn snapshot(path: &Path) -> Option<Snapshot> {
    let name = path.file_stem()?.to_str()?.strip_prefix("group-")?;
    let (group, place) = name.strip_suffix("-twin").unwrap_or(name).split_once('-')?;
    let index = u64::from_str_radix(place, 16).ok()?.checked_sub(1)?;
    Some(Snapshot { group: u32::from_str_radix(group, 16).ok()?, index, path: path.to_owned() })
}

/// Files below a folder whose extension is this one, or all, in the order of their paths.
fn files(dir: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("no folder {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path, extension)?);
        } else if extension.is_empty() || path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Where a log file's content ends: the rest of a file may be zeros that were laid down ahead.
pub fn content_bytes(path: &Path) -> Result<u64> {
    Ok(content_before(path, u64::MAX)?.map_or(0, |last| last + 1))
}

/// The last byte before this place that is content: what is zero may be padding, which nobody misses.
pub fn content_before(path: &Path, place: u64) -> Result<Option<u64>> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let before = &bytes[..bytes.len().min(usize::try_from(place).unwrap_or(usize::MAX))];
    Ok(before.iter().rposition(|byte| *byte != 0).map(|last| last as u64))
}

/// Inverts one byte of a file. Doing it twice mends it.
pub fn flip(path: &Path, at: u64) -> Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).with_context(|| format!("no byte {at} in {}", path.display()))?;
    file.write_all_at(&[!byte[0]], at).context("damaging it")?;
    file.sync_all().context("damaging it")
}

/// Writes behind a log's content what a torn write leaves there: its first sector never reached the disk.
pub fn leave_behind(path: &Path, content_bytes: u64) -> Result<()> {
    let file = OpenOptions::new().write(true).open(path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    let at = content_bytes.next_multiple_of(SECTOR_BYTES) + SECTOR_BYTES;
    file.write_all_at(&[0x5a; TORN_BYTES], at).context("damaging it")?;
    file.sync_all().context("damaging it")
}

/// Copies a data directory, as a backup taken while the node was down.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    ensure!(!to.exists(), "{} is there already", to.display());
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("no folder {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target).context("copying a data directory")?;
        }
    }
    Ok(())
}
