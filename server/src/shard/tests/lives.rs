//! Replicas are made and removed while the power fails at one I/O after another: what was answered stays so, a removed
//! life never comes back, and the node always starts.
//!
//! As in `power`, the state store is empty after every cut.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;

use super::world::*;
use crate::shard::{Alone, Begin, Config, Deps, Epoch, Error, Shard, Shards};
use crate::store::vfs::fault::FaultVfs;

/// The cut falls on every operation whose number leaves this rest, so that a run of the test stays short.
const STRIDE: u64 = 4;

#[derive(Clone, Copy, Debug)]
enum Step {
    Create(u32, u64),
    Remove(u32),
}

const STEPS: [Step; 6] =
    [Step::Create(1, 1), Step::Create(2, 3), Step::Remove(2), Step::Create(2, 4), Step::Remove(2), Step::Create(2, 9)];

/// Groups and their incarnations after so many steps.
fn expected(steps: usize) -> BTreeMap<u32, u64> {
    let mut lives = BTreeMap::new();
    for step in &STEPS[..steps] {
        match step {
            Step::Create(group, incarnation) => drop(lives.insert(*group, *incarnation)),
            Step::Remove(group) => drop(lives.remove(group)),
        }
    }
    lives
}

fn found(shards: &Shards) -> BTreeMap<u32, u64> {
    shards.all().iter().map(|shard| (shard.id(), shard.incarnation())).collect()
}

struct Lab {
    dir: TempDir,
    starts: u32,
}

impl Lab {
    async fn start(&mut self, vfs: &FaultVfs) -> Result<Shards, Error> {
        self.starts += 1;
        let config = Config {
            wal_segment_bytes: 16 << 10,
            wal_bytes_max: 4 << 20,
            command_bytes_max: 4032,
            on_fatal: Arc::new(|_| ()),
            ..Config::new(2)
        };
        let deps = Deps {
            vfs: Arc::new(vfs.clone()),
            data_dir: PathBuf::from("/data"),
            state_dir: self.dir.path().join(self.starts.to_string()),
            effects: Arc::new(()),
            transport: Arc::new(Alone),
        };
        Shards::start(config, deps).await
    }
}

/// Takes the steps that were not answered yet.
async fn go_on(shards: &Shards, answered: &mut usize) -> Result<(), Error> {
    for step in &STEPS[*answered..] {
        match step {
            Step::Create(group, incarnation) => {
                let shard = shards.create(*group, *incarnation, Begin::Lead).await?;
                let n = *incarnation as u8;
                let applied = shard.propose(epoch_or_stopped(&shard)?, create(n)).await;
                applied.map_err(|error| Error::Stopped(error.to_string()))?;
            }
            Step::Remove(group) => shards.remove(*group).await?,
        }
        *answered += 1;
    }
    Ok(())
}

fn epoch_or_stopped(shard: &Shard) -> Result<Epoch, Error> {
    let epoch = *shard.leadership().borrow();
    epoch.ok_or_else(|| Error::Stopped("nobody leads".to_owned()))
}

/// What is there is what the answers say, or one step further.
async fn check(shards: &Shards, answered: usize, what: &str) {
    let now = found(shards);
    let further = (answered + 1).min(STEPS.len());
    assert!(now == expected(answered) || now == expected(further), "{what}: {now:?} after {answered} steps");
    if answered >= 1 {
        assert_eq!(header(&shards.group(1).unwrap(), 1).await.incarnation, life(1), "{what}");
    }
    if answered >= 3 {
        assert!(shards.create(2, 3, Begin::Join).await.is_err(), "{what}: a removed life came back");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_at_any_io_neither_loses_a_replica_nor_revives_one() {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let mut lab = Lab { dir, starts: 0 };
    let whole = FaultVfs::new();
    let shards = lab.start(&whole).await.unwrap();
    let mut answered = 0;
    go_on(&shards, &mut answered).await.unwrap();
    check(&shards, answered, "without a cut").await;
    shards.shutdown().await.unwrap();
    let ops = whole.ops();
    assert!(ops > 60, "{ops} operations");

    for at in (0..ops).filter(|at| at % STRIDE == ops % STRIDE) {
        let disk = FaultVfs::new();
        disk.cut_at(at);
        let mut answered = 0;
        if let Ok(shards) = lab.start(&disk).await {
            let _ = go_on(&shards, &mut answered).await;
        }
        let disk = disk.power_cut(at);
        let what = format!("cut at {at}");
        let shards = lab.start(&disk).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        check(&shards, answered, &what).await;
        // The step that was under way is asked for again, whether it was taken or not.
        go_on(&shards, &mut answered).await.unwrap_or_else(|error| panic!("{what}, going on: {error}"));
        check(&shards, answered, &what).await;
        shards.shutdown().await.unwrap();
    }
}
