//! One server process: `lethe dev` on a data directory of its own.
//!
//! A server that ends although nobody killed it, or does not come back, is found here; what it said is in its log file.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::Context;
use lethe_tests::{Place, Process};
use serde::Deserialize;

/// A start that takes longer has failed.
const READY_MAX: Duration = Duration::from_secs(60);
/// Folder of a server's data, in the folder of its run.
pub const DATA_DIR: &str = "data";

/// Where a running server can be reached. Ports of a single server change with each start.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Addresses {
    /// The node's name in its cluster; none for a server by itself.
    #[serde(default, skip)]
    pub node: Option<String>,
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
    place: Place,
    running: Option<Process>,
}

impl Server {
    /// A server that is not running yet; `dir` gets its data and its log. Paths are made absolute: it may run elsewhere.
    pub fn new(binary: &Path, project: &Path, dir: &Path, place: Place) -> anyhow::Result<Self> {
        let data = dir.join(DATA_DIR);
        std::fs::create_dir_all(&data).with_context(|| format!("cannot create {}", data.display()))?;
        let absolute = |path: &Path| std::path::absolute(path).with_context(|| format!("the path {}", path.display()));
        let (binary, project, dir) = (absolute(binary)?, absolute(project)?, absolute(dir)?);
        Ok(Self { binary, project, data: dir.join(DATA_DIR), log: dir.join("server.log"), place, running: None })
    }

    /// Starts the process and waits until it says that it is ready.
    pub async fn start(&mut self) -> anyhow::Result<Addresses> {
        assert!(self.running.is_none(), "the server is running already");
        let mut process = Process::start(self.command(), &self.log)?;
        let line = process.line(READY_MAX).await?;
        let addresses = serde_json::from_str(&line)
            .with_context(|| format!("the server did not start; it printed {line:?}\n{}", process.log_tail()))?;
        self.running = Some(process);
        Ok(addresses)
    }

    fn command(&self) -> Command {
        let mut command = self.place.command(&self.binary);
        command.arg("dev").arg(&self.project).arg("--data-dir").arg(&self.data);
        command.args(["--port", "0", "--grpc-port", "0", "--no-watch", "--json", "--log", "warn"]);
        command
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().and_then(Process::pid)
    }

    /// Why the process ended although nobody killed it; `None` while it runs.
    pub fn died(&mut self) -> anyhow::Result<Option<String>> {
        let Some(running) = &mut self.running else { return Ok(None) };
        let died = running.died()?;
        if died.is_some() {
            self.running = None;
        }
        Ok(died)
    }

    /// See [`Process::pause`].
    pub async fn pause(&self) -> anyhow::Result<()> {
        self.process()?.pause().await
    }

    /// See [`Process::resume`].
    pub fn resume(&self) -> anyhow::Result<()> {
        self.process()?.resume()
    }

    fn process(&self) -> anyhow::Result<&Process> {
        self.running.as_ref().context("the server is not running")
    }

    /// SIGKILL, for a server that may have ended by itself because its disk is gone.
    pub async fn end(&mut self) -> anyhow::Result<()> {
        if let Some(running) = self.running.take() {
            running.end().await?;
        }
        Ok(())
    }

    /// See [`Process::kill`].
    pub async fn kill(&mut self) -> anyhow::Result<Duration> {
        self.running.take().context("the server is not running")?.kill().await
    }
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
        Server::new(&binary, dir, dir, Place::default()).unwrap()
    }

    #[tokio::test]
    async fn a_server_that_says_where_it_is_can_be_killed_and_started_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut server = script(dir.path(), r#"echo '{"http":"http://a","grpc":"http://b"}'; exec tail -f /dev/null"#);
        for _ in 0..2 {
            let addresses = server.start().await.unwrap();
            assert_eq!(addresses, Addresses { node: None, http: "http://a".into(), grpc: "http://b".into() });
            assert_eq!(server.died().unwrap(), None);
            server.kill().await.unwrap();
            assert_eq!(server.pid(), None);
        }
    }

    #[tokio::test]
    async fn a_server_that_does_not_start_is_an_error_with_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let mut server = script(dir.path(), "echo 'no disk' >&2; exit 1");
        let error = server.start().await.unwrap_err().to_string();
        assert!(error.contains("did not start") && error.contains("no disk"), "{error}");
    }
}
