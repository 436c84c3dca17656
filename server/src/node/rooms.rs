//! One node: which rooms there are, what each is given, and the order in which they start and stop.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
};

use anyhow::{Context, Result};
use lethe_proto::ActorId;
use lethe_runtime::engine::{self, Engine};
use uuid::Uuid;

use super::{directory::NodeDirectory, operator::Alone, reload};
use crate::{
    actor::{self, Actors, Call},
    deploy::{Deployments, Project},
    egress::{self, Fetcher},
    gateway::{self, Gateway},
    grpc,
    routing::Router,
    shard::{self, Created, EffectError, Effects, Shards},
    store::vfs::{StdVfs, Vfs},
    vault::{Owner, TableConfig, Vault},
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
        let (vault, shards) = open_data(&config.data_dir, config.groups).await?;

        let call_timeout = config.actors.call_timeout;
        let mut actors = None;
        let router = Arc::new_cyclic(|router: &Weak<Router>| {
            let deps = actor::Deps {
                engine: engine.clone(),
                shards: shards.clone(),
                vault,
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
        Ok(Self { addresses, engine, deployments, actors, shards, http, grpc, router })
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
        let Self { engine, actors, shards, http, grpc, router, .. } = self;
        tokio::join!(http.drain(), grpc.drain());
        engine.idle().await;
        actors.stop().await;
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

/// Opens vault and shards.
async fn open_data(dir: &Path, groups: u32) -> Result<(Vault, Arc<Shards>)> {
    let vfs: Arc<dyn Vfs> = Arc::new(StdVfs);
    let (keys_dir, keys_vfs) = (dir.join("keys"), vfs.clone());
    let opened = tokio::task::spawn_blocking(move || Vault::open(keys_vfs, &keys_dir, TableConfig::new(Uuid::nil())));
    let vault = opened.await?.context("opening the key table")?;
    let deps = shard::Deps {
        vfs,
        data_dir: dir.to_owned(),
        state_dir: dir.join("state"),
        effects: Arc::new(EraseKeys(vault.clone())),
        transport: Arc::new(shard::Alone),
    };
    let shards = Shards::start(shard::Config::new(groups), deps).await.context("opening the data directory")?;
    shards.create_all().await.context("starting the groups")?;
    let shards = Arc::new(shards);
    Ok((vault, shards))
}

/// Creation and destruction, as the shards apply them: the data key is stored, and erased.
struct EraseKeys(Vault);

impl Effects for EraseKeys {
    fn created(&self, _: u32, created: Vec<Created>) -> Result<(), EffectError> {
        let owner = |created: &Created| Owner { actor: created.actor, incarnation: created.incarnation };
        let offers: Vec<_> = created.iter().map(|created| (owner(created), &created.shares[..])).collect();
        let missed = self.0.take(&offers)?;
        missed.iter().for_each(|(owner, why)| tracing::error!(?owner, ?why, "the key of a new actor is missing"));
        Ok(())
    }

    fn installed(&self, _: u32) -> Result<(), EffectError> {
        Ok(())
    }

    fn destroyed(&self, actor: ActorId, incarnation: Uuid) -> Result<(), EffectError> {
        self.0.erase(actor, incarnation)?;
        Ok(())
    }
}
