//! A node's lower half for tests: engine, shards, vault and actors over a temporary directory.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use lethe_proto::{ActorId, NodeId};
use lethe_runtime::{
    body::{self, Body},
    engine::{self, Engine},
    host::{ActorCall, ActorReply, CallError, IdSource, Payload},
    program::{Binding, Limits, Module, Source},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinHandle,
};

use crate::{
    actor::{ActorRef, Actors, Call, Config, Deps, Homes, live::Live},
    cluster::{Home, Keys, Patience, Stale, Wish, keys},
    deploy::{Deployments, Project, Version},
    egress::{self, Fetcher, Policy},
    shard::{self, Applied, Begin, Command, Identity, Shards},
    store::{DestroyReason, Header, HeaderOrTombstone, vfs::StdVfs},
    vault::{TableConfig, Vault},
};

const ACTOR: &str = include_str!("actor.js");
const NAMESPACE: &str = "test/Actor";
/// The group that all actors belong to.
pub const GROUP: u32 = 1;

pub struct Rig {
    pub actors: Actors,
    pub vault: Vault,
    shards: Arc<Shards>,
    engine: Engine,
    deployments: Deployments,
    stale: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    dir: TempDir,
    call: Arc<Local>,
}

/// Calls actors of this process.
struct Local(Actors);

impl Call for Local {
    fn call(&self, to: ActorRef, call: ActorCall, until: Instant) -> BoxFuture<'static, Result<ActorReply, CallError>> {
        let actors = self.0.clone();
        Box::pin(async move { Ok(actors.call(to, call, until).await?) })
    }
}

/// A node that is its own cluster, with one group of actors.
impl Homes for Shards {
    fn node(&self) -> NodeId {
        Shards::node(self)
    }

    fn home(&self, _: ActorId) -> Option<Home> {
        Some(Home { group: GROUP, here: self.group(GROUP), leader: Some(Shards::node(self)) })
    }

    fn leader(&self, group: u32) -> Option<watch::Receiver<Option<NodeId>>> {
        Some(self.group(group)?.leader())
    }

    fn replicas(&self, _: u32) -> Vec<NodeId> {
        vec![Shards::node(self)]
    }
}

/// Waits for a condition, for at most 20 s.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "gave up waiting for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Files below `dir` that hold `bytes`.
pub fn files_with(dir: &Path, bytes: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, bytes));
        } else if fs::read(&path).unwrap().windows(bytes.len()).any(|window| window == bytes) {
            found.push(path);
        }
    }
    found
}

impl Rig {
    pub async fn start(config: Config) -> Self {
        let dir = TempDir::new().unwrap();
        let engine = Engine::start(engine::Config::default());
        let (stale, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (is_stale, ask) = (stale.clone(), asked.clone());
        let fresh = move || {
            ask.fetch_add(1, Ordering::SeqCst);
            if is_stale.load(Ordering::SeqCst) { Err(Stale::Lapsed(3_000)) } else { Ok(()) }
        };
        let deployments = Deployments::new(version(&engine, "one").await).while_fresh(fresh);
        let vfs = Arc::new(StdVfs);
        let data_dir = dir.path().join("data");
        let identity = Identity::first(GROUP);
        identity.found(&*vfs, &data_dir).unwrap();
        let keys_dir = dir.path().join("keys");
        let vault = Vault::open(vfs.clone(), &keys_dir, TableConfig::new(identity.node.0)).unwrap();
        let keys = Keys::new(vault.clone(), keys::Config::default());
        let deps = shard::Deps {
            vfs,
            data_dir,
            state_dir: dir.path().join("data/state"),
            effects: keys.effects(),
            transport: Arc::new(shard::Alone),
        };
        let mut config_of_shards = shard::Config::new(GROUP);
        (config_of_shards.command_bytes_max, config_of_shards.wal_segment_bytes) = (1 << 20, 8 << 20);
        // A test that ends without `stop` takes its tasks away from under the shards.
        config_of_shards.on_fatal = Arc::new(|reason| eprintln!("shards ended: {reason}"));
        let shards = Arc::new(Shards::start(config_of_shards, deps).await.unwrap());
        shards.create(GROUP, 1, Begin::Lead).await.unwrap();
        let call = Arc::new_cyclic(|call: &Weak<Local>| {
            let deps = Deps {
                engine: engine.clone(),
                homes: shards.clone(),
                keys: keys.clone(),
                deployments: deployments.clone(),
                fetcher: Fetcher::new(egress::Config::default()).unwrap(),
                call: call.clone(),
            };
            Local(Actors::start(config, deps))
        });
        Self { actors: call.0.clone(), vault, shards, engine, deployments, stale, asked, dir, call }
    }

    pub fn id(&self, name: &str) -> ActorId {
        self.deployments.current().actor_id(NAMESPACE, &IdSource::Name(name.to_owned())).unwrap()
    }

    fn actor(&self, name: &str) -> ActorRef {
        ActorRef { namespace: NAMESPACE.to_owned(), id: self.id(name), name: Some(name.to_owned()) }
    }

    pub async fn call(&self, name: &str, method: &str, args: Value) -> Result<Value, CallError> {
        self.call_until(name, method, args, Instant::now() + Duration::from_secs(30)).await
    }

    pub async fn call_until(&self, name: &str, method: &str, args: Value, until: Instant) -> Result<Value, CallError> {
        call(self.actors.clone(), self.actor(name), method.to_owned(), args, until).await
    }

    pub fn spawn(&self, name: &str, method: &str, args: Value) -> JoinHandle<Result<Value, CallError>> {
        let until = Instant::now() + Duration::from_secs(30);
        tokio::spawn(call(self.actors.clone(), self.actor(name), method.to_owned(), args, until))
    }

    /// Sends an actor a request without a body; gives the body of the answer.
    pub async fn open(&self, name: &str) -> Body {
        self.fetch(name, "/").await
    }

    /// The same, with a path.
    pub async fn fetch(&self, name: &str, path: &str) -> Body {
        let request = http::Request::get(format!("http://actor{path}")).body(body::empty()).unwrap();
        let until = Instant::now() + Duration::from_secs(30);
        match self.actors.call(self.actor(name), ActorCall::Fetch(request), until).await {
            Ok(ActorReply::Response(response)) => response.into_body(),
            Ok(_) => panic!("a request is answered with a response"),
            Err(failed) => panic!("it is not answered: {:?}", CallError::from(failed)),
        }
    }

    /// Destroys an actor, and waits until that is applied. The instance may not have ended by then.
    pub async fn begin_to_destroy(&self, name: &str) -> JoinHandle<Result<(), CallError>> {
        let (actors, target, id) = (self.actors.clone(), self.actor(name), self.id(name));
        let ending = tokio::spawn(async move { Ok(actors.destroy(target, DestroyReason::Caller).await?) });
        let shard = self.shards.group(GROUP).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while !matches!(shard.header(id).await.unwrap(), Some(HeaderOrTombstone::Tombstone(_))) {
            assert!(Instant::now() < deadline, "gave up waiting for the destruction");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        ending
    }

    pub async fn destroy(&self, name: &str) -> Result<(), CallError> {
        Ok(self.actors.destroy(self.actor(name), DestroyReason::Caller).await?)
    }

    /// Releases the group of all actors, with nobody else having a turn.
    pub async fn release(&self) -> impl Sized + use<> {
        self.release_as(Patience::Planned).await
    }

    /// The same, with this patience.
    pub async fn release_as(&self, patience: Patience) -> impl Sized + use<> {
        let asked = Arc::new(move || Wish::Go(patience));
        self.actors.release(GROUP, Arc::new(Semaphore::new(1)), asked).await.expect("it is wanted all the time")
    }

    /// How many actors are awake.
    pub fn live(&self) -> usize {
        self.actors.inner.live().len()
    }

    /// The instance of an actor that is awake.
    pub(in crate::actor) fn live_actor(&self, name: &str) -> Arc<Live> {
        let id = self.id(name);
        self.actors.inner.live().into_iter().find(|(live, _)| *live == id).expect("it is awake").1
    }

    /// Since when an actor that is awake has had nothing to do.
    pub fn quiet_since(&self, name: &str) -> Option<Instant> {
        let id = self.id(name);
        self.actors.inner.live().into_iter().find(|(live, _)| *live == id)?.1.quiet_since()
    }

    /// Whether a call is in an actor that is awake.
    pub fn is_busy(&self, name: &str) -> bool {
        let id = self.id(name);
        self.actors.inner.live().into_iter().any(|(known, live)| known == id && live.oldest_call().is_some())
    }

    /// Waits until the actors called `mark(text)` this often.
    pub async fn until_marked(&self, text: &str, times: u64) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.call("marks", "count", serde_json::json!([text])).await.unwrap() != serde_json::json!(times) {
            assert!(Instant::now() < deadline, "gave up waiting for {times} marks {text:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn deploy(&self, name: &str) {
        self.replace(self.compiled(name).await);
    }

    /// A version to replace the one that serves.
    pub async fn compiled(&self, name: &str) -> Version {
        version(&self.engine, name).await
    }

    pub fn replace(&self, next: Version) {
        self.deployments.replace(next);
    }

    /// How often it was asked whether something may start.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    /// From now on a newer version may have been acknowledged that this node does not know; or no longer.
    pub fn set_stale(&self, stale: bool) {
        self.stale.store(stale, Ordering::SeqCst);
    }

    /// How often the actor was activated.
    pub async fn activation(&self, name: &str) -> u64 {
        self.header(name).await.activation
    }

    /// What is applied of an actor.
    pub async fn header(&self, name: &str) -> Header {
        let id = self.id(name);
        match self.shards.group(GROUP).unwrap().header(id).await.unwrap() {
            Some(HeaderOrTombstone::Header(header)) => header,
            other => panic!("no header: {other:?}"),
        }
    }

    /// Activates the actor behind its instance's back, as another node would.
    pub async fn activate_elsewhere(&self, name: &str) {
        let id = self.id(name);
        let shard = self.shards.group(GROUP).unwrap();
        let epoch = shard.read_index().await.unwrap();
        let command = Command::Activate { actor: id, namespace: NAMESPACE.to_owned(), create: None };
        assert!(matches!(shard.propose(epoch, command).await, Ok(Applied::Activated(_))));
    }

    /// Stops everything; gives the directory.
    pub async fn stop(self) -> TempDir {
        let Self { actors, shards, dir, call, .. } = self;
        actors.stop().await;
        drop((actors, call));
        if let Some(shards) = Arc::into_inner(shards) {
            shards.shutdown().await.unwrap();
        }
        dir
    }
}

async fn call(actors: Actors, to: ActorRef, method: String, args: Value, until: Instant) -> Result<Value, CallError> {
    let call = ActorCall::Method { method, args: Payload::Json(args.to_string()) };
    match actors.call(to, call, until).await? {
        ActorReply::Value(Payload::Json(text)) => Ok(serde_json::from_str(&text).unwrap()),
        _ => panic!("a JSON call is answered in JSON"),
    }
}

async fn version(engine: &Engine, name: &str) -> Version {
    let config = r#"{"name": "test", "main": "index.js", "compatibility_date": "2026-11-01",
        "durable_objects": {"bindings": [{"name": "ACTOR", "class_name": "Actor"}]},
        "migrations": [{"tag": "v1", "new_classes": ["Actor"]}]}"#;
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("wrangler.json"), config).unwrap();
    fs::write(dir.path().join("index.js"), "").unwrap();
    let (project, _) = Project::load(dir.path()).unwrap();
    let source = Source {
        name: "test".into(),
        main: "index.js".into(),
        modules: BTreeMap::from([("index.js".into(), Module::Es(ACTOR.replace("VERSION", name)))]),
        env: BTreeMap::from([("ACTOR".into(), Binding::ActorNamespace { class_name: "Actor".into() })]),
        limits: Limits::default(),
    };
    let program = engine.compile(source).await.unwrap();
    Version::new("test".into(), program, project.namespaces, Policy::default())
}
