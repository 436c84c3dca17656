//! Two nodes, and the post between them.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture, stream::BoxStream};
use lethe_proto::ActorId;
use parking_lot::Mutex;
use tempfile::TempDir;
use uuid::Uuid;

use crate::{
    cluster::keys::{Config, Keys},
    peer::{Answers, Error, Handler, Head, Topic, Transport},
    shard::{self, Alone, Applied, Begin, Command, Create, Identity, NodeId, Shard, Shards},
    store::{DestroyReason, KeyShare, vfs::StdVfs},
    vault::{Owner, TableConfig, Vault},
};

/// Carries `Topic::Keys` between nodes of one process; everything else is unreachable.
#[derive(Default)]
pub struct Post {
    handlers: Mutex<BTreeMap<NodeId, Arc<dyn Handler>>>,
    is_cut: AtomicBool,
    refused: AtomicU64,
}

/// The post as one node sees it.
struct Sender(NodeId, Arc<Post>);

pub struct Node {
    pub dir: TempDir,
    pub shards: Arc<Shards>,
    pub vault: Vault,
    pub keys: Keys,
}

pub struct Pair {
    pub a: Node,
    pub b: Node,
    pub post: Arc<Post>,
}

pub fn owner(n: u8) -> Owner {
    Owner { actor: ActorId([n; 32]), incarnation: Uuid::from_bytes([n; 16]) }
}

/// Waits until something is so, for three minutes at most: machines that run tests are busy.
pub async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(180);
    while !so() {
        assert!(Instant::now() < deadline, "not within three minutes: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

impl Post {
    pub fn cut(&self, is_cut: bool) {
        self.is_cut.store(is_cut, Ordering::SeqCst);
    }

    /// How often something could not be delivered.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::SeqCst)
    }
}

impl Transport for Sender {
    fn call(&self, to: NodeId, head: Head, message: Bytes, _: Instant) -> BoxFuture<'static, Result<Bytes, Error>> {
        let handler = self.1.handlers.lock().get(&to).cloned();
        if self.1.is_cut.load(Ordering::SeqCst) || head.topic != Topic::Keys {
            self.1.refused.fetch_add(1, Ordering::SeqCst);
            return std::future::ready(Err(Error::Unreachable("cut".into()))).boxed();
        }
        let from = self.0;
        async move {
            let handler = handler.ok_or_else(|| Error::Unreachable("nobody".into()))?;
            handler.call(from, head, message).await.map_err(Error::Refused)
        }
        .boxed()
    }

    fn stream(
        &self,
        _: NodeId,
        _: Head,
        _: BoxStream<'static, Bytes>,
    ) -> BoxFuture<'static, Result<Answers<Error>, Error>> {
        std::future::ready(Err(Error::Unreachable("no streams".into()))).boxed()
    }
}

/// Nothing happens by itself in the time of a test.
pub const NEVER: Duration = Duration::from_secs(36_000);
/// What is missing is asked for all the time.
pub const EAGER: Duration = Duration::from_millis(5);

pub fn times(rotate: Duration, retry: Duration) -> Config {
    Config { rotate, retry, ..Config::default() }
}

fn open_vault(dir: &Path, node: NodeId) -> Vault {
    Vault::open(Arc::new(StdVfs), dir, TableConfig::new(node.0)).unwrap()
}

impl Node {
    async fn start(config: Config) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity::first(1);
        identity.found(&StdVfs, &dir.path().join("data")).unwrap();
        let vault = open_vault(&dir.path().join("keys"), identity.node);
        Self::over(dir, vault, config).await
    }

    async fn over(dir: TempDir, vault: Vault, config: Config) -> Self {
        let keys = Keys::new(vault.clone(), config);
        let deps = shard::Deps {
            vfs: Arc::new(StdVfs),
            data_dir: dir.path().join("data"),
            state_dir: dir.path().join("state"),
            effects: keys.effects(),
            transport: Arc::new(Alone),
        };
        let mut config = shard::Config::new(1);
        (config.command_bytes_max, config.wal_segment_bytes) = (128 << 10, 1 << 20);
        // A test that ends without `stop` takes its tasks away from under the shards.
        config.on_fatal = Arc::new(|reason| eprintln!("shards ended: {reason}"));
        let shards = Arc::new(Shards::start(config, deps).await.unwrap());
        shards.create(1, 1, Begin::Lead).await.unwrap();
        Self { dir, shards, vault, keys }
    }

    pub fn shard(&self) -> Shard {
        self.shards.group(1).unwrap()
    }

    async fn propose(&self, command: Command) -> Applied {
        let epoch = self.shard().read_index().await.unwrap();
        self.shard().propose(epoch, command).await.unwrap()
    }

    async fn create(&self, n: u8, key_shares: Vec<KeyShare>) {
        let Owner { actor, incarnation } = owner(n);
        let create = Create { incarnation, created_at_ms: 1, sealed_name: None, key_shares };
        let command = Command::Activate { actor, namespace: "s/C".into(), create: Some(create) };
        assert!(matches!(self.propose(command).await, Applied::Activated(_)));
    }

    pub async fn destroy(&self, n: u8) {
        let Owner { actor, incarnation } = owner(n);
        let (expected, reason) = (Some(incarnation), DestroyReason::Caller);
        let applied = self.propose(Command::Destroy { actor, expected, destroyed_at_ms: 1, reason }).await;
        assert!(matches!(applied, Applied::Destroyed { already: false, .. }));
    }

    /// Begins to ask.
    pub fn attach(&self, pair: &Pair) {
        self.start_keys(&pair.post);
    }

    fn start_keys(&self, post: &Arc<Post>) {
        post.handlers.lock().insert(self.shards.node(), self.keys.handler());
        let sender = Arc::new(Sender(self.shards.node(), post.clone()));
        self.keys.start(&self.shards, sender, Arc::new(|_| Some(1)));
    }

    /// The same replicas with an empty vault.
    pub async fn reopened_without_keys(&self) -> Node {
        self.keys.stop().await;
        let dir = tempfile::tempdir().unwrap();
        let vault = open_vault(&dir.path().join("keys"), self.shards.node());
        let keys = Keys::new(vault.clone(), times(NEVER, EAGER));
        Node { dir, shards: self.shards.clone(), vault, keys }
    }

    pub async fn stop(self) {
        self.keys.stop().await;
        if let Some(shards) = Arc::into_inner(self.shards) {
            shards.shutdown().await.unwrap();
        }
        drop(self.dir);
    }
}

impl Pair {
    pub async fn start() -> Self {
        Self::start_with(NEVER, EAGER).await
    }

    pub async fn start_with(rotate: Duration, retry: Duration) -> Self {
        let post = Arc::<Post>::default();
        let (a, b) = tokio::join!(Node::start(times(rotate, retry)), Node::start(times(rotate, retry)));
        for (node, other) in [(&a, &b), (&b, &a)] {
            node.shard().add_learner(other.shards.node(), 1).await.unwrap();
            node.start_keys(&post);
        }
        // Every start looks through the groups.
        for node in [&a, &b] {
            until("the first look is over", || node.keys.missing(1) == 0).await;
        }
        Self { a, b, post }
    }

    /// The creation of an actor whose key is sealed to `a` alone, on both nodes.
    pub async fn create_for_a(&self, n: u8) -> KeyShare {
        let Owner { actor, incarnation } = owner(n);
        let new = self.a.vault.generate(actor, incarnation).unwrap();
        let shares = self.a.vault.share(&new, &[self.a.vault.recipient()]).unwrap();
        self.a.create(n, shares.clone()).await;
        self.b.create(n, shares.clone()).await;
        shares[0].clone()
    }

    pub async fn stop(self) {
        self.a.stop().await;
        self.b.stop().await;
    }
}
