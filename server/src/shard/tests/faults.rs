//! Disks that are full or broken, effects that fail, and more work than is allowed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lethe_proto::ActorId;
use parking_lot::Mutex;
use tempfile::TempDir;
use uuid::Uuid;

use super::world::*;
use crate::shard::{
    Alone, Applied, Config, Created, Deps, EffectError, Effects, NotDone, ProposeError, ReadError, Shard, Shards,
};
use crate::store::vfs::fault::{EIO, Effect, Fault, FaultVfs, Op};

/// A node whose log and snapshots are on a `FaultVfs`, and that tells of its death instead of dying.
pub(super) struct Patient {
    vfs: FaultVfs,
    dir: TempDir,
    pub config: Config,
    deaths: Arc<Mutex<Vec<String>>>,
}

impl Patient {
    pub fn new() -> Self {
        let deaths = Arc::new(Mutex::new(Vec::new()));
        let told = deaths.clone();
        let config = Config {
            wal_segment_bytes: 64 << 10,
            wal_bytes_max: 16 << 20,
            command_bytes_max: 8 << 10,
            proposals_bytes_max: 16 << 10,
            upkeep_ms: 5,
            on_fatal: Arc::new(move |reason| told.lock().push(reason.to_owned())),
            ..Config::new(1)
        };
        Self { vfs: FaultVfs::new(), dir: tempfile::tempdir().unwrap(), config, deaths }
    }

    pub async fn start(&self, effects: Arc<dyn Effects>) -> Shards {
        let deps = Deps {
            vfs: Arc::new(self.vfs.clone()),
            data_dir: PathBuf::from("/data"),
            state_dir: self.dir.path().to_owned(),
            effects,
            transport: Arc::new(Alone),
        };
        start_alone(self.config.clone(), deps).await.unwrap()
    }

    async fn wait_for_death(&self) -> String {
        until("its death", || !self.deaths.lock().is_empty()).await;
        self.deaths.lock()[0].clone()
    }
}

/// Writes until something else than an acknowledgement comes back; the last acknowledged sequence, and what came.
async fn write_on(shard: &Shard, mut seq: u64) -> (u64, ProposeError) {
    loop {
        match shard.propose(epoch(shard), write(1, 1, seq + 1, vec![put(seq as u8, &[7; 4000])])).await {
            Ok(outcome) => assert_eq!(outcome, Applied::Written),
            Err(error) => return (seq, error),
        }
        seq += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_writes_and_takes_them_again_when_there_is_room() {
    let mut patient = Patient::new();
    patient.config.snapshot_entries = 1 << 40;
    let shards = patient.start(Arc::new(())).await;
    let shard = shards.shard(actor(1)).unwrap();
    done(&shard, create(1)).await;
    // Room for two more segments of the log.
    patient.vfs.set_capacity(Some(patient.vfs.used() + 2 * patient.config.wal_segment_bytes));
    let (seq, refusal) = write_on(&shard, 0).await;
    assert_eq!(refusal, ProposeError::NotDone(NotDone::DiskFull));
    assert!(seq > 10, "the room that was there was used: {seq} writes");
    assert_eq!(shard.read_index().await, Ok(epoch(&shard)), "reads go on");
    assert_eq!(header(&shard, 1).await.seq, seq);

    patient.vfs.set_capacity(None);
    let deadline = Instant::now() + Duration::from_secs(60);
    while shard.propose(epoch(&shard), write(1, 1, seq + 1, vec![])).await != Ok(Applied::Written) {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(*patient.deaths.lock(), Vec::<String>::new());
    shards.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_finds_the_disk_full_is_tried_again_and_hurts_nobody() {
    let mut patient = Patient::new();
    patient.config.snapshot_entries = 10;
    let shards = patient.start(Arc::new(())).await;
    let shard = shards.shard(actor(1)).unwrap();
    done(&shard, create(1)).await;
    let full =
        Fault { op: Op::Write, path: "snapshots".to_owned(), skip: 0, times: u64::MAX, effect: Effect::Error(28) };
    patient.vfs.inject(full);
    for seq in 1..=40 {
        assert_eq!(done(&shard, write(1, 1, seq, vec![put(1, b"value")])).await, Applied::Written);
    }
    assert_eq!(shard.metrics().snapshot, None);
    patient.vfs.heal();
    until("a snapshot", || shard.metrics().snapshot.is_some()).await;
    assert_eq!(*patient.deaths.lock(), Vec::<String>::new());
    shards.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_whose_writing_panics_ends_the_node() {
    let mut patient = Patient::new();
    patient.config.snapshot_entries = 10;
    let shards = patient.start(Arc::new(())).await;
    let shard = shards.shard(actor(1)).unwrap();
    let defect = Fault { op: Op::Write, path: "snapshots".to_owned(), skip: 0, times: 1, effect: Effect::Panic };
    patient.vfs.inject(defect);
    done(&shard, create(1)).await;
    for seq in 1..=10 {
        assert_eq!(done(&shard, write(1, 1, seq, vec![put(1, b"value")])).await, Applied::Written);
    }
    assert_eq!(patient.wait_for_death().await, "the upkeep of the groups panicked");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_entries_do_not_fill_the_log_however_few_they_are() {
    let mut patient = Patient::new();
    patient.config.wal_bytes_max = 2 << 20;
    patient.config.snapshot_entries = 1 << 40;
    let shards = patient.start(Arc::new(())).await;
    let shard = shards.shard(actor(1)).unwrap();
    done(&shard, create(1)).await;
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut seq = 0;
    while seq < 1000 {
        match shard.propose(epoch(&shard), write(1, 1, seq + 1, vec![put(seq as u8, &[7; 8000])])).await {
            Ok(outcome) => {
                assert_eq!(outcome, Applied::Written);
                seq += 1;
            }
            Err(refusal) => {
                // The writer is faster than the snapshots: it is refused, and gets on when they have caught up.
                assert_eq!(refusal, ProposeError::NotDone(NotDone::DiskFull));
                assert!(Instant::now() < deadline, "{seq} writes: {:?}", shard.metrics());
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
    assert!(shard.metrics().purged.is_some());
    assert_eq!(*patient.deaths.lock(), Vec::<String>::new());
    shards.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_disk_ends_the_node_and_acknowledges_nothing_more() {
    let patient = Patient::new();
    let shards = patient.start(Arc::new(())).await;
    let shard = shards.shard(actor(1)).unwrap();
    done(&shard, create(1)).await;
    let broken = Fault { op: Op::Sync, path: "wal".to_owned(), skip: 3, times: 1, effect: Effect::Error(EIO) };
    patient.vfs.inject(broken);
    let before = epoch(&shard);
    let (seq, error) = write_on(&shard, 0).await;
    assert!(matches!(error, ProposeError::Unknown(_)), "{error:?}");
    let reason = patient.wait_for_death().await;
    assert!(reason.contains("write-ahead log failed"), "{reason}");
    let after = shard.propose(before, write(1, 1, seq + 2, vec![])).await;
    assert!(after.is_err(), "{after:?}");
    assert!(shard.read_index().await.is_err());
}

struct Stubborn;

impl Effects for Stubborn {
    fn created(&self, _: u32, _: Vec<Created>) -> Result<(), EffectError> {
        Ok(())
    }

    fn installed(&self, _: u32) -> Result<(), EffectError> {
        Ok(())
    }

    fn destroyed(&self, _: Vec<(ActorId, Uuid)>) -> Result<(), EffectError> {
        Err("the key does not go".into())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_cannot_be_erased_ends_the_node_before_the_destroy_is_answered() {
    let patient = Patient::new();
    let shards = patient.start(Arc::new(Stubborn)).await;
    let shard = shards.shard(actor(1)).unwrap();
    done(&shard, create(1)).await;
    let outcome = shard.propose(epoch(&shard), destroy(1, None)).await;
    assert!(matches!(outcome, Err(ProposeError::Unknown(_))), "{outcome:?}");
    let reason = patient.wait_for_death().await;
    assert!(reason.contains("the key does not go"), "{reason}");
}

/// Holds up every destroy until it is let go.
#[derive(Default)]
pub(super) struct Gate(Mutex<()>);

/// Opens the gate when it goes away.
pub(super) struct Shut {
    let_go: std::sync::mpsc::Sender<()>,
    holder: Option<std::thread::JoinHandle<()>>,
}

impl Gate {
    /// Shuts it from now on.
    pub fn shut(self: &Arc<Self>) -> Shut {
        let (holds, held) = std::sync::mpsc::channel();
        let (let_go, gone) = std::sync::mpsc::channel::<()>();
        let gate = self.clone();
        let holder = std::thread::spawn(move || {
            let _guard = gate.0.lock();
            holds.send(()).unwrap();
            let _ = gone.recv();
        });
        held.recv().unwrap();
        Shut { let_go, holder: Some(holder) }
    }
}

impl Drop for Shut {
    fn drop(&mut self) {
        self.let_go.send(()).unwrap();
        if let Some(holder) = self.holder.take() {
            holder.join().unwrap();
        }
    }
}

impl Effects for Gate {
    fn created(&self, _: u32, _: Vec<Created>) -> Result<(), EffectError> {
        Ok(())
    }

    fn installed(&self, _: u32) -> Result<(), EffectError> {
        Ok(())
    }

    fn destroyed(&self, _: Vec<(ActorId, Uuid)>) -> Result<(), EffectError> {
        drop(self.0.lock());
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_proposals_and_more_bytes_than_allowed_are_refused_at_once() {
    let mut patient = Patient::new();
    patient.config.proposals_max = 4;
    let gate = Arc::new(Gate::default());
    let shards = patient.start(gate.clone()).await;
    let shard = shards.shard(actor(1)).unwrap();
    done(&shard, create(1)).await;
    done(&shard, create(2)).await;
    let now = epoch(&shard);
    let shut = gate.shut();
    let waits = |command| {
        let shard = shard.clone();
        tokio::spawn(async move { shard.propose(now, command).await })
    };
    let first = waits(destroy(1, None));
    // What is applied before the destroy does not wait for it.
    until("one proposal", || shard.metrics().last > shard.metrics().applied && shard.metrics().proposals == 1).await;
    // In the log, and not only on its way there: the next one could overtake it.
    let destroyed = shard.metrics().last.unwrap();
    let second = waits(write(2, 1, 1, vec![put(1, &[0; 7000])]));
    until("two proposals", || shard.metrics().last == Some(destroyed + 1)).await;
    let third = waits(write(2, 1, 2, vec![put(1, &[0; 7000])]));
    until("three proposals", || shard.metrics().last == Some(destroyed + 2)).await;
    let refused = shard.propose(now, write(2, 1, 3, vec![put(1, &[0; 3000])])).await;
    assert_eq!(refused, Err(ProposeError::NotDone(NotDone::Overloaded)), "too many bytes");
    let fourth = waits(write(2, 1, 3, vec![]));
    until("four proposals", || shard.metrics().proposals == 4).await;
    let refused = shard.propose(now, destroy(2, None)).await;
    assert_eq!(refused, Err(ProposeError::NotDone(NotDone::Overloaded)));
    drop(shut);
    assert_eq!(first.await.unwrap(), Ok(Applied::Destroyed { incarnation: Some(life(1)), already: false }));
    assert_eq!(second.await.unwrap(), Ok(Applied::Written));
    assert_eq!(third.await.unwrap(), Ok(Applied::Written));
    assert_eq!(fourth.await.unwrap(), Ok(Applied::Written));
    assert_eq!(shard.metrics().proposals, 0);
    shards.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_that_hangs_ends_the_node() {
    let mut patient = Patient::new();
    patient.config.apply_ms = 100;
    let gate = Arc::new(Gate::default());
    let shards = patient.start(gate.clone()).await;
    let shard = shards.shard(actor(1)).unwrap();
    done(&shard, create(1)).await;
    let shut = gate.shut();
    let outcome = shard.propose(epoch(&shard), destroy(1, None)).await;
    assert!(matches!(outcome, Err(ProposeError::Unknown(_))), "{outcome:?}");
    let reason = patient.wait_for_death().await;
    assert!(reason.contains("a batch is not applied after 100ms"), "{reason}");
    drop(shut);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_reads_than_allowed_are_refused_at_once() {
    let mut patient = Patient::new();
    patient.config.reads_max = 1;
    let shards = patient.start(Arc::new(())).await;
    let shard = shards.shard(actor(1)).unwrap();
    let mut first = Box::pin(shard.read_index());
    // The first poll takes the only place.
    if futures::poll!(&mut first).is_pending() {
        assert_eq!(shard.read_index().await, Err(ReadError::Overloaded));
        assert_eq!(first.await, Ok(epoch(&shard)));
    }
    shards.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_groups_come_up_and_answer() {
    let world = World::new(64);
    let shards = world.start().await;
    for n in 0..=255 {
        done(&shards.shard(actor(n)).unwrap(), create(n)).await;
    }
    let used = shards.all().iter().filter(|shard| shard.metrics().digest != [0; 16]).count();
    assert_eq!(used, 64);
    shards.shutdown().await.unwrap();
    let shards = world.start().await;
    for n in 0..=255 {
        assert_eq!(header(&shards.shard(actor(n)).unwrap(), n).await.activation, 1);
    }
    shards.shutdown().await.unwrap();
}
