//! One node: its configuration, its data directory, and the process that runs now.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{Clock, Disk, Place, Process, run};

const HTTP_PORT: u16 = 8787;
const GRPC_PORT: u16 = 7070;
/// Where nodes listen for each other.
const PEER_PORT: u16 = 7071;
/// Where a node's disk is mounted, in its folder.
pub const MOUNT: &str = "disk";
/// Its data directory, in its folder: below the root of the disk, where `lost+found` is.
const DATA: &str = "disk/data";
/// A start that takes longer has failed.
const READY_MAX: Duration = Duration::from_secs(60);
/// A stop that takes longer has failed.
const STOP_MAX: Duration = Duration::from_secs(60);

/// A node of a cluster. Ports and data stay over restarts.
pub struct Node {
    /// What people call it: `n1`, `n2`, ...
    pub name: String,
    binary: PathBuf,
    dir: PathBuf,
    address: Ipv4Addr,
    process: Option<Process>,
    /// Dropped after the process.
    equipment: Equipment,
}

/// What a node has for itself.
pub(super) struct Equipment {
    pub place: Place,
    pub disk: Option<Disk>,
    pub clock: Option<Clock>,
    pub log: Option<String>,
}

impl Node {
    pub(super) fn new(binary: &Path, dir: &Path, name: String, address: Ipv4Addr, equipment: Equipment) -> Self {
        Self { name, binary: binary.into(), dir: dir.into(), address, process: None, equipment }
    }

    /// Writes its `lethe.toml`.
    pub(super) fn configure(&self, join: &[String], settings: &str) -> Result<()> {
        let (name, address) = (&self.name, self.address);
        let text = format!(
            "name = {name:?}\ndata_dir = {:?}\njoin = {join:?}\n\
             [http]\nlisten = \"{address}:{HTTP_PORT}\"\naccess_log = false\n\
             [grpc]\nlisten = \"{address}:{GRPC_PORT}\"\n\
             [peer]\nlisten = \"{address}:{PEER_PORT}\"\nadvertise = \"{address}:{PEER_PORT}\"\n{settings}\n",
            self.dir.join(DATA),
        );
        fs::write(self.config(), text).context("the node's configuration")
    }

    /// Its `lethe.toml`.
    pub fn config(&self) -> PathBuf {
        self.dir.join("lethe.toml")
    }

    /// Where the file is that made its data directory.
    pub(super) fn join_file(&self) -> PathBuf {
        self.dir.join("join-file")
    }

    /// Makes its data directory from that file; once more, if it was lost.
    pub fn join(&self) -> Result<()> {
        let path = |path: PathBuf| path.to_str().map(str::to_owned).context("temporary folders have plain names");
        self.lethe(&["cluster", "join", "--config", &path(self.config())?, &path(self.join_file())?])?;
        Ok(())
    }

    /// Its data directory, as seen from here.
    pub fn data(&self) -> PathBuf {
        let disk = self.equipment.disk.as_ref().map_or_else(|| self.dir.join(MOUNT), Disk::outside);
        disk.join(Path::new(DATA).strip_prefix(MOUNT).expect("the data is on the disk"))
    }

    /// Its disk.
    ///
    /// # Panics
    /// If the cluster was set up without disks.
    pub fn disk(&mut self) -> &mut Disk {
        self.equipment.disk.as_mut().expect("this cluster was set up with disks")
    }

    /// Its wall clock.
    ///
    /// # Panics
    /// If the cluster was set up without clocks.
    pub fn clock(&self) -> &Clock {
        self.equipment.clock.as_ref().expect("this cluster was set up with clocks")
    }

    /// `http://ADDRESS:PORT` of the gateway.
    pub fn http(&self) -> String {
        format!("http://{}:{HTTP_PORT}", self.address)
    }

    /// `http://ADDRESS:PORT` of the gRPC API.
    pub fn grpc(&self) -> String {
        format!("http://{}:{GRPC_PORT}", self.address)
    }

    /// `ADDRESS:PORT` for other nodes.
    pub fn peer(&self) -> String {
        format!("{}:{PEER_PORT}", self.address)
    }

    /// Runs a command of `lethe` where this node runs.
    pub fn lethe(&self, args: &[&str]) -> Result<String> {
        run(self.equipment.place.command(&self.binary).args(args), "")
            .with_context(|| format!("lethe {}", args.join(" ")))
    }

    /// Deploys a project through this node.
    pub async fn deploy(&self, project: &Path) -> Result<()> {
        let mut command = Command::new(&self.binary);
        command.arg("deploy").arg(project).args(["--api", &self.grpc()]);
        // The command waits for the cluster; this thread's other tasks must go on meanwhile.
        tokio::task::spawn_blocking(move || run(&mut command, "")).await?.context("lethe deploy")?;
        Ok(())
    }

    /// Starts the process and waits until it says that it is ready.
    pub async fn start(&mut self) -> Result<()> {
        self.launch()?;
        self.ready().await
    }

    /// Starts the process, and does not wait for it.
    ///
    /// # Panics
    /// If it runs already.
    pub fn launch(&mut self) -> Result<()> {
        assert!(self.process.is_none(), "{} runs already", self.name);
        let mut command = self.equipment.place.command(&self.binary);
        command.args(["serve", "--json", "--config"]).arg(self.config()).env("TMPDIR", &self.dir);
        command.env("RUST_BACKTRACE", "0");
        if let Some(log) = &self.equipment.log {
            command.env("LETHE_LOG", log);
        }
        if let Some(clock) = &self.equipment.clock {
            clock.give(&mut command);
        }
        self.process = Some(Process::start(command, &self.dir.join("log"))?);
        Ok(())
    }

    /// Waits until the started process says that it is ready.
    pub async fn ready(&mut self) -> Result<()> {
        self.ready_within(READY_MAX).await
    }

    /// The same, for a node that has much to read.
    pub async fn ready_within(&mut self, time_max: Duration) -> Result<()> {
        let name = self.name.clone();
        let line = self.process()?.line(time_max).await.with_context(|| format!("starting {name}"))?;
        let said: serde_json::Value = serde_json::from_str(&line).with_context(|| format!("ready line {line:?}"))?;
        said["node"].as_str().with_context(|| format!("no node in {line}"))?;
        Ok(())
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().and_then(Process::pid)
    }

    /// The process.
    pub fn process(&mut self) -> Result<&mut Process> {
        let name = &self.name;
        self.process.as_mut().with_context(|| format!("{name} does not run"))
    }

    /// Why it ended although nobody killed it; `None` while it runs, or was ended by us.
    pub fn died(&mut self) -> Result<Option<String>> {
        let Some(process) = &mut self.process else { return Ok(None) };
        let died = process.died()?.map(|why| format!("{}: {why}", self.name));
        if died.is_some() {
            self.process = None;
        }
        Ok(died)
    }

    /// kill -9. Fails if it had ended by itself.
    pub async fn kill(&mut self) -> Result<()> {
        let process = self.process.take().with_context(|| format!("{} does not run", self.name))?;
        process.kill().await.with_context(|| format!("killing {}", self.name))?;
        Ok(())
    }

    /// kill -9, where it may have ended by itself.
    pub async fn end(&mut self) -> Result<()> {
        if let Some(process) = self.process.take() {
            process.end().await?;
        }
        Ok(())
    }

    /// Ctrl-C, and waits for the exit, which must be a clean one.
    pub async fn stop(&mut self) -> Result<()> {
        let process = self.process.take().with_context(|| format!("{} does not run", self.name))?;
        let status = process.stop(STOP_MAX).await.with_context(|| format!("stopping {}", self.name))?;
        anyhow::ensure!(status.success(), "{} stopped with {status}\n{}", self.name, self.log());
        Ok(())
    }

    /// SIGSTOP.
    pub async fn pause(&mut self) -> Result<()> {
        self.process()?.pause().await
    }

    /// SIGCONT.
    pub fn resume(&mut self) -> Result<()> {
        self.process()?.resume()
    }

    /// What it said on stderr, since it was first started.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.dir.join("log")).unwrap_or_default()).into_owned()
    }
}
