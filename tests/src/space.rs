//! Namespaces of our own: a network or a set of mounts that only the programs we put there see.
//!
//! A space is held open by one sleeping process. It dies with the thread that made it, whatever happens to that thread,
//! and the kernel then removes the space with all its links and mounts: nothing has to be cleaned up by name.
//! Needs root, and the programs of util-linux.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// What holds a space open.
const HOLDER: &str = "sleep";
/// Making a namespace takes milliseconds.
const MADE_MAX: Duration = Duration::from_secs(20);

/// What a space is apart in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apart {
    /// Links, addresses, ports, routes and packet filters.
    Network,
    /// Mounted file systems.
    Mounts,
}

/// A namespace. Gone when dropped, once the programs in it have ended.
#[derive(Debug)]
pub struct Space {
    holder: Child,
    apart: Apart,
}

impl Space {
    /// Makes one. The calling thread must live as long as the space.
    pub fn create(apart: Apart) -> Result<Self> {
        let flag = match apart {
            Apart::Network => "--net",
            Apart::Mounts => "--mount",
        };
        let holder = guarded("unshare")
            .args([flag, HOLDER, "infinity"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run setpriv: spaces need util-linux")?;
        let mut space = Self { holder, apart };
        // Once it sleeps, the namespace is there, and its mounts are private.
        let until = Instant::now() + MADE_MAX;
        loop {
            if let Some(status) = space.holder.try_wait()? {
                bail!("cannot make a namespace: unshare {flag} ended with {status}; that needs root");
            }
            if fs::read_to_string(format!("/proc/{}/comm", space.pid())).is_ok_and(|name| name.trim() == HOLDER) {
                return Ok(space);
            }
            if Instant::now() > until {
                bail!("no namespace after {MADE_MAX:?}");
            }
            std::thread::yield_now();
        }
    }

    /// Process id of what holds it open: `ip link set ... netns PID` takes it.
    pub fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// Arguments for `nsenter` to enter this space.
    pub fn entry(&self) -> String {
        match self.apart {
            Apart::Network => format!("--net=/proc/{}/ns/net", self.pid()),
            Apart::Mounts => format!("--mount=/proc/{}/ns/mnt", self.pid()),
        }
    }

    /// Where a file of this space, given by its absolute path there, is found from outside.
    pub fn outside(&self, path: &Path) -> PathBuf {
        Path::new("/proc").join(self.pid().to_string()).join("root").join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Runs a program in this space, to its end, with this text on its standard input.
    pub fn run(&self, program: &str, args: &[&OsStr], input: &str) -> Result<String> {
        let mut command = Command::new("nsenter");
        command.arg(self.entry()).arg("--").arg(program).args(args);
        run(&mut command, input).with_context(|| format!("{program} in a namespace"))
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        // It cannot refuse, and a process that is gone already is what was wanted.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// A program that gets SIGKILL when the thread that starts it ends, however that comes about.
pub fn guarded(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Runs a program to its end; fails unless it succeeds. Gives what it printed.
pub fn run(command: &mut Command, input: &str) -> Result<String> {
    use std::io::Write;
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    // A program that does not read its input has its reasons, and says them with its exit code.
    let _ = child.stdin.take().context("its input is piped")?.write_all(input.as_bytes());
    let output = child.wait_with_output().with_context(|| format!("cannot wait for {name}"))?;
    if !output.status.success() {
        let (said, printed) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
        bail!("{name}: {}: {}{}", output.status, said.trim(), printed.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
