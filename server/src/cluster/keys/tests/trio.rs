//! Three replicas of one group over the network in memory: keys go where the log goes, and nowhere stays what was erased.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::world::{EAGER, NEVER, owner, times, until};
use crate::{
    cluster::keys::Keys,
    peer::{Handler, Topic},
    shard::{
        self, Applied, Begin, ClusterId, Command, Create, Identity, NodeId, Shard, Shards, TOPICS,
        tests::net::{Net, Way},
    },
    store::{DestroyReason, vfs::StdVfs},
    vault::{Owner, TableConfig, Vault},
};

struct Node {
    id: NodeId,
    dir: TempDir,
    shards: Arc<Shards>,
    keys: Keys,
}

struct Trio {
    net: Net,
    nodes: Vec<Node>,
}

impl Node {
    async fn start(net: &Net, number: u64) -> Self {
        let (id, dir) = (NodeId::from(number), tempfile::tempdir().unwrap());
        let identity = Identity::new(ClusterId(uuid::Uuid::from_u128(77)), id, 1);
        identity.found(&StdVfs, dir.path()).unwrap();
        let vault = Vault::open(Arc::new(StdVfs), &dir.path().join("keys"), TableConfig::new(id.0)).unwrap();
        let keys = Keys::new(vault, times(NEVER, EAGER));
        let config = shard::Config {
            wal_segment_bytes: 1 << 20,
            wal_bytes_max: 64 << 20,
            command_bytes_max: 128 << 10,
            // A test that ends early takes its tasks away from under the shards.
            on_fatal: Arc::new(|reason| eprintln!("fatal: {reason}")),
            ..shard::Config::new(1)
        };
        let deps = shard::Deps {
            vfs: Arc::new(StdVfs),
            data_dir: dir.path().to_owned(),
            state_dir: dir.path().join("state"),
            effects: keys.effects(),
            transport: net.transport(id),
        };
        let shards = Arc::new(Shards::start(config, deps).await.unwrap());
        let raft = shards.handler();
        let all = TOPICS.iter().map(|topic| (*topic, raft.clone()));
        let mine: [(Topic, Arc<dyn Handler>); 1] = [(Topic::Keys, keys.handler())];
        net.join(id, all.chain(mine));
        let begin = if number == 1 { Begin::Lead } else { Begin::Join };
        shards.create(1, 1, begin).await.unwrap();
        keys.start(&shards, net.transport(id), Arc::new(|_| Some(1)));
        Self { id, dir, shards, keys }
    }

    fn holds(&self, n: u8) -> bool {
        self.keys.vault().holds(owner(n))
    }

    /// The bytes of an actor's data key, as they stand in the table.
    fn key(&self, n: u8) -> Vec<u8> {
        let table = fs::read(self.dir.path().join("keys/keys.table")).unwrap();
        let slot = table[512..].chunks(512).find(|slot| slot[16..48] == owner(n).actor.0).unwrap();
        slot[72..104].to_vec()
    }

    /// The private key of the first key epoch.
    fn first_secret(&self) -> Vec<u8> {
        fs::read(self.dir.path().join("keys/epoch")).unwrap()[512 + 72..512 + 104].to_vec()
    }
}

impl Trio {
    /// The first node leads.
    async fn start() -> Self {
        let net = Net::default();
        let mut nodes = Vec::new();
        for number in 1..=3 {
            nodes.push(Node::start(&net, number).await);
        }
        let trio = Self { net, nodes };
        for node in &trio.nodes[1..] {
            trio.leader().add_learner(node.id, 1).await.unwrap();
        }
        let voters: BTreeSet<_> = trio.nodes.iter().map(|node| node.id).collect();
        trio.leader().change_voters(voters).await.unwrap();
        trio
    }

    fn leader(&self) -> Shard {
        self.nodes[0].shards.group(1).unwrap()
    }

    /// Proposes where the leader is; on a busy machine that may change, and then it is tried again.
    async fn propose(&self, command: Command) {
        let deadline = Instant::now() + Duration::from_secs(180);
        for node in self.nodes.iter().cycle() {
            assert!(Instant::now() < deadline, "nobody takes {command:?}");
            let shard = node.shards.group(1).unwrap();
            let Ok(epoch) = shard.read_index().await else {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            };
            match shard.propose(epoch, command.clone()).await {
                Ok(Applied::Activated(_) | Applied::Destroyed { .. }) => return,
                Ok(other) => panic!("{other:?}"),
                Err(_) => {}
            }
        }
    }

    async fn create(&self, n: u8) {
        let Owner { actor, incarnation } = owner(n);
        let keys = &self.nodes[0].keys;
        let recipients = keys.recipients(&self.leader()).await.unwrap();
        assert_eq!(recipients.len(), 3);
        let new = keys.vault().generate(actor, incarnation).unwrap();
        let key_shares = keys.vault().share(&new, &recipients).unwrap();
        let create = Create { incarnation, created_at_ms: 1, sealed_name: None, key_shares };
        self.propose(Command::Activate { actor, namespace: "s/C".into(), create: Some(create) }).await;
    }

    async fn destroy(&self, n: u8) {
        let (actor, expected) = (owner(n).actor, Some(owner(n).incarnation));
        self.propose(Command::Destroy { actor, expected, destroyed_at_ms: 1, reason: DestroyReason::Caller }).await;
    }

    /// Files of any node that hold these bytes.
    fn files_with(&self, bytes: &[u8]) -> Vec<PathBuf> {
        self.nodes.iter().flat_map(|node| files_with(node.dir.path(), bytes)).collect()
    }

    async fn stop(self) {
        for node in self.nodes {
            node.keys.stop().await;
            self.net.leave(node.id);
        }
    }
}

fn files_with(dir: &Path, bytes: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, bytes));
        } else if fs::read(&path).unwrap_or_default().windows(bytes.len()).any(|window| window == bytes) {
            found.push(path);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn after_destroy_and_two_rotations_neither_the_key_nor_what_opens_its_copies_is_in_any_file() {
    let trio = Trio::start().await;
    trio.create(1).await;
    until("all have the key", || trio.nodes.iter().all(|node| node.holds(1))).await;
    let key = trio.nodes[0].key(1);
    assert!(trio.nodes.iter().all(|node| node.key(1) == key));
    assert_eq!(trio.files_with(&key).len(), 3, "in the tables, and nowhere else");
    trio.destroy(1).await;
    until("nobody has the key", || trio.nodes.iter().all(|node| !node.holds(1))).await;
    until("it is in no file", || trio.files_with(&key).is_empty()).await;
    let secrets: Vec<_> = trio.nodes.iter().map(Node::first_secret).collect();
    assert!(secrets.iter().all(|secret| trio.files_with(secret).len() == 1), "each in its node's own file");
    for node in &trio.nodes {
        node.keys.vault().rotate().unwrap();
        node.keys.vault().rotate().unwrap();
    }
    assert!(secrets.iter().all(|secret| trio.files_with(secret).is_empty()), "the log's copies open no more");
    trio.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_comes_too_late_for_its_share_asks_for_the_key() {
    let trio = Trio::start().await;
    trio.create(1).await;
    until("all have the key", || trio.nodes.iter().all(|node| node.holds(1))).await;
    let late = &trio.nodes[2];
    for other in &trio.nodes[..2] {
        trio.net.set_both(late.id, other.id, Way::Cut);
    }
    // Sealed to an epoch that is over when the entry comes.
    trio.create(2).await;
    assert!(!late.holds(2));
    late.keys.vault().rotate().unwrap();
    late.keys.vault().rotate().unwrap();
    trio.net.heal();
    until("the late one has the key", || late.holds(2) && late.keys.missing(1) == 0).await;
    assert_eq!(late.key(2), trio.nodes[0].key(2));
    trio.stop().await;
}
