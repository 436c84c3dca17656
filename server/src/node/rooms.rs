//! One node: which rooms there are, what each is given, and the order in which they start and stop.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
};

use anyhow::{Context, Result};
use lethe_runtime::engine::{self, Engine};

use super::{directory::NodeDirectory, operator::Alone, reload};
use crate::{
    actor::{self, Actors, Call},
    cluster::{Keys, keys},
    deploy::{Deployments, Project},
    egress::{self, Fetcher},
    gateway::{self, Gateway},
    grpc,
    routing::Router,
    shard::{self, Identity, Shards},
    store::vfs::{StdVfs, Vfs},
    vault::{TableConfig, Vault},
    worker::Workers,
};

/// What a node is given.
pub struct Config {
    /// The HTTP face.
    pub http: gateway::Config,
    /// The gRPC face.
    pub grpc: grpc::Config,
    /// Where everything durable is.
    pub data_dir: PathBuf,
    /// Raft groups of a new data directory.
    pub groups: u32,
    /// Bounds of actors.
    pub actors: actor::Config,
    /// Sizes of the JavaScript engine.
    pub engine: engine::Config,
    /// Bounds of outgoing requests.
    pub egress: egress::Config,
    /// Whether clients see why a Worker failed.
    pub show_failures: bool,
}

/// Where a node listens.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// `http://host:port`, or `https://` with TLS.
    pub http: String,
    /// `http://host:port`
    pub grpc: String,
}

/// A running node.
pub struct Node {
    addresses: Addresses,
    engine: Engine,
    deployments: Deployments,
    actors: Actors,
    keys: Keys,
    shards: Arc<Shards>,
    http: gateway::Handle,
    grpc: grpc::Handle,
    /// Everything else holds it weakly.
    router: Arc<Router>,
}

impl Config {
    /// The usual sizes.
    pub fn new(http: SocketAddr, grpc: SocketAddr, data_dir: PathBuf) -> Self {
        Self {
            http: gateway::Config::new(http),
            grpc: grpc::Config::new(grpc),
            data_dir,
            groups: 1,
            actors: actor::Config::default(),
            engine: engine::Config::default(),
            egress: egress::Config::default(),
            show_failures: false,
        }
    }
}

impl Node {
    /// Binds the ports, compiles the project, opens the data directory, and serves.
    pub async fn start(config: Config, project: &Project) -> Result<Self> {
        let scheme = if config.http.tls.is_some() { "https" } else { "http" };
        let http = Gateway::bind(config.http).await?;
        let grpc = grpc::bind(config.grpc).await?;
        let addresses = Addresses {
            http: format!("{scheme}://{}", http.local_addr()),
            grpc: format!("http://{}", grpc.local_addr()),
        };
        let engine = Engine::start(config.engine);
        let deployments = Deployments::new(reload::build(&engine, project).await?);
        let fetcher = Fetcher::new(config.egress)?;
        let (keys, shards) = open_data(&config.data_dir, config.groups).await?;

        let call_timeout = config.actors.call_timeout;
        let mut actors = None;
        let router = Arc::new_cyclic(|router: &Weak<Router>| {
            let deps = actor::Deps {
                engine: engine.clone(),
                shards: shards.clone(),
                keys: keys.clone(),
                deployments: deployments.clone(),
                fetcher: fetcher.clone(),
                call: router.clone(),
            };
            Router::new(actors.insert(Actors::start(config.actors, deps)).clone())
        });
        let actors = actors.context("the router is made with them")?;
        let directory = NodeDirectory::new(deployments.clone(), shards.clone(), actors.clone());
        let call: Arc<dyn Call> = router.clone();
        let grpc = grpc.serve(call.clone(), Arc::new(directory), Arc::new(Alone));
        let workers = Workers {
            engine: engine.clone(),
            deployments: deployments.clone(),
            fetcher,
            call: Arc::downgrade(&call),
            call_timeout,
            show_failures: config.show_failures,
        };
        let http = http.serve(Arc::new(workers));
        Ok(Self { addresses, engine, deployments, actors, keys, shards, http, grpc, router })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Deploys the project as it now is; if it cannot be built, says why and keeps the version that serves.
    pub async fn reload(&self, dir: &Path) {
        match reload::load(&self.engine, dir).await {
            Ok(version) => {
                tracing::info!(worker = version.name(), version = %version.id(), "a new version serves");
                self.deployments.replace(version);
            }
            Err(error) => tracing::error!("the project changed, but the old version still serves: {error:#}"),
        }
    }

    /// Stops: no new requests, those in flight finish, actors are drained, and then the log is closed.
    pub async fn stop(self) -> Result<()> {
        let Self { engine, actors, keys, shards, http, grpc, router, .. } = self;
        tokio::join!(http.drain(), grpc.drain());
        engine.idle().await;
        actors.stop().await;
        keys.stop().await;
        drop((actors, router));
        match Arc::into_inner(shards) {
            Some(shards) => shards.shutdown().await.context("closing the data directory"),
            None => {
                tracing::warn!("something still uses the shards: the next start will check the whole state");
                Ok(())
            }
        }
    }
}

/// Opens vault and shards, of a new node if the directory has none.
async fn open_data(dir: &Path, groups: u32) -> Result<(Keys, Arc<Shards>)> {
    let vfs: Arc<dyn Vfs> = Arc::new(StdVfs);
    let (dir_of_keys, vfs_of_keys) = (dir.to_owned(), vfs.clone());
    let opened = tokio::task::spawn_blocking(move || open_vault(vfs_of_keys, &dir_of_keys, groups));
    let keys = Keys::new(opened.await??, keys::Config::default());
    let transport = Arc::new(shard::Alone);
    let deps = shard::Deps {
        vfs,
        data_dir: dir.to_owned(),
        state_dir: dir.join("state"),
        effects: keys.effects(),
        transport: transport.clone(),
    };
    let shards = Shards::start(shard::Config::new(groups), deps).await.context("opening the data directory")?;
    shards.create_all().await.context("starting the groups")?;
    let shards = Arc::new(shards);
    let here = Arc::downgrade(&shards);
    let group_of = move |actor| here.upgrade()?.shard(actor).map(|shard| shard.id());
    keys.start(&shards, transport, Arc::new(group_of));
    Ok((keys, shards))
}

/// The key table belongs to the directory's node. Blocks.
fn open_vault(vfs: Arc<dyn Vfs>, dir: &Path, groups: u32) -> Result<Vault> {
    let identity = match Identity::read(&*vfs, dir)? {
        Some(identity) => identity,
        None => {
            let identity = Identity::first(groups);
            identity.found(&*vfs, dir)?;
            identity
        }
    };
    Vault::open(vfs, &dir.join("keys"), TableConfig::new(identity.node.0)).context("opening the key table")
}
