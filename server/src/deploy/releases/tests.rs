//! Deploying on a cluster of one node.

use std::{fs, sync::Arc, time::Instant};

use lethe_runtime::engine;
use tempfile::TempDir;

use super::*;
use crate::{
    cluster::{Announce, Begin, Config, Deps},
    deploy::Project,
    shard::{self, Alone, Shards},
    store::vfs::StdVfs,
};

struct Rig {
    dir: TempDir,
    engine: Engine,
}

struct Node {
    shards: Arc<Shards>,
    cluster: Cluster,
    deployments: Deployments,
    releases: Releases,
}

impl Rig {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), engine: Engine::start(engine::Config::default()) }
    }

    /// A node that serves `none` until something is deployed.
    async fn start(&self) -> Node {
        let mut config = shard::Config::new(1);
        (config.command_bytes_max, config.wal_segment_bytes) = (1 << 20, 8 << 20);
        // A test that ends without `stop` takes its tasks away from under the shards.
        config.on_fatal = Arc::new(|reason| eprintln!("shards ended: {reason}"));
        let deps = shard::Deps {
            vfs: Arc::new(StdVfs),
            data_dir: self.dir.path().join("data"),
            state_dir: self.dir.path().join("state"),
            effects: Arc::new(()),
            transport: Arc::new(Alone),
        };
        let shards = Arc::new(Shards::start(config, deps).await.unwrap());
        let deps = Deps {
            shards: shards.clone(),
            transport: Arc::new(Alone),
            addresses: Arc::new(()),
            keys: Arc::new(()),
            announce: Announce { name: "only".to_owned(), ..Announce::default() },
            begin: Begin::Found { replication: 1 },
        };
        let cluster = Cluster::start(Config::default(), deps);
        let (project, source, _) = Package::decode(&package("none", "export default {};", "")).unwrap().open().unwrap();
        let deployments = Deployments::new(build(&self.engine, &project, source).await.unwrap());
        let releases = Releases::start(cluster.clone(), self.engine.clone(), deployments.clone());
        cluster.ready().await.unwrap();
        Node { shards, cluster, deployments, releases }
    }
}

impl Node {
    fn serves(&self) -> String {
        self.deployments.current().name().to_owned()
    }

    async fn stop(self) {
        self.releases.stop().await;
        self.cluster.stop().await;
        drop((self.releases, self.cluster));
        Arc::into_inner(self.shards).expect("nothing else holds the shards").shutdown().await.unwrap();
    }
}

const CODE: &str =
    "import { DurableObject } from 'cloudflare:workers'; export class Room extends DurableObject {} export default {};";
const ROOM: &str = r#", "durable_objects": {"bindings": [{"name": "ROOM", "class_name": "Room"}]},
    "migrations": [{"tag": "v1", "new_classes": ["Room"]}]"#;

fn package(name: &str, code: &str, more: &str) -> Bytes {
    let dir = tempfile::tempdir().unwrap();
    let config = format!(r#"{{"name": "{name}", "main": "index.js", "compatibility_date": "2026-11-01"{more}}}"#);
    fs::write(dir.path().join("wrangler.json"), config).unwrap();
    fs::write(dir.path().join("index.js"), code).unwrap();
    Package::read(&Project::load(dir.path()).unwrap().0).unwrap().encode().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployed_version_serves_when_it_is_acknowledged_and_after_a_restart() {
    let rig = Rig::new();
    let node = rig.start().await;
    assert_eq!(node.releases.list().await.unwrap(), (None, vec![]));
    // Larger than one chunk.
    let code = format!("{CODE}\n// {}", "x".repeat(records::CHUNK_BYTES));
    let released = node.releases.deploy(package("chat", &code, ROOM)).await.unwrap();
    let id = released.manifest.id;
    assert_eq!((node.serves().as_str(), node.deployments.current().id()), ("chat", id));
    assert_eq!((released.manifest.chunks, released.warnings.len()), (2, 0));
    assert_eq!(node.releases.list().await.unwrap(), (Some(id), vec![released.manifest.clone()]));
    node.stop().await;

    let node = rig.start().await;
    assert_eq!((node.serves().as_str(), node.deployments.current().id()), ("chat", id), "before it is ready");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_changes_nothing() {
    let rig = Rig::new();
    let node = rig.start().await;
    let first = node.releases.deploy(package("chat", CODE, ROOM)).await.unwrap().manifest.id;
    let wrong = [
        (package("chat", "export default {", ROOM), "index.js:1"),
        (package("chat", "export default {};", ROOM), "exports no class `Room`"),
        (package("chat", "export default {};", ""), "migrations are never removed"),
        (package("other", CODE, ROOM), "cannot take its place"),
        (Bytes::from_static(b"rubbish"), "it is not one"),
    ];
    for (package, says) in wrong {
        let error = node.releases.deploy(package).await.unwrap_err().to_string();
        assert!(error.contains(says), "{error:?} does not say {says:?}");
        assert_eq!(node.deployments.current().id(), first);
    }
    let (current, versions) = node.releases.list().await.unwrap();
    assert_eq!((current, versions.len()), (Some(first), 1));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_is_a_new_version_of_old_code_and_old_versions_go() {
    let rig = Rig::new();
    let node = rig.start().await;
    let mut ids = Vec::new();
    for number in 0..VERSIONS_KEPT + 2 {
        let code = format!("{CODE} // {number}");
        ids.push(node.releases.deploy(package("chat", &code, ROOM)).await.unwrap().manifest);
    }
    let (_, kept) = node.releases.list().await.unwrap();
    let newest: Vec<_> = ids.iter().rev().take(VERSIONS_KEPT).cloned().collect();
    assert_eq!(kept, newest);
    assert!(matches!(node.releases.roll_back(ids[0].id).await, Err(ReleaseError::NoSuchVersion(_))));
    // The oldest that is kept leaves the list now, and its code stays.
    let oldest = kept.last().unwrap();
    let again = node.releases.roll_back(oldest.id).await.unwrap().manifest;
    assert!(again.id > ids.last().unwrap().id);
    assert_eq!((&again.digest, again.source), (&oldest.digest, oldest.source));
    assert_eq!(node.deployments.current().id(), again.id);
    let (current, kept) = node.releases.list().await.unwrap();
    assert_eq!((current, kept.len(), kept.contains(oldest)), (Some(again.id), VERSIONS_KEPT, false));
    let (_, chunks) = node.cluster.registry().range("deploy/chunk/").await.unwrap();
    assert_eq!(chunks.len(), VERSIONS_KEPT, "chunks of versions that are gone are gone");
    node.stop().await;
    let node = rig.start().await;
    assert_eq!(node.deployments.current().id(), again.id);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_that_was_overtaken_is_told_so_and_what_it_left_goes_with_the_next() {
    let rig = Rig::new();
    let node = rig.start().await;
    let inner = &node.releases.inner;
    let (revision, _) = inner.newest().await.unwrap();
    let bytes = package("chat", CODE, ROOM);
    let (project, ..) = Package::decode(&bytes).unwrap().open().unwrap();
    let slow = Manifest::new(records::next_id(None), &project, &bytes, 1);
    inner.write(vec![], vec![put(records::pending_name(slow.id), records::encode(&slow))]).await.unwrap();
    inner.write(vec![], vec![put(records::chunk_name(slow.id, 0), bytes.clone())]).await.unwrap();
    let fast = node.releases.deploy(bytes).await.unwrap();
    assert!(matches!(inner.switch(revision, slow.clone(), vec![]).await, Err(ReleaseError::Race)));
    assert_eq!(node.releases.list().await.unwrap(), (Some(fast.manifest.id), vec![fast.manifest]));
    let registry = node.cluster.registry();
    assert_eq!(registry.get(&records::pending_name(slow.id)).await.unwrap(), None);
    assert_eq!(registry.get(&records::chunk_name(slow.id, 0)).await.unwrap(), None);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_read_the_version_is_not_fresh() {
    let rig = Rig::new();
    let node = rig.start().await;
    let current = records::encode(&Current { version: Uuid::from_u128(1) });
    node.releases.inner.write(vec![], vec![put(records::CURRENT.to_owned(), current)]).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while node.cluster.is_fresh().is_ok() {
        assert!(Instant::now() < deadline, "it still takes requests");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(node.serves(), "none");
    node.stop().await;
}
