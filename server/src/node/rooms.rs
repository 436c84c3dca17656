//! One node: which rooms there are, what each is given, and the order in which they start and stop.
//!
//! ```text
//! ports ── engine ── vault ── shards ── cluster ── peer port ── actors ── routing ── grpc, gateway ── ready
//! ```
//!
//! `lethe dev` and `lethe serve` run the same rooms; `dev` is a cluster of one node without a peer port.

use std::{
    path::Path,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use lethe_runtime::engine::Engine;

use super::{
    config::Config,
    data::{self, Data},
    directory::NodeDirectory,
    everywhere::Everywhere,
    guard::Guarded,
    nothing,
    operator::ClusterOperator,
    ports::{Addresses, Ports},
    reload,
};
use crate::{
    actor::{self, Actors, Call, Homes},
    cluster::{self, Announce, Begin, Cluster, HandOver, Keys},
    deploy::{Deployments, Project, Releases},
    egress::Fetcher,
    gateway,
    grpc::{self, Remotes},
    peer::{self, Me, Peers, Transport},
    routing::{Places, Router},
    shard::{self, Identity, Shards},
    worker::Workers,
};

/// How long a stopping node waits for others to take over what it leads, once calls have had their time to end.
const STEP_DOWN_MAX: Duration = Duration::from_secs(10);
/// How long a starting node waits until every group has a leader, before it says that it is ready all the same.
const LEADERS_MAX: Duration = Duration::from_secs(10);
/// How often waiting looks again.
const READY_POLL: Duration = Duration::from_millis(10);

/// A running node.
pub struct Node {
    addresses: Addresses,
    peer: Option<peer::Handle>,
    http: gateway::Handle,
    grpc: grpc::Handle,
    inside: Inside,
}

/// What is behind the ports.
struct Inside {
    engine: Engine,
    deployments: Deployments,
    actors: Actors,
    keys: Keys,
    shards: Arc<Shards>,
    cluster: Cluster,
    /// None where the project comes from a directory.
    releases: Option<Releases>,
    /// Everything else holds these two weakly.
    router: Arc<Router>,
    hand_over: Arc<dyn HandOver>,
    /// How long calls may take before their group is handed over.
    hand_over_max: Duration,
}

/// The way to other nodes; without a peer port there are none.
struct Way {
    transport: Arc<dyn Transport>,
    nodes: Arc<dyn cluster::Addresses>,
    places: Arc<dyn Places>,
    remotes: Option<Remotes>,
}

impl Way {
    fn new(peers: Option<Peers>) -> Self {
        match peers {
            Some(peers) => {
                let remotes = Remotes::new(peers.clone());
                Self {
                    transport: Arc::new(peers.clone()),
                    nodes: Arc::new(peers),
                    places: Arc::new(remotes.clone()),
                    remotes: Some(remotes),
                }
            }
            None => {
                Self { transport: Arc::new(shard::Alone), nodes: Arc::new(()), places: Arc::new(()), remotes: None }
            }
        }
    }
}

impl Node {
    /// Binds the ports, opens the data directory, enters the cluster, and serves: `project`, or what was deployed on the
    /// cluster. Requests are refused until this returns.
    pub async fn start(config: Config, identity: Identity, project: Option<&Project>) -> Result<Self> {
        let me = Me { cluster: identity.cluster, node: identity.node };
        let (calls_max, call_timeout) = (config.grpc.calls_max, config.actors.call_timeout);
        let hand_over_max = config.actors.release_wait;
        let Ports { http, grpc, peer, addresses, announce, begin } =
            Ports::bind(config.http, config.grpc, config.member, me).await?;
        let engine = Engine::start(config.engine);
        let first = match project {
            Some(project) => reload::build(&engine, project).await?,
            None => nothing::version(&engine).await?,
        };
        let fetcher = Fetcher::new(config.egress)?;
        let way = Way::new(peer.as_ref().map(peer::Bound::peers));
        let data = data::open(&config.data_dir, identity, config.shard, config.keys, way.transport.clone()).await?;
        let Data { keys, shards } = data;
        let cluster = enter(config.cluster, &way, &keys, &shards, (announce, begin));
        let fresh = cluster.clone();
        let deployments = Deployments::new(first).while_fresh(move || fresh.is_fresh());
        let releases = project.is_none().then(|| Releases::start(cluster.clone(), engine.clone(), deployments.clone()));
        let peer = peer.map(|bound| bound.serve(handlers(&shards, &cluster, &keys)));

        let homes: Arc<dyn Homes> = Arc::new(cluster.clone());
        let (actors, router) = live(config.actors, way.places, |call| actor::Deps {
            engine: engine.clone(),
            homes: homes.clone(),
            keys: keys.clone(),
            deployments: deployments.clone(),
            fetcher: fetcher.clone(),
            call,
        })?;
        let hand_over: Arc<dyn HandOver> = Arc::new(actors.clone());
        cluster.before_hand_over(&hand_over);
        let directory = NodeDirectory::new(deployments.clone(), shards.clone(), actors.clone(), homes);
        let directory = Arc::new(Guarded::new(directory, cluster.clone()));
        if let Some(peer) = &peer {
            let here = Arc::new(Guarded::new(actors.clone(), cluster.clone()));
            peer.route(grpc::for_nodes(here, directory.clone(), calls_max));
        }
        let directory = Everywhere { here: directory, cluster: cluster.clone(), others: way.remotes };
        let guarded = Arc::new(Guarded::new((*router).clone(), cluster.clone()));
        let operator = Arc::new(ClusterOperator::new(cluster.clone()));
        let grpc = grpc.with_releases(releases.clone()).serve(guarded, Arc::new(directory), operator);
        let call: Arc<dyn Call> = router.clone();
        let workers = Workers {
            engine: engine.clone(),
            deployments: deployments.clone(),
            fetcher,
            call: Arc::downgrade(&call),
            call_timeout,
            show_failures: config.show_failures,
        };
        let http = http.serve(Arc::new(workers));
        let inside =
            Inside { engine, deployments, actors, keys, shards, cluster, releases, router, hand_over, hand_over_max };
        let node = Self { addresses, peer, http, grpc, inside };
        node.inside.ready().await?;
        Ok(node)
    }

    /// Where it listens.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Waits until this node cannot be a member of its cluster any more, and says why. It has to stop then.
    pub async fn fate(&self) -> cluster::Error {
        self.inside.cluster.fate().await
    }

    /// Deploys the project as it now is; if it cannot be built, says why and keeps the version that serves.
    pub async fn reload(&self, dir: &Path) {
        match reload::load(&self.inside.engine, dir).await {
            Ok(version) => {
                tracing::info!(worker = version.name(), version = %version.id(), "a new version serves");
                self.inside.deployments.replace(version);
            }
            Err(error) => tracing::error!("the project changed, but the old version still serves: {error:#}"),
        }
    }

    /// Stops: leadership is handed over while requests are still served, no new requests, those in flight finish, actors
    /// are drained, the peer port closes, and then the log.
    pub async fn stop(self) -> Result<()> {
        let Self { peer, http, grpc, inside, .. } = self;
        let Inside { engine, deployments, actors, keys, shards, cluster, releases, router, hand_over, hand_over_max } =
            inside;
        cluster.step_down(Instant::now() + hand_over_max + STEP_DOWN_MAX).await;
        tokio::join!(http.drain(), grpc.drain());
        engine.idle().await;
        actors.stop().await;
        if let Some(releases) = &releases {
            releases.stop().await;
        }
        cluster.stop().await;
        keys.stop().await;
        if let Some(peer) = peer {
            peer.drain().await;
        }
        drop((actors, router, hand_over, deployments, releases, cluster, keys));
        match Arc::into_inner(shards) {
            Some(shards) => shards.shutdown().await.context("closing the data directory"),
            None => {
                tracing::warn!("something still uses the shards: the next start will check the whole state");
                Ok(())
            }
        }
    }
}

impl Inside {
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
}

/// Starts what makes the node a member, and the hand-off of keys, which needs to know where actors are.
fn enter(
    config: cluster::Config,
    way: &Way,
    keys: &Keys,
    shards: &Arc<Shards>,
    (announce, begin): (Announce, Begin),
) -> Cluster {
    let deps = cluster::Deps {
        shards: shards.clone(),
        transport: way.transport.clone(),
        addresses: way.nodes.clone(),
        keys: Arc::new(keys.clone()),
        announce,
        begin,
    };
    let cluster = Cluster::start(config, deps);
    let map = cluster.map();
    let group_of = move |actor| Some(map.borrow().as_ref()?.group_of(actor));
    keys.start(shards, way.transport.clone(), Arc::new(group_of));
    cluster
}

/// Starts live actors and the router, each of which needs the other: actors call actors.
fn live(
    config: actor::Config,
    places: Arc<dyn Places>,
    deps: impl FnOnce(Weak<dyn Call>) -> actor::Deps,
) -> Result<(Actors, Arc<Router>)> {
    let mut actors = None;
    let router = Arc::new_cyclic(|router: &Weak<Router>| {
        let deps = deps(router.clone());
        let homes = deps.homes.clone();
        let actors = actors.insert(Actors::start(config, deps)).clone();
        Router::new(Arc::new(actors), homes, places)
    });
    Ok((actors.context("the router is made with them")?, router))
}

/// Who takes which messages of other nodes.
fn handlers(shards: &Shards, cluster: &Cluster, keys: &Keys) -> Vec<(peer::Topic, Arc<dyn peer::Handler>)> {
    let handler = shards.handler();
    let raft = shard::TOPICS.map(|topic| (topic, handler.clone()));
    raft.into_iter().chain(cluster.handlers()).chain([(peer::Topic::Keys, keys.handler())]).collect()
}
