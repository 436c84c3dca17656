//! One server process: `lethe dev` on a data directory of its own.
//!
//! A server that ends although nobody killed it, or does not come back, is found here; what it said is in its log file.

use std::{
    fs::{File, OpenOptions},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdout, Command},
};

/// A start that takes longer has failed.
const READY_MAX: Duration = Duration::from_secs(60);
/// Bytes of the log shown when a start fails.
const LOG_TAIL_BYTES: usize = 4096;
/// A process that was sent SIGSTOP stands still within this time.
const STOPPED_MAX: Duration = Duration::from_secs(5);
const STATE_POLL: Duration = Duration::from_millis(2);
const SIGKILL: i32 = 9;
/// Folder of a server's data, in the folder of its run.
pub const DATA_DIR: &str = "data";

/// Where a running server can be reached. Ports change with each start.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Addresses {
    /// `http://host:port` of the gateway.
    pub http: String,
    /// `http://host:port` of the gRPC service.
    pub grpc: String,
}

/// How to start a server, and the process that runs now.
pub struct Server {
    binary: PathBuf,
    project: PathBuf,
    data: PathBuf,
    log: PathBuf,
    running: Option<Running>,
}

struct Running {
    child: Child,
    /// Kept open: a server may not fail because nobody reads what it prints.
    _stdout: BufReader<ChildStdout>,
}

impl Server {
    /// A server that is not running yet; `dir` gets its data and its log.
    pub fn new(binary: &Path, project: &Path, dir: &Path) -> anyhow::Result<Self> {
        let data = dir.join(DATA_DIR);
        std::fs::create_dir_all(&data).with_context(|| format!("cannot create {}", data.display()))?;
        let (binary, project, log) = (binary.into(), project.into(), dir.join("server.log"));
        Ok(Self { binary, project, data, log, running: None })
    }

    /// Starts the process and waits until it says that it is ready.
    pub async fn start(&mut self) -> anyhow::Result<Addresses> {
        assert!(self.running.is_none(), "the server is running already");
        let log = OpenOptions::new().create(true).append(true).open(&self.log).context("the server's log")?;
        let mut child = self.command(log).spawn().with_context(|| format!("cannot run {}", self.binary.display()))?;
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut line = String::new();
        let ready = tokio::time::timeout(READY_MAX, stdout.read_line(&mut line)).await;
        match ready {
            Ok(read) => read.context("the server's stdout")?,
            Err(_) => bail!("the server was not ready after {READY_MAX:?}\n{}", self.log_tail()),
        };
        let Ok(addresses) = serde_json::from_str(&line) else {
            bail!("the server did not start; it printed {line:?}\n{}", self.log_tail());
        };
        self.running = Some(Running { child, _stdout: stdout });
        Ok(addresses)
    }

    fn command(&self, log: File) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("dev").arg(&self.project).arg("--data-dir").arg(&self.data);
        command.args(["--port", "0", "--grpc-port", "0", "--no-watch", "--json", "--log", "warn"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        command
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().and_then(|running| running.child.id())
    }

    /// Why the process ended although nobody killed it; `None` while it runs.
    pub fn died(&mut self) -> anyhow::Result<Option<String>> {
        let Some(running) = &mut self.running else { return Ok(None) };
        let Some(status) = running.child.try_wait().context("cannot ask for the server's state")? else {
            return Ok(None);
        };
        self.running = None;
        Ok(Some(format!("the server ended by itself: {status}\n{}", self.log_tail())))
    }

    /// SIGSTOP: the process stands still, its connections stay open. Fails if it goes on.
    pub async fn pause(&self) -> anyhow::Result<()> {
        let pid = self.pid().context("the server is not running")?;
        self.signal(Signal::STOP)?;
        let until = Instant::now() + STOPPED_MAX;
        while process_state(pid)? != 'T' {
            if Instant::now() > until {
                bail!("the server goes on although it was stopped");
            }
            tokio::time::sleep(STATE_POLL).await;
        }
        Ok(())
    }

    /// SIGCONT.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = self.pid().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        kill_process(pid.context("the server is not running")?, signal).context("cannot send a signal to the server")
    }

    /// SIGKILL, for a server that may have ended by itself because its disk is gone.
    pub async fn end(&mut self) -> anyhow::Result<()> {
        if let Some(mut running) = self.running.take() {
            running.child.start_kill().context("cannot kill the server")?;
            running.child.wait().await.context("cannot wait for the server")?;
        }
        Ok(())
    }

    /// SIGKILL. Returns how long it took to be gone; fails if it was something else that ended the process.
    pub async fn kill(&mut self) -> anyhow::Result<Duration> {
        let started = Instant::now();
        let mut running = self.running.take().context("the server is not running")?;
        running.child.start_kill().context("cannot kill the server")?;
        let status = running.child.wait().await.context("cannot wait for the server")?;
        if status.signal() != Some(SIGKILL) {
            bail!("the server ended by itself: {status}\n{}", self.log_tail());
        }
        Ok(started.elapsed())
    }

    fn log_tail(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_TAIL_BYTES)..]).into_owned()
    }
}

/// The letter that Linux has for what a process does: `T` is stopped.
fn process_state(pid: u32) -> anyhow::Result<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the server's state")?;
    // The name of the program, in brackets, may hold anything.
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.context("the server's state is not as Linux writes it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A server made of a shell script.
    fn script(dir: &Path, text: &str) -> Server {
        let binary = dir.join("server.sh");
        std::fs::write(&binary, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).unwrap();
        Server::new(&binary, dir, dir).unwrap()
    }

    #[tokio::test]
    async fn a_server_that_says_where_it_is_can_be_killed_and_started_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut server = script(dir.path(), r#"echo '{"http":"http://a","grpc":"http://b"}'; exec tail -f /dev/null"#);
        for _ in 0..2 {
            let addresses = server.start().await.unwrap();
            assert_eq!(addresses, Addresses { http: "http://a".into(), grpc: "http://b".into() });
            assert_eq!(server.died().unwrap(), None);
            server.kill().await.unwrap();
            assert_eq!(server.pid(), None);
        }
    }

    #[tokio::test]
    async fn a_paused_server_stands_still_and_goes_on_when_resumed() {
        let dir = tempfile::tempdir().unwrap();
        let mut server = script(dir.path(), r#"echo '{"http":"http://a","grpc":"http://b"}'; exec tail -f /dev/null"#);
        server.start().await.unwrap();
        let pid = server.pid().unwrap();
        server.pause().await.unwrap();
        assert_eq!(process_state(pid).unwrap(), 'T');
        server.resume().unwrap();
        let until = Instant::now() + STOPPED_MAX;
        while process_state(pid).unwrap() == 'T' {
            assert!(Instant::now() < until, "it still stands");
            tokio::time::sleep(STATE_POLL).await;
        }
        server.pause().await.unwrap();
        server.kill().await.unwrap();
    }

    #[tokio::test]
    async fn a_server_that_does_not_start_is_an_error_with_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let mut server = script(dir.path(), "echo 'no disk' >&2; exit 1");
        let error = server.start().await.unwrap_err().to_string();
        assert!(error.contains("did not start") && error.contains("no disk"), "{error}");
    }

    #[tokio::test]
    async fn a_server_that_ended_by_itself_was_not_killed() {
        let dir = tempfile::tempdir().unwrap();
        let mut server = script(dir.path(), r#"echo '{"http":"http://a","grpc":"http://b"}'; exit 7"#);
        server.start().await.unwrap();
        let running = server.running.as_mut().unwrap();
        running.child.wait().await.unwrap();
        let died = server.died().unwrap().unwrap();
        assert!(died.contains("exit status: 7"), "{died}");
    }
}
