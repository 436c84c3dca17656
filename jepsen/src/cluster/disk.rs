//! A disk whose power can be cut: an ext4 image of its own, mounted over a loop device.
//!
//! A killed process loses nothing that it wrote, because the page cache survives it. Here the file system is shut
//! down without flushing anything, as a power cut does: whatever was not synced is gone, data and metadata alike.
//! Needs root, and the programs `mkfs.ext4`, `mount`, `umount` and `xfs_io` (its `shutdown` works on ext4 as well).

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

/// Size of the image; it is sparse.
const IMAGE_BYTES: u64 = 1 << 30;
/// Written and never synced before a cut: if it can be read afterwards, nothing was cut. (Its name may be there: a sync
/// of another file commits the journal, and the name with it.)
const CANARY: &[u8] = b"not synced";
const EIO: i32 = 5;

/// A mounted image.
pub struct Disk {
    image: PathBuf,
    mount: PathBuf,
    mounted: bool,
    cuts: u32,
}

impl Disk {
    /// Makes an image and mounts it at `mount`, a new folder.
    pub fn create(image: &Path, mount: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(mount).with_context(|| format!("cannot create {}", mount.display()))?;
        let file = fs::File::create_new(image).with_context(|| format!("cannot create {}", image.display()))?;
        file.set_len(IMAGE_BYTES).context("the image's size")?;
        tool("mkfs.ext4", &["-q".as_ref(), "-F".as_ref(), image.as_os_str()])?;
        let mut disk = Self { image: image.into(), mount: mount.into(), mounted: false, cuts: 0 };
        disk.mount()?;
        Ok(disk)
    }

    fn mount(&mut self) -> anyhow::Result<()> {
        tool("mount", &["-o".as_ref(), "loop".as_ref(), self.image.as_os_str(), self.mount.as_os_str()])?;
        self.mounted = true;
        Ok(())
    }

    /// Cuts the power: from here on every write fails, and what was not synced is lost. Fails if that is not so.
    pub fn cut(&mut self) -> anyhow::Result<()> {
        self.cuts += 1;
        fs::write(self.canary(), CANARY).context("cannot write the canary")?;
        tool("xfs_io", &["-x".as_ref(), "-c".as_ref(), "shutdown".as_ref(), self.mount.as_os_str()])?;
        match fs::write(self.mount.join("after"), b"x") {
            Err(error) if error.raw_os_error() == Some(EIO) => Ok(()),
            other => bail!("the disk still answers after the cut: {other:?}"),
        }
    }

    /// Brings the disk back as it was at the last sync. No process may use it meanwhile.
    pub fn restore(&mut self) -> anyhow::Result<()> {
        self.unmount()?;
        self.mount()?;
        match fs::read(self.canary()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Ok(text) if text != CANARY => Ok(()),
            other => bail!("what was not synced survived the cut: {other:?}"),
        }
    }

    /// A new file for each cut: ext4 writes a file that is replaced earlier than a new one.
    fn canary(&self) -> PathBuf {
        self.mount.join(format!("lethe-jepsen-canary-{}", self.cuts))
    }

    fn unmount(&mut self) -> anyhow::Result<()> {
        tool("umount", &[self.mount.as_os_str()])?;
        self.mounted = false;
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted
            && let Err(error) = self.unmount()
        {
            eprintln!("{} stays mounted: {error:#}", self.mount.display());
        }
    }
}

/// Tries it: makes a disk in a temporary folder, cuts its power and brings it back. Says why it did not work.
pub fn try_cut() -> anyhow::Result<()> {
    let dir = tempfile::tempdir().context("a temporary folder")?;
    let mut disk = Disk::create(&dir.path().join("disk.img"), &dir.path().join("mount"))?;
    disk.cut()?;
    disk.restore()
}

fn tool(program: &str, args: &[&std::ffi::OsStr]) -> anyhow::Result<()> {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {program}: power cuts need root, e2fsprogs and xfsprogs"))?;
    if !output.status.success() {
        bail!("{program}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
