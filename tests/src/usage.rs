//! What a process and a folder take: memory, CPU time, memory mappings, and room on disk.

use std::{collections::BTreeMap, fs, io, os::unix::fs::MetadataExt, path::Path, time::Duration};

use anyhow::{Context, Result};

/// Linux tells CPU times to programs in hundredths of a second.
const TICK: Duration = Duration::from_millis(10);
/// Blocks in which Linux counts what a file takes on disk.
const BLOCK_BYTES: u64 = 512;

/// What a process takes, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory.
    pub resident_bytes: u64,
    /// CPU time since it started, its own and the kernel's for it.
    pub cpu: Duration,
    /// Memory mappings; Linux allows a process `vm.max_map_count` of them.
    pub mappings: u64,
    /// Threads.
    pub threads: u64,
}

impl Usage {
    /// Of a running process.
    pub fn of(pid: u32) -> Result<Self> {
        let read = |file: &str| {
            fs::read_to_string(format!("/proc/{pid}/{file}")).with_context(|| format!("{file} of process {pid}"))
        };
        let (status, stat) = (read("status")?, read("stat")?);
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let digits = line.and_then(|line| line.split_whitespace().next());
            digits.and_then(|digits| digits.parse::<u64>().ok()).with_context(|| format!("no {name} in {status}"))
        };
        // The name of the program, in brackets, may hold anything; user and system time are the 12th and 13th word after it.
        let words = stat.rsplit_once(") ").map(|(_, rest)| rest.split_whitespace()).context("an odd stat file")?;
        let ticks: Vec<u32> = words.skip(11).take(2).map_while(|word| word.parse().ok()).collect();
        anyhow::ensure!(ticks.len() == 2, "no CPU times in {stat}");
        Ok(Self {
            resident_bytes: number("VmRSS:")? << 10,
            cpu: TICK * ticks.iter().sum(),
            mappings: read("maps")?.lines().count() as u64,
            threads: number("Threads:")?,
        })
    }
}

/// Bytes that a folder and everything in it take on disk. What is removed meanwhile does not count.
pub fn disk_bytes(path: &Path) -> Result<u64> {
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let meta = match fs::symlink_metadata(path) {
        Err(error) if gone(&error) => return Ok(0),
        meta => meta.with_context(|| format!("{}", path.display()))?,
    };
    let mut bytes = meta.blocks() * BLOCK_BYTES;
    if meta.is_dir() {
        let entries = match fs::read_dir(path) {
            Err(error) if gone(&error) => return Ok(0),
            entries => entries.with_context(|| format!("{}", path.display()))?,
        };
        for entry in entries {
            bytes += disk_bytes(&entry?.path())?;
        }
    }
    Ok(bytes)
}

/// The same for each entry of a folder, by its name.
pub fn disk_bytes_by_entry(path: &Path) -> Result<BTreeMap<String, u64>> {
    let mut bytes = BTreeMap::new();
    for entry in fs::read_dir(path).with_context(|| format!("{}", path.display()))? {
        let entry = entry?;
        bytes.insert(entry.file_name().to_string_lossy().into_owned(), disk_bytes(&entry.path())?);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_seen_to_use_memory_and_cpu() {
        let before = Usage::of(std::process::id()).unwrap();
        let mut held = vec![1_u8; 64 << 20];
        let mut after = before;
        while after.cpu < before.cpu + 3 * TICK {
            held.iter_mut().for_each(|byte| *byte = byte.wrapping_mul(3));
            after = Usage::of(std::process::id()).unwrap();
        }
        assert!(std::hint::black_box(&held).len() == 64 << 20);
        assert!(after.resident_bytes >= 64 << 20, "{after:?}");
        assert!(after.threads >= 1 && after.mappings > 1, "{after:?}");
        assert!(Usage::of(u32::MAX >> 1).is_err());
    }

    #[test]
    fn a_folder_takes_what_its_files_take() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a/file"), vec![1; 1 << 20]).unwrap();
        fs::write(dir.path().join("b"), vec![1; 1 << 16]).unwrap();
        // Blocks of a fresh file may be counted only once it is written out.
        for file in ["a/file", "b"] {
            fs::File::open(dir.path().join(file)).unwrap().sync_all().unwrap();
        }
        let by_entry = disk_bytes_by_entry(dir.path()).unwrap();
        assert_eq!(by_entry.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert!(by_entry["a"] >= 1 << 20 && (1 << 16..1 << 20).contains(&by_entry["b"]), "{by_entry:?}");
        assert!(disk_bytes(dir.path()).unwrap() >= by_entry.values().sum());
        assert_eq!(disk_bytes(&dir.path().join("missing")).unwrap(), 0);
    }
}
