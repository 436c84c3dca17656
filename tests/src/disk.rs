//! A disk whose power can be cut, that can be full, and slow: an ext4 image of its own, mounted over a loop device where only we see it.
//!
//! A killed process loses nothing that it wrote, because the page cache survives it. Here the file system is shut
//! down without flushing anything, as a power cut does: whatever was not synced is gone, data and metadata alike.
//! Needs root, and the programs `mkfs.ext4`, `mount`, `umount` and `xfs_io` (its `shutdown` works on ext4 as well).

use std::{
    ffi::OsStr,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    brake::Brake,
    space::{Apart, Space, guarded, run},
};

/// Size of the image; it is sparse.
const IMAGE_BYTES: u64 = 1 << 30;
/// Written and never synced before a cut: if it can be read afterwards, nothing was cut. (Its name may be there: a sync
/// of another file commits the journal, and the name with it.)
const CANARY: &[u8] = b"not synced";
/// The file that fills a disk.
const BALLAST: &str = "lethe-ballast";
/// Times that it is tried to fill a disk on which others delete.
const FILLS_MAX: usize = 20;
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// A mounted image.
pub struct Disk {
    image: PathBuf,
    mount: PathBuf,
    /// Where the mount is. It goes with the last process in it, even if this one is killed.
    space: Arc<Space>,
    mounted: bool,
    cuts: u32,
    brake: Option<Brake>,
}

impl Disk {
    /// Makes an image and mounts it at `mount`, a new folder.
    pub fn create(image: &Path, mount: &Path) -> Result<Self> {
        fs::create_dir_all(mount).with_context(|| format!("cannot create {}", mount.display()))?;
        let mount = mount.canonicalize().context("the mount's path")?;
        let file = fs::File::create_new(image).with_context(|| format!("cannot create {}", image.display()))?;
        file.set_len(IMAGE_BYTES).context("the image's size")?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(image), "")
            .context("disks of our own need root, e2fsprogs and xfsprogs")?;
        let image = image.canonicalize().context("the image's path")?;
        let space = Arc::new(Space::create(Apart::Mounts)?);
        let mut disk = Self { image, mount, space, mounted: false, cuts: 0, brake: None };
        disk.mount()?;
        Ok(disk)
    }

    /// Where it is mounted: programs that are to see it run there.
    pub fn space(&self) -> Arc<Space> {
        Arc::clone(&self.space)
    }

    /// The mounted folder, seen from outside.
    pub fn outside(&self) -> PathBuf {
        self.space.outside(&self.mount)
    }

    fn mount(&mut self) -> Result<()> {
        self.tool("mount", &["-o".as_ref(), "loop".as_ref(), self.image.as_os_str(), self.mount.as_os_str()])?;
        self.mounted = true;
        Ok(())
    }

    /// Cuts the power: from here on every write fails, and what was not synced is lost. Fails if that is not so.
    pub fn cut(&mut self) -> Result<()> {
        self.cuts += 1;
        fs::write(self.canary(), CANARY).context("cannot write the canary")?;
        self.tool("xfs_io", &["-x".as_ref(), "-c".as_ref(), "shutdown".as_ref(), self.mount.as_os_str()])?;
        match fs::write(self.outside().join("after"), b"x") {
            Err(error) if error.raw_os_error() == Some(EIO) => Ok(()),
            other => bail!("the disk still answers after the cut: {other:?}"),
        }
    }

    /// Brings the disk back as it was at the last sync. No process may use it meanwhile.
    pub fn restore(&mut self) -> Result<()> {
        self.unmount()?;
        self.mount()?;
        match fs::read(self.canary()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Ok(text) if text != CANARY => Ok(()),
            other => bail!("what was not synced survived the cut: {other:?}"),
        }
    }

    /// Fills the disk to the last block. Fails if another byte still fits.
    pub fn fill(&self) -> Result<()> {
        let file = fs::OpenOptions::new().append(true).create(true).open(self.ballast()).context("the ballast")?;
        // What uses the disk may delete something just then: that room is taken, too.
        for _ in 0..FILLS_MAX {
            // Block by block at the end: what is left must not hold a log's next frame.
            for bytes in [64 << 20, 1 << 20, 64 << 10, 4 << 10] {
                let block = vec![0x5a; bytes];
                while (&file).write_all(&block).is_ok() {}
            }
            match fs::write(self.outside().join("one-more"), [1; 4096]) {
                Err(error) if error.raw_os_error() == Some(ENOSPC) => return Ok(()),
                Err(error) => return Err(error).context("the disk should be full"),
                Ok(()) => {}
            }
        }
        bail!("the disk does not get full")
    }

    /// Takes what [`Disk::fill`] put there away again.
    pub fn relieve(&self) -> Result<()> {
        // The probe's name may have found a place in a directory that was there.
        let _ = fs::remove_file(self.outside().join("one-more"));
        fs::remove_file(self.ballast()).context("the ballast")
    }

    /// From now on this process, if it runs, can make at most so many writes a second here.
    pub fn slow(&mut self, pid: u32, writes_per_second: u32) -> Result<()> {
        let [silent, show, device] = ["-n", "-o", "MAJ:MIN"].map(OsStr::new);
        let device = self.tool("findmnt", &[silent, show, device, self.mount.as_os_str()])?;
        let brake = Brake::create(device.trim())?;
        brake.set(writes_per_second)?;
        brake.hold(pid)?;
        self.brake = Some(brake);
        Ok(())
    }

    /// Lets the process that was slowed down write as fast as the disk is. Fails if it did not write anything meanwhile.
    pub fn fast(&mut self) -> Result<()> {
        let brake = self.brake.as_ref().context("it was not slow")?;
        ensure!(brake.writes()? > 0, "the disk was slow, and nobody wrote");
        brake.set(0)
    }

    fn ballast(&self) -> PathBuf {
        self.outside().join(BALLAST)
    }

    /// A new file for each cut: ext4 writes a file that is replaced earlier than a new one.
    fn canary(&self) -> PathBuf {
        self.outside().join(format!("lethe-canary-{}", self.cuts))
    }

    fn unmount(&mut self) -> Result<()> {
        self.tool("umount", &[self.mount.as_os_str()])?;
        self.mounted = false;
        Ok(())
    }

    fn tool(&self, program: &str, args: &[&OsStr]) -> Result<String> {
        self.space.run(program, args, "")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted
            && let Err(error) = self.unmount()
        {
            eprintln!("{} stays mounted until its last process ends: {error:#}", self.mount.display());
        }
    }
}

/// Writes a second of a disk that is tried out.
const TRIED_PER_SECOND: u32 = 10;
/// At that speed ten writes take about a second; otherwise milliseconds.
const TRIED_MIN: Duration = Duration::from_millis(400);

/// Tries it: a program that syncs every write is slow on a disk that was slowed down for it. Says why it did not work.
pub fn try_slow() -> Result<()> {
    let dir = tempfile::tempdir().context("a temporary folder")?;
    let mut disk = Disk::create(&dir.path().join("disk.img"), &dir.path().join("mount"))?;
    let mut shell = guarded("sh");
    // It begins when it is told to, after it was slowed down.
    let write = format!("read go && dd if=/dev/zero of={}/file bs=4k count=10 oflag=dsync", disk.outside().display());
    let mut shell = shell.args(["-c", &write]).stdin(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    disk.slow(shell.id(), TRIED_PER_SECOND)?;
    let started = Instant::now();
    shell.stdin.take().context("its input is piped")?.write_all(b"go\n")?;
    let (status, took) = (shell.wait()?, started.elapsed());
    ensure!(status.success() && took > TRIED_MIN, "ten writes ended with {status} after {took:?}");
    Ok(())
}

/// Tries it: makes a disk in a temporary folder, cuts its power and brings it back. Says why it did not work.
pub fn try_cut() -> Result<()> {
    let dir = tempfile::tempdir().context("a temporary folder")?;
    let mut disk = Disk::create(&dir.path().join("disk.img"), &dir.path().join("mount"))?;
    disk.cut()?;
    disk.restore()
}
