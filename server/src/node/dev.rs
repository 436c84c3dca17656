//! `lethe dev`: one node over one project, until Ctrl-C.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::{config::Config, data, rooms::Node, stop::Stop};
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
    let mut stop = Stop::listen()?;
    let identity = data::identity_or_first(&config.data_dir, config.shard.groups)?;
    let Some(node) = stop.unless_told(Node::start(config, identity, Some(&project))).await? else { return Ok(()) };
    let mut watcher = match args.no_watch {
        true => None,
        false => Some(Watcher::start(&project.root, args.data_dir.as_deref())?),
    };
    let name = &project.config.name;
    node.addresses().announce(name, ("worker", name), args.json)?;
    loop {
        tokio::select! {
            () = stop.told() => break,
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
    stop.unless_told_again(node.stop()).await
}

/// Resolves at the next change of the project; never, if it is not watched.
async fn changed(watcher: &mut Option<Watcher>) -> Result<(), WatchError> {
    match watcher {
        Some(watcher) => watcher.changed().await,
        None => std::future::pending().await,
    }
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
