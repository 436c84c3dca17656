//! `lethe dev`: one node over one project, until Ctrl-C.

use std::{io::Write, net::SocketAddr, path::PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

use super::{config::Config, data, ports::Addresses, rooms::Node};
use crate::{
    cli::DevArgs,
    deploy::{Project, WatchError, Watcher},
    gateway,
};

/// Runs `lethe dev`; returns when it was stopped and everything in flight is done.
pub(super) async fn dev(args: DevArgs) -> Result<()> {
    let (project, warnings) = Project::load(&args.dir)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    super::files::raise_limit();
    let data = DataDir::of(&args)?;
    let (http, grpc) = (SocketAddr::new(args.host, args.port), SocketAddr::new(args.host, args.grpc_port));
    let mut config = Config { show_failures: true, ..Config::new(http, grpc, data.path()) };
    if let (Some(cert), Some(key)) = (args.tls_cert, args.tls_key) {
        config.http.tls = Some(gateway::Tls { cert_pem_path: cert, key_pem_path: key });
    }
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let identity = data::identity_or_first(&config.data_dir, config.shard.groups)?;
    let node = Node::start(config, identity, Some(&project)).await?;
    let mut watcher = match args.no_watch {
        true => None,
        false => Some(Watcher::start(&project.root, args.data_dir.as_deref())?),
    };
    announce(&project.config.name, node.addresses(), args.json)?;
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            change = changed(&mut watcher) => match change {
                Ok(()) => node.reload(&args.dir).await,
                Err(reason) => {
                    tracing::error!("the project is no longer watched: {reason}");
                    watcher = None;
                }
            },
        }
    }
    tracing::info!("stopping: requests in flight finish first");
    tokio::select! {
        stopped = node.stop() => stopped,
        _ = interrupt.recv() => anyhow::bail!("interrupted again: stopped without waiting"),
    }
}

/// Resolves at the next change of the project; never, if it is not watched.
async fn changed(watcher: &mut Option<Watcher>) -> Result<(), WatchError> {
    match watcher {
        Some(watcher) => watcher.changed().await,
        None => std::future::pending().await,
    }
}

/// The single line that says where everything is, on stdout.
fn announce(name: &str, addresses: &Addresses, json: bool) -> Result<()> {
    let Addresses { http, grpc, .. } = addresses;
    let mut stdout = std::io::stdout().lock();
    if json {
        writeln!(stdout, "{}", serde_json::json!({ "worker": name, "http": http, "grpc": grpc }))
    } else {
        writeln!(stdout, "{name} is ready on {http} (gRPC on {grpc})")
    }
    .context("writing the ready line to stdout")
}

/// Where the node's data is: the directory that was asked for, or one that goes away with the process.
enum DataDir {
    Given(PathBuf),
    Temporary(TempDir),
}

impl DataDir {
    fn of(args: &DevArgs) -> Result<Self> {
        let Some(dir) = &args.data_dir else {
            let dir = tempfile::Builder::new().prefix("lethe-dev-").tempdir();
            return dir.map(Self::Temporary).context("making a temporary data directory");
        };
        std::fs::create_dir_all(dir).with_context(|| format!("making the data directory {}", dir.display()))?;
        Ok(Self::Given(dir.clone()))
    }

    fn path(&self) -> PathBuf {
        match self {
            Self::Given(dir) => dir.clone(),
            Self::Temporary(dir) => dir.path().to_owned(),
        }
    }
}
