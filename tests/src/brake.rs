//! A brake: one program's writes to one disk, slowed down to so many a second. Everybody else's stay as fast as they were.
//!
//! It is a control group of the kernel's `blkio` controller, version 1, where that is usually mounted. Needs root.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result};

const CONTROLLER: &str = "/sys/fs/cgroup/blkio";

/// The group. Gone when dropped, once the programs in it have ended.
#[derive(Debug)]
pub struct Brake {
    group: PathBuf,
    device: String,
}

impl Brake {
    /// A brake for a disk, `MAJOR:MINOR`, that does nothing yet.
    pub fn create(device: &str) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("lethe-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let group = Path::new(CONTROLLER).join(name);
        fs::create_dir(&group).with_context(|| format!("slow disks need root and {CONTROLLER}"))?;
        Ok(Self { group, device: device.to_owned() })
    }

    /// Writes of this process are braked, from the next one on.
    pub fn hold(&self, pid: u32) -> Result<()> {
        fs::write(self.group.join("cgroup.procs"), pid.to_string()).context("braking a process")
    }

    /// Writes that it let through so far.
    pub fn writes(&self) -> Result<u64> {
        let counts = fs::read_to_string(self.group.join("blkio.throttle.io_serviced")).context("the brake's counts")?;
        // A line for each kind: `MAJOR:MINOR Write 12`.
        let write = format!("{} Write ", self.device);
        Ok(counts.lines().find_map(|line| line.strip_prefix(&write)?.parse().ok()).unwrap_or(0))
    }

    /// So many writes a second; 0 stands for no bound.
    pub fn set(&self, writes_per_second: u32) -> Result<()> {
        let rule = format!("{} {writes_per_second}", self.device);
        fs::write(self.group.join("blkio.throttle.write_iops_device"), rule).context("slowing a disk down")
    }
}

impl Drop for Brake {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.group) {
            eprintln!("{} stays: {error}", self.group.display());
        }
    }
}
