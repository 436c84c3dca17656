//! The `lethe` binary as a child process.

use std::{
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::Pid;
pub use rustix::process::Signal;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    time::Instant,
};

/// How to start a server.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Kept over restarts if given; else the server uses a directory of its own.
    pub data_dir: Option<PathBuf>,
    /// Further arguments of `lethe dev`.
    pub args: Vec<String>,
}

/// A running `lethe dev`. Killed when dropped.
pub struct Server {
    child: Child,
    /// `http://127.0.0.1:PORT` of the gateway.
    pub http: String,
    /// `http://127.0.0.1:PORT` of the gRPC API.
    pub grpc: String,
    output: Arc<Mutex<String>>,
    /// Where the server makes temporary files: one that is killed cannot remove them. Dropped after the process.
    _temporary: TempDir,
}

/// The binary under test: built by cargo beside the tests.
pub fn lethe() -> PathBuf {
    let tests = std::env::current_exe().expect("a running test has a path");
    let dir = tests.parent().and_then(Path::parent).expect("tests live in target/PROFILE/deps");
    let path = dir.join("lethe");
    assert!(path.exists(), "{} is missing: run `cargo test --workspace`, or `cargo build` first", path.display());
    path
}

/// Waits until `condition` gives a value, or fails with `what` after 20 s.
pub async fn wait_for<T>(what: &str, condition: impl AsyncFnMut() -> Option<T>) -> T {
    wait_up_to(Duration::from_secs(20), what, condition).await
}

/// Waits until `condition` gives a value, or fails with `what` after `time_max`.
pub async fn wait_up_to<T>(time_max: Duration, what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + time_max;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < deadline, "gave up waiting for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Server {
    /// Starts `lethe dev` on a project, on free ports, and waits until it is ready.
    pub async fn start(project: &Path, options: &Options) -> Result<Self> {
        let mut command = Command::new(lethe());
        command.arg("dev").arg(project).args(["--port", "0", "--grpc-port", "0", "--json"]).args(&options.args);
        if let Some(dir) = &options.data_dir {
            command.arg("--data-dir").arg(dir);
        }
        let temporary = TempDir::new().context("a directory for the server's temporary files")?;
        command.env("TMPDIR", temporary.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("starting lethe")?;
        let output = Arc::new(Mutex::new(String::new()));
        let stderr = child.stderr.take().context("stderr is piped")?;
        tokio::spawn(collect(BufReader::new(stderr), output.clone()));
        let mut stdout = BufReader::new(child.stdout.take().context("stdout is piped")?).lines();
        let ready = tokio::time::timeout(Duration::from_secs(60), stdout.next_line()).await;
        let Ok(Ok(Some(line))) = ready else {
            let status = tokio::time::timeout(Duration::from_secs(5), child.wait()).await;
            bail!("lethe dev did not become ready ({status:?}):\n{}", output.lock().expect("unpoisoned"));
        };
        let ready: serde_json::Value = serde_json::from_str(&line).with_context(|| format!("ready line {line:?}"))?;
        let address = |key: &str| ready[key].as_str().map(str::to_owned).with_context(|| format!("no {key} in {line}"));
        let (http, grpc) = (address("http")?, address("grpc")?);
        tokio::spawn(collect(stdout.into_inner(), output.clone()));
        Ok(Self { child, http, grpc, output, _temporary: temporary })
    }

    /// The server's process id.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("the server runs")
    }

    /// What the server printed so far, on both streams.
    pub fn output(&self) -> String {
        self.output.lock().expect("unpoisoned").clone()
    }

    /// kill -9, and waits until the process is gone.
    pub async fn kill(mut self) -> Result<ExitStatus> {
        self.child.start_kill()?;
        Ok(self.child.wait().await?)
    }

    /// Ctrl-C, and waits for the exit.
    pub async fn stop(self) -> Result<(ExitStatus, String)> {
        self.signal(Signal::INT);
        self.ended().await
    }

    /// Waits for the exit, which something else has brought about.
    pub async fn ended(mut self) -> Result<(ExitStatus, String)> {
        let status = tokio::time::timeout(Duration::from_secs(40), self.child.wait()).await;
        Ok((status.context("the server did not end within 40 s")??, self.output()))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid() as i32).expect("a pid is not 0");
        rustix::process::kill_process(pid, signal).expect("our own child takes signals");
    }
}

async fn collect(mut lines: BufReader<impl AsyncRead + Unpin>, output: Arc<Mutex<String>>) {
    let mut line = String::new();
    while lines.read_line(&mut line).await.is_ok_and(|n| n > 0) {
        output.lock().expect("unpoisoned").push_str(&line);
        line.clear();
    }
}
