//! A node in a temporary directory, and short names for what tests say to it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lethe_proto::ActorId;
use parking_lot::Mutex;
use tempfile::TempDir;
use uuid::Uuid;

use crate::shard::{
    Alone, Applied, Begin, Command, Config, Create, Created, Deps, EffectError, Effects, Epoch, Error, RecordOp, SLOTS,
    Shard, Shards,
};
use crate::store::vfs::StdVfs;
use crate::store::{DestroyReason, Header, HeaderOrTombstone, KeyShare, RecordId};

/// Starts a node that is the only voter of all data groups.
pub async fn start_alone(config: Config, deps: Deps) -> Result<Shards, Error> {
    let shards = Shards::start(config, deps).await?;
    for group in 1..=shards.groups() {
        if let Err(error) = shards.create(group, 1, Begin::Lead).await {
            drop(shards.shutdown().await);
            return Err(error);
        }
    }
    Ok(shards)
}

impl Shards {
    /// The replica of the group that holds an actor, with slots spread over the data groups in order.
    pub fn shard(&self, actor: ActorId) -> Option<Shard> {
        let slot = u32::from(u16::from_be_bytes([actor.0[0], actor.0[1]]) >> 4);
        self.group(1 + slot * self.groups() / SLOTS)
    }
}

/// Remembers which keys would be gone and made, and how often some were to go.
#[derive(Default)]
pub struct Erased(pub Mutex<Vec<(ActorId, Uuid)>>, pub Mutex<Vec<Created>>, pub AtomicUsize);

impl Effects for Erased {
    fn created(&self, _: u32, created: Vec<Created>) -> Result<(), EffectError> {
        self.1.lock().extend(created);
        Ok(())
    }

    fn installed(&self, _: u32) -> Result<(), EffectError> {
        Ok(())
    }

    fn destroyed(&self, ended: Vec<(ActorId, Uuid)>) -> Result<(), EffectError> {
        self.0.lock().extend(ended);
        self.2.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Waits until something is so, for a minute at most: machines that run tests are busy.
pub async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !so() {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A node's directory and its settings; the node itself comes and goes.
pub struct World {
    pub dir: TempDir,
    pub config: Config,
    pub erased: Arc<Erased>,
}

impl World {
    pub fn new(groups: u32) -> Self {
        let config = Config {
            wal_segment_bytes: 1 << 20,
            wal_bytes_max: 64 << 20,
            command_bytes_max: 128 << 10,
            upkeep_ms: 20,
            on_fatal: Arc::new(|reason| panic!("fatal: {reason}")),
            ..Config::new(groups)
        };
        Self { dir: tempfile::tempdir().unwrap(), config, erased: Arc::default() }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub async fn try_start(&self) -> Result<Shards, Error> {
        let deps = Deps {
            vfs: Arc::new(StdVfs),
            data_dir: self.path().to_owned(),
            state_dir: self.path().join("state"),
            effects: self.erased.clone(),
            transport: Arc::new(Alone),
        };
        start_alone(self.config.clone(), deps).await
    }

    pub async fn start(&self) -> Shards {
        self.try_start().await.unwrap()
    }
}

pub fn actor(n: u8) -> ActorId {
    ActorId([n; 32])
}

pub fn life(n: u8) -> Uuid {
    Uuid::from_bytes([n; 16])
}

pub fn record(n: u8) -> RecordId {
    RecordId([n; 16])
}

pub fn epoch(shard: &Shard) -> Epoch {
    shard.leadership().borrow().unwrap()
}

/// Creates and activates actor `n`.
pub fn create(n: u8) -> Command {
    activation(n, Some(n))
}

/// Activates actor `n`, creating it as `incarnation` if one is given.
pub fn activation(n: u8, incarnation: Option<u8>) -> Command {
    let create = incarnation.map(|incarnation| Create {
        incarnation: life(incarnation),
        created_at_ms: 1,
        sealed_name: Some(Bytes::from_static(b"sealed")),
        key_shares: vec![share(incarnation)],
    });
    Command::Activate { actor: actor(n), namespace: "script/Class".to_owned(), create }
}

/// The data key of life `n`, sealed to somebody.
pub fn share(n: u8) -> KeyShare {
    KeyShare { node: life(n), epoch: 1, sealed: Bytes::from_static(b"share") }
}

pub fn write(n: u8, activation: u64, seq: u64, ops: Vec<RecordOp>) -> Command {
    Command::Write { actor: actor(n), incarnation: life(n), activation, seq, ops }
}

pub fn put(key: u8, value: &[u8]) -> RecordOp {
    RecordOp::Put { id: record(key), name: Bytes::copy_from_slice(&[key]), value: Bytes::copy_from_slice(value) }
}

pub fn destroy(n: u8, expected: Option<u8>) -> Command {
    let expected = expected.map(life);
    Command::Destroy { actor: actor(n), expected, destroyed_at_ms: 9, reason: DestroyReason::Caller }
}

/// Proposes in the current epoch.
pub async fn done(shard: &Shard, command: Command) -> Applied {
    shard.propose(epoch(shard), command).await.unwrap()
}

pub async fn header(shard: &Shard, n: u8) -> Header {
    match shard.header(actor(n)).await.unwrap() {
        Some(HeaderOrTombstone::Header(header)) => header,
        other => panic!("actor {n} does not live: {other:?}"),
    }
}

pub async fn value(shard: &Shard, n: u8, key: u8) -> Option<Bytes> {
    shard.value(actor(n), life(n), record(key)).await.unwrap()
}
