//! One node: which rooms there are, what each is given, and the order in which they start and stop.
//!
//! ```text
//! ports ── engine ── vault ── shards ── cluster ── peer port ── actors ── routing ── grpc, gateway ── ready
//! ```
//!
//! `lethe dev` and `lethe serve` run the same rooms; `dev` is a cluster of one node without a peer port.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use lethe_runtime::engine::{self, Engine};

use super::{
    data::{self, Data},
    directory::NodeDirectory,
    everywhere::Everywhere,
    guard::Guarded,
    nothing,
    operator::ClusterOperator,
    reload,
};
use crate::{
    actor::{self, Actors, Call, Homes},
    cluster::{self, Announce, Begin, Cluster, HandOver, Keys, keys},
    deploy::{Deployments, Project, Releases},
    egress::{self, Fetcher},
    gateway::{self, Gateway},
    grpc,
    peer::{self, Me, Transport},
    routing::{Places, Router},
    shard::{self, Identity, Shards},
    worker::Workers,
};

/// How long a stopping node waits for others to take over what it leads.
const STEP_DOWN_MAX: Duration = Duration::from_secs(10);
/// How long a starting node waits until every group has a leader, before it says that it is ready all the same.
const LEADERS_MAX: Duration = Duration::from_secs(10);

/// What a node is given.
pub struct Config {
    /// The HTTP face.
    pub http: gateway::Config,
    /// The gRPC face.
    pub grpc: grpc::Config,
    /// Its place among other nodes; none is a cluster of one.
    pub member: Option<Member>,
    /// Where everything durable is.
    pub data_dir: PathBuf,
    /// The Raft groups. How many there are the data directory says.
    pub shard: shard::Config,
    /// Periods and limits of the cluster.
    pub cluster: cluster::Config,
    /// Data keys of actors.
    pub keys: keys::Config,
    /// Bounds of actors.
    pub actors: actor::Config,
    /// Sizes of the JavaScript engine.
    pub engine: engine::Config,
    /// Bounds of outgoing requests.
    pub egress: egress::Config,
    /// Whether clients see why a Worker failed.
    pub show_failures: bool,
}

/// What makes a node one of several.
pub struct Member {
    /// What people call it.
    pub name: String,
    /// The port for other nodes.
    pub peer: peer::Config,
    /// How it came to be a member.
    pub begin: Begin,
    /// `host:port` for clients, if it is not where it listens.
    pub http_advertise: Option<String>,
    /// `host:port` for programs, if it is not where it listens.
    pub grpc_advertise: Option<String>,
    /// `host:port` for other nodes, if it is not where it listens.
    pub peer_advertise: Option<String>,
}

/// Where a node listens.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// `http://host:port`, or `https://` with TLS.
    pub http: String,
    /// `http://host:port`
    pub grpc: String,
    /// `host:port`, if there is a port for other nodes.
    pub peer: Option<String>,
}

/// A running node.
pub struct Node {
    addresses: Addresses,
    engine: Engine,
    deployments: Deployments,
    actors: Actors,
    keys: Keys,
    shards: Arc<Shards>,
    cluster: Cluster,
    /// None where the project comes from a directory.
    releases: Option<Releases>,
    peer: Option<peer::Handle>,
    http: gateway::Handle,
    grpc: grpc::Handle,
    /// Everything else holds it weakly.
    router: Arc<Router>,
    hand_over: Arc<dyn HandOver>,
}

impl Config {
    /// A cluster of one with the usual sizes.
    pub fn new(http: SocketAddr, grpc: SocketAddr, data_dir: PathBuf) -> Self {
        Self {
            http: gateway::Config::new(http),
            grpc: grpc::Config::new(grpc),
            member: None,
            data_dir,
            shard: shard::Config::new(1),
            cluster: cluster::Config::default(),
            keys: keys::Config::default(),
            actors: actor::Config::default(),
            engine: engine::Config::default(),
            egress: egress::Config::default(),
            show_failures: false,
        }
    }
}

/// The ports, bound before anything slow is done.
struct Ports {
    http: gateway::Bound,
    grpc: grpc::Bound,
    peer: Option<peer::Bound>,
    addresses: Addresses,
    announce: Announce,
    begin: Begin,
}

impl Ports {
    async fn bind(http: gateway::Config, grpc: grpc::Config, member: Option<Member>, me: Me) -> Result<Self> {
        let scheme = if http.tls.is_some() { "https" } else { "http" };
        let http = Gateway::bind(http).await?;
        let grpc = grpc::bind(grpc).await?;
        let (on_http, on_grpc) = (http.local_addr(), grpc.local_addr());
        let mut addresses =
            Addresses { http: format!("{scheme}://{on_http}"), grpc: format!("http://{on_grpc}"), peer: None };
        let Some(member) = member else {
            let announce = Announce { http: on_http.to_string(), grpc: on_grpc.to_string(), ..Announce::default() };
            return Ok(Self { http, grpc, peer: None, addresses, announce, begin: Begin::Found { replication: 1 } });
        };
        let peer = peer::bind(member.peer, me).await?;
        let on_peer = peer.local_addr();
        addresses.peer = Some(on_peer.to_string());
        let announce = Announce {
            name: member.name,
            peer: member.peer_advertise.unwrap_or_else(|| on_peer.to_string()),
            grpc: member.grpc_advertise.unwrap_or_else(|| on_grpc.to_string()),
            http: member.http_advertise.unwrap_or_else(|| on_http.to_string()),
        };
        Ok(Self { http, grpc, peer: Some(peer), addresses, announce, begin: member.begin })
    }
}

impl Node {
    /// Binds the ports, opens the data directory, enters the cluster, and serves: `project`, or what was deployed on the
    /// cluster. Requests are refused until this returns.
    pub async fn start(config: Config, identity: Identity, project: Option<&Project>) -> Result<Self> {
        let me = Me { cluster: identity.cluster, node: identity.node };
        let calls_max = config.grpc.calls_max;
        let ports = Ports::bind(config.http, config.grpc, config.member, me).await?;
        let engine = Engine::start(config.engine);
        let first = match project {
            Some(project) => reload::build(&engine, project).await?,
            None => nothing::version(&engine).await?,
        };
        let deployments = Deployments::new(first);
        let fetcher = Fetcher::new(config.egress)?;

        let peers = ports.peer.as_ref().map(peer::Bound::peers);
        let transport: Arc<dyn Transport> = match &peers {
            Some(peers) => Arc::new(peers.clone()),
            None => Arc::new(shard::Alone),
        };
        let Data { keys, shards } =
            data::open(&config.data_dir, identity, config.shard, config.keys, transport.clone()).await?;
        let remotes = peers.map(grpc::Remotes);
        let (nodes, others): (Arc<dyn cluster::Addresses>, Arc<dyn Places>) = match &remotes {
            Some(remotes) => (Arc::new(remotes.0.clone()), Arc::new(remotes.clone())),
            None => (Arc::new(()), Arc::new(())),
        };
        let deps = cluster::Deps {
            shards: shards.clone(),
            transport: transport.clone(),
            addresses: nodes,
            keys: Arc::new(keys.clone()),
            announce: ports.announce,
            begin: ports.begin,
        };
        let cluster = Cluster::start(config.cluster, deps);
        let releases = project.is_none().then(|| Releases::start(cluster.clone(), engine.clone(), deployments.clone()));
        let map = cluster.map();
        keys.start(&shards, transport, Arc::new(move |actor| Some(map.borrow().as_ref()?.group_of(actor))));
        let peer = ports.peer.map(|bound| bound.serve(handlers(&shards, &cluster, &keys)));

        let call_timeout = config.actors.call_timeout;
        let homes: Arc<dyn Homes> = Arc::new(cluster.clone());
        let mut actors = None;
        let router = Arc::new_cyclic(|router: &Weak<Router>| {
            let deps = actor::Deps {
                engine: engine.clone(),
                homes: homes.clone(),
                keys: keys.clone(),
                deployments: deployments.clone(),
                fetcher: fetcher.clone(),
                call: router.clone(),
            };
            let actors = actors.insert(Actors::start(config.actors, deps)).clone();
            Router::new(Arc::new(actors), homes.clone(), others)
        });
        let actors = actors.context("the router is made with them")?;
        let hand_over: Arc<dyn HandOver> = Arc::new(actors.clone());
        cluster.before_hand_over(&hand_over);
        let directory = Arc::new(NodeDirectory::new(deployments.clone(), shards.clone(), actors.clone(), homes));
        if let Some(peer) = &peer {
            let here = Arc::new(Guarded::new(actors.clone(), cluster.clone()));
            peer.route(grpc::for_nodes(here, directory.clone(), calls_max));
        }
        let directory = Everywhere { here: directory, cluster: cluster.clone(), others: remotes };
        let guarded = Arc::new(Guarded::new((*router).clone(), cluster.clone()));
        let operator = Arc::new(ClusterOperator::new(cluster.clone()));
        let grpc = ports.grpc.with_releases(releases.clone()).serve(guarded, Arc::new(directory), operator);
        let call: Arc<dyn Call> = router.clone();
        let workers = Workers {
            engine: engine.clone(),
            deployments: deployments.clone(),
            fetcher,
            call: Arc::downgrade(&call),
            call_timeout,
            show_failures: config.show_failures,
        };
        let http = ports.http.serve(Arc::new(Guarded::new(workers, cluster.clone())));
        let addresses = ports.addresses;
        let node = Self {
            addresses,
            engine,
            deployments,
            actors,
            keys,
            shards,
            cluster,
            releases,
            peer,
            http,
            grpc,
            router,
            hand_over,
        };
        node.ready().await?;
        Ok(node)
    }

    /// Waits until requests are taken, and then, for a while, until every group has a leader.
    async fn ready(&self) -> Result<()> {
        self.cluster.ready().await?;
        let deadline = Instant::now() + LEADERS_MAX;
        while !self.all_led() {
            if Instant::now() > deadline {
                tracing::warn!("some groups have no leader yet; `lethe cluster status` tells which");
                break;
            }
            tokio::time::sleep(READY_POLL).await;
        }
        Ok(())
    }

    fn all_led(&self) -> bool {
        let map = self.cluster.map().borrow().clone();
        map.is_some_and(|map| map.groups.keys().all(|group| self.cluster.home_of(*group).leader.is_some()))
    }

    /// Where it listens.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Waits until this node cannot be a member of its cluster any more, and says why. It has to stop then.
    pub async fn fate(&self) -> cluster::Error {
        self.cluster.fate().await
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

    /// Stops: leadership is handed over while requests are still served, no new requests, those in flight finish, actors
    /// are drained, the peer port closes, and then the log.
    pub async fn stop(self) -> Result<()> {
        let Self { engine, actors, keys, shards, cluster, releases, peer, http, grpc, router, hand_over, .. } = self;
        cluster.step_down(Instant::now() + STEP_DOWN_MAX).await;
        tokio::join!(http.drain(), grpc.drain());
        engine.idle().await;
        actors.stop().await;
        if let Some(releases) = releases {
            releases.stop().await;
        }
        cluster.stop().await;
        keys.stop().await;
        if let Some(peer) = peer {
            peer.drain().await;
        }
        drop((actors, router, hand_over, cluster, keys));
        match Arc::into_inner(shards) {
            Some(shards) => shards.shutdown().await.context("closing the data directory"),
            None => {
                tracing::warn!("something still uses the shards: the next start will check the whole state");
                Ok(())
            }
        }
    }
}

/// How often waiting looks again.
const READY_POLL: Duration = Duration::from_millis(10);

/// Who takes which messages of other nodes.
fn handlers(shards: &Shards, cluster: &Cluster, keys: &Keys) -> Vec<(peer::Topic, Arc<dyn peer::Handler>)> {
    use peer::Topic::{Append, AppendStream, Heartbeats, PreVote, Snapshot, TransferLeader, Vote};
    let raft = [Vote, PreVote, Heartbeats, Append, AppendStream, Snapshot, TransferLeader];
    let handler = shards.handler();
    let raft = raft.map(|topic| (topic, handler.clone()));
    raft.into_iter().chain(cluster.handlers()).chain([(peer::Topic::Keys, keys.handler())]).collect()
}
