//! A cluster of one node, as `lethe dev` runs it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use lethe_proto::{ActorId, NodeId};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use crate::cluster::enter::enlist;
use crate::cluster::message::{Join, Joined};
use crate::cluster::{
    Announce, Asked, Begin, Cluster, Config, Deps, Error, HandOver, Patience, SYSTEM, State, WriteError,
};
use crate::shard::{self, Alone, ChangeError, Expect, Life, RegistryOp, Shards};
use crate::store::vfs::StdVfs;

const GROUPS: u32 = 3;

async fn shards(dir: &TempDir) -> Arc<Shards> {
    let config = shard::Config {
        wal_segment_bytes: 1 << 20,
        wal_bytes_max: 64 << 20,
        command_bytes_max: 128 << 10,
        ..shard::Config::new(GROUPS)
    };
    let deps = shard::Deps {
        vfs: Arc::new(StdVfs),
        data_dir: dir.path().join("data"),
        state_dir: dir.path().join("state"),
        effects: Arc::new(()),
        transport: Arc::new(Alone),
    };
    Arc::new(Shards::start(config, deps).await.unwrap())
}

fn start(shards: &Arc<Shards>) -> Cluster {
    start_with(shards, Config::default())
}

fn start_with(shards: &Arc<Shards>, config: Config) -> Cluster {
    let deps = Deps {
        shards: shards.clone(),
        transport: Arc::new(Alone),
        addresses: Arc::new(()),
        keys: Arc::new(()),
        announce: Announce { name: "only".to_owned(), ..Announce::default() },
        begin: Begin::Found { replication: 3 },
    };
    Cluster::start(config, deps)
}

async fn stop(cluster: Cluster, shards: Arc<Shards>) {
    cluster.stop().await;
    drop(cluster);
    Arc::into_inner(shards).expect("the room is stopped and holds the shards").shutdown().await.unwrap();
}

async fn healthy(cluster: &Cluster) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while cluster.status().is_none_or(|status| status.groups.iter().any(|group| !group.problem.is_empty())) {
        assert!(Instant::now() < deadline, "{:?}", cluster.status());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_founder_makes_the_cluster_once_and_finds_it_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut charters = Vec::new();
    for _ in 0..2 {
        let shards = shards(&dir).await;
        let cluster = start(&shards);
        cluster.ready().await.unwrap();
        healthy(&cluster).await;
        let status = cluster.status().unwrap();
        assert_eq!(status.nodes.len(), 1);
        assert_eq!((status.nodes[0].member.state, status.nodes[0].leaders), (State::Active, GROUPS + 1));
        let groups: Vec<_> = shards.all().iter().map(|shard| (shard.id(), shard.incarnation())).collect();
        assert_eq!(groups, (SYSTEM..=GROUPS).map(|group| (group, 1)).collect::<Vec<_>>());
        let map = cluster.map().borrow().clone().unwrap();
        charters.push(map.charter.clone());
        for prefix in [0, 0x7f, 0xff] {
            let home = cluster.home(ActorId([prefix; 32])).unwrap();
            assert_eq!((home.leader, home.here.map(|shard| shard.id())), (Some(cluster.node()), Some(home.group)));
        }
        stop(cluster, shards).await;
    }
    assert_eq!(charters[0], charters[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_compare_revisions_and_reads_see_them_after_a_confirmation() {
    let dir = tempfile::tempdir().unwrap();
    let shards = shards(&dir).await;
    let cluster = start(&shards);
    cluster.ready().await.unwrap();
    let registry = cluster.registry();
    let key = Bytes::from("deploy/current");
    let put = |value: &'static str| vec![RegistryOp::Put { key: key.clone(), value: value.into() }];
    let expect = |revision| vec![Expect { key: key.clone(), revision }];

    let first = registry.write(expect(None), put("one")).await.unwrap();
    assert_eq!(registry.write(expect(None), put("two")).await, Err(WriteError::Conflict("deploy/current".to_owned())));
    let second = registry.write(expect(Some(first)), put("two")).await.unwrap();
    let confirmed = registry.confirm(Instant::now() + Duration::from_secs(20)).await.unwrap();
    assert!(confirmed >= second && second > first);
    assert_eq!(registry.get("deploy/current").await.unwrap(), Some((second, "two".into())));
    let (_, entries) = registry.range("deploy/").await.unwrap();
    assert_eq!(entries.len(), 1);
    cluster.everywhere(second).await;
    stop(cluster, shards).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_hears_that_the_cluster_is_full_from_a_map_that_is_old() {
    let dir = tempfile::tempdir().unwrap();
    let shards = shards(&dir).await;
    let config = Config { members_max: 1, ..Config::default() };
    let cluster = start_with(&shards, config.clone());
    cluster.ready().await.unwrap();
    let inner = &cluster.inner;
    let new = Join { node: NodeId::from(99), announce: Announce::default(), life: Life(uuid::Uuid::from_u128(9)) };
    let old = inner.now().expect("it is ready");
    let key = Bytes::from("deploy/current");
    let put = vec![RegistryOp::Put { key: key.clone(), value: "one".into() }];
    let newest = inner.registry.write(vec![Expect { key, revision: None }], put).await.unwrap();
    let answer = enlist(&inner.registry, &old, &new, &config).await.unwrap();
    assert!(matches!(&answer, Joined::NotNow(_)), "{answer:?}");
    let mut maps = cluster.map();
    let now = maps.wait_for(|map| map.as_ref().is_some_and(|map| map.revision >= newest));
    let now = tokio::time::timeout(Duration::from_secs(60), now).await.unwrap().unwrap().clone().unwrap();
    assert_eq!(enlist(&inner.registry, &now, &new, &config).await.unwrap(), Joined::Full);
    stop(cluster, shards).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_not_fresh_beyond_what_every_part_of_it_acts_on() {
    let dir = tempfile::tempdir().unwrap();
    let shards = shards(&dir).await;
    let cluster = start(&shards);
    let part = cluster.follower();
    let mut maps = cluster.map();
    let known = tokio::time::timeout(Duration::from_secs(60), maps.wait_for(Option::is_some)).await;
    let revision = known.unwrap().unwrap().as_ref().unwrap().revision;
    assert!(cluster.is_fresh().is_err(), "a part acts on nothing yet");
    part.reached(revision);
    cluster.ready().await.unwrap();
    stop(cluster, shards).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_is_everywhere_as_soon_as_every_part_acts_on_it_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let shards = shards(&dir).await;
    // No lease runs out in the time of a test.
    let cluster = start_with(&shards, Config { lease_ms: 3_600_000, ..Config::default() });
    cluster.ready().await.unwrap();
    let (part, mut maps) = (cluster.follower(), cluster.map());
    let put = RegistryOp::Put { key: "deploy/current".into(), value: "one".into() };
    let revision = cluster.registry().write(vec![], vec![put]).await.unwrap();
    let shown = maps.wait_for(|map| map.as_ref().is_some_and(|map| map.revision >= revision));
    tokio::time::timeout(Duration::from_secs(60), shown).await.unwrap().unwrap();

    let mut everywhere = Box::pin(cluster.everywhere(revision));
    assert!(everywhere.as_mut().now_or_never().is_none(), "a part does not act on it yet");
    part.reached(revision);
    tokio::time::timeout(Duration::from_secs(60), everywhere).await.unwrap();
    drop(maps);
    stop(cluster, shards).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_active_node_neither_drains_nor_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let shards = shards(&dir).await;
    let cluster = start(&shards);
    cluster.ready().await.unwrap();
    let me = cluster.node();
    assert!(matches!(cluster.drain(me).await, Err(Error::NotNow(_))));
    assert!(matches!(cluster.remove(me).await, Err(Error::NotNow(_))));
    assert!(matches!(cluster.drain(7.into()).await, Err(Error::NoSuchNode(_))));
    assert!(matches!(cluster.transfer(GROUPS + 1, me).await, Err(Error::NoSuchGroup(_))));
    cluster.transfer(GROUPS, me).await.unwrap();
    stop(cluster, shards).await;
}

/// Counts how often actors are asked to make way.
#[derive(Default)]
struct Actors(AtomicUsize);

impl HandOver for Actors {
    fn release(&self, _: u32, _: Arc<Semaphore>, _: Asked) -> BoxFuture<'static, Option<Box<dyn Send>>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        async { Some(Box::new(()) as Box<dyn Send>) }.boxed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_actor_is_disturbed_for_a_node_that_cannot_lead() {
    let dir = tempfile::tempdir().unwrap();
    let shards = shards(&dir).await;
    let cluster = start(&shards);
    healthy(&cluster).await;
    let actors = Arc::new(Actors::default());
    let hand_over: Arc<dyn HandOver> = actors.clone();
    cluster.before_hand_over(&hand_over);
    let refused = cluster.inner.transfer(&shards.group(1).unwrap(), NodeId::from(99), Patience::Planned).await;
    assert!(matches!(&refused, Err(ChangeError::Refused(_))), "{refused:?}");
    assert_eq!(actors.0.load(Ordering::Relaxed), 0);
    stop(cluster, shards).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_founder_that_was_killed_before_its_groups_began_begins_them_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let killed = shards(&dir).await;
    for group in [SYSTEM, 1] {
        killed.create(group, 1, shard::Begin::Join).await.unwrap();
    }
    Arc::into_inner(killed).unwrap().shutdown().await.unwrap();

    let shards = shards(&dir).await;
    let cluster = start(&shards);
    tokio::time::timeout(Duration::from_secs(60), cluster.ready()).await.expect("it is ready").unwrap();
    healthy(&cluster).await;
    assert_eq!(shards.all().len(), 1 + GROUPS as usize);
    stop(cluster, shards).await;
}
