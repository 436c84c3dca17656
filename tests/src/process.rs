//! One program under test: started, killed, paused, stopped, watched.
//!
//! It dies with the thread that started it, runs where it is told to (see [`Place`]), and what it says on stderr is in
//! its log file. A program that ended although nobody killed it is told from one that was killed.

use std::{
    fs::OpenOptions,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdout, Command},
};

use crate::space::{Space, guarded};

/// Bytes of the log shown when something goes wrong.
const LOG_TAIL_BYTES: usize = 4096;
/// A process that was sent SIGSTOP stands still within this time.
const STOPPED_MAX: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(2);
const SIGKILL: i32 = 9;

/// Where a program runs: in spaces of its own, or in ours.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// Its network.
    pub network: Option<Arc<Space>>,
    /// Its mounts.
    pub mounts: Option<Arc<Space>>,
}

impl Place {
    /// The program, to be run there, and to die with the calling thread. It keeps its process id.
    pub fn command(&self, program: &Path) -> std::process::Command {
        let spaces: Vec<_> = [&self.network, &self.mounts].into_iter().flatten().collect();
        if spaces.is_empty() {
            return guarded(program);
        }
        let mut command = guarded("nsenter");
        command.args(spaces.iter().map(|space| space.entry())).arg("--").arg(program);
        command
    }
}

/// A running program. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
    /// Kept open: a program may not fail because nobody reads what it prints.
    stdout: BufReader<ChildStdout>,
}

impl Process {
    /// Starts it; what it says on stderr is appended to `log`.
    pub fn start(command: std::process::Command, log: &Path) -> Result<Self> {
        let mut command = Command::from(command);
        let file = OpenOptions::new().create(true).append(true).open(log);
        let file = file.with_context(|| format!("the log {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot run {:?}", command.as_std().get_program()))?;
        let stdout = BufReader::new(child.stdout.take().context("stdout is piped")?);
        Ok(Self { child, log: log.to_owned(), stdout })
    }

    /// The next line it prints on stdout. Fails with the log if none comes within `time_max`.
    pub async fn line(&mut self, time_max: Duration) -> Result<String> {
        let mut line = String::new();
        match tokio::time::timeout(time_max, self.stdout.read_line(&mut line)).await {
            Ok(Ok(n)) if n > 0 => Ok(line),
            Ok(Ok(_)) => {
                let status = self.child.wait().await.context("cannot wait for the process")?;
                bail!("the process did not start: {status}\n{}", self.log_tail())
            }
            Ok(Err(error)) => Err(error).context("the process's stdout"),
            Err(_) => bail!("the process printed nothing for {time_max:?}\n{}", self.log_tail()),
        }
    }

    /// Its process id; `None` once its end was seen.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Why it ended although nobody killed it; `None` while it runs.
    pub fn died(&mut self) -> Result<Option<String>> {
        let status = self.child.try_wait().context("cannot ask for the process's state")?;
        Ok(status.map(|status| format!("the process ended by itself: {status}\n{}", self.log_tail())))
    }

    /// SIGSTOP: the process stands still, its connections stay open. Fails if it goes on.
    pub async fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        let pid = self.pid().context("the process has ended")?;
        let until = Instant::now() + STOPPED_MAX;
        while state(pid)? != 'T' {
            if Instant::now() > until {
                bail!("the process goes on although it was stopped");
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// SIGCONT.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        kill_process(pid.context("the process has ended")?, signal).context("cannot send a signal to the process")
    }

    /// SIGKILL. Returns how long it took to be gone; fails if it was something else that ended the process.
    pub async fn kill(self) -> Result<Duration> {
        let started = Instant::now();
        let log = self.log.clone();
        let status = self.end().await?;
        if status.signal() != Some(SIGKILL) {
            bail!("the process ended by itself: {status}\n{}", log_tail(&log));
        }
        Ok(started.elapsed())
    }

    /// SIGKILL, for a process that may have ended by itself, because its disk is gone.
    pub async fn end(mut self) -> Result<ExitStatus> {
        self.child.start_kill().context("cannot kill the process")?;
        self.child.wait().await.context("cannot wait for the process")
    }

    /// SIGINT, and waits for its own end.
    pub async fn stop(mut self, time_max: Duration) -> Result<ExitStatus> {
        self.signal(Signal::INT)?;
        match tokio::time::timeout(time_max, self.child.wait()).await {
            Ok(status) => status.context("cannot wait for the process"),
            Err(_) => bail!("the process did not stop within {time_max:?} of Ctrl-C\n{}", self.log_tail()),
        }
    }

    /// Waits for its own end.
    pub async fn ended(&mut self, time_max: Duration) -> Result<ExitStatus> {
        let status = tokio::time::timeout(time_max, self.child.wait()).await;
        status.with_context(|| format!("the process still runs after {time_max:?}"))?.context("its state")
    }

    /// The end of what it said on stderr.
    pub fn log_tail(&self) -> String {
        log_tail(&self.log)
    }
}

impl Drop for Process {
    /// Waits for the end, too: what the process uses, like a mounted disk, can then be taken away.
    fn drop(&mut self) {
        // A process that is gone already is what was wanted.
        let _ = self.child.start_kill();
        let until = Instant::now() + STOPPED_MAX;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::yield_now();
        }
    }
}

fn log_tail(log: &Path) -> String {
    let log = std::fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_TAIL_BYTES)..]).into_owned()
}

/// The letter that Linux has for what a process does: `T` is stopped.
pub fn state(pid: u32) -> Result<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the process's state")?;
    // The name of the program, in brackets, may hold anything.
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.context("the process's state is not as Linux writes it")
}

#[cfg(test)]
mod tests {
    use super::*;

    const READY_MAX: Duration = Duration::from_secs(30);

    async fn script(dir: &Path, text: &str) -> Process {
        let mut command = Place::default().command(Path::new("sh"));
        command.args(["-c", &format!("echo ready; {text}")]);
        let mut process = Process::start(command, &dir.join("log")).unwrap();
        assert_eq!(process.line(READY_MAX).await.unwrap(), "ready\n");
        process
    }

    #[tokio::test]
    async fn a_killed_process_did_not_end_by_itself() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = script(dir.path(), "exec tail -f /dev/null").await;
        assert_eq!(process.died().unwrap(), None);
        let pid = process.pid().unwrap();
        process.kill().await.unwrap();
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }

    #[tokio::test]
    async fn a_paused_process_stands_still_and_goes_on_when_resumed() {
        let dir = tempfile::tempdir().unwrap();
        let process = script(dir.path(), "exec tail -f /dev/null").await;
        let pid = process.pid().unwrap();
        process.pause().await.unwrap();
        assert_eq!(state(pid).unwrap(), 'T');
        process.resume().unwrap();
        let until = Instant::now() + STOPPED_MAX;
        while state(pid).unwrap() == 'T' {
            assert!(Instant::now() < until, "it still stands");
            tokio::time::sleep(POLL).await;
        }
        process.pause().await.unwrap();
        process.kill().await.unwrap();
    }

    #[tokio::test]
    async fn a_process_that_ended_by_itself_was_not_killed_and_its_log_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = script(dir.path(), "echo no disk >&2; exit 7").await;
        process.child.wait().await.unwrap();
        let died = process.died().unwrap().unwrap();
        assert!(died.contains("exit status: 7") && died.contains("no disk"), "{died}");
    }

    #[test]
    fn a_process_ends_with_the_thread_that_started_it() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let started = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut command = Place::default().command(Path::new("sh"));
                command.args(["-c", "echo ready; exec tail -f /dev/null"]);
                let mut process = Process::start(command, &log).unwrap();
                process.line(READY_MAX).await.unwrap();
                let pid = process.pid().unwrap();
                // As if this thread could not run its destructors.
                std::mem::forget(process);
                pid
            })
        });
        let pid = started.join().unwrap();
        let until = Instant::now() + STOPPED_MAX;
        // Nobody has asked for its exit status, so a dead one stays as a zombie.
        while state(pid).is_ok_and(|state| state != 'Z') {
            assert!(Instant::now() < until, "it outlived its thread");
            std::thread::yield_now();
        }
    }
}
