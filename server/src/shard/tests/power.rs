//! The whole shard while the power fails at one I/O after another.
//!
//! Log and snapshots are on a disk that keeps only what was synced and a seeded part of the rest. The state store gets
//! the worst disk there is: after every cut it is empty. Whatever was acknowledged must be there after the restart,
//! and nothing else but the one command that was in flight.

use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;

use super::world::*;
use crate::shard::{Alone, Applied, Command, Config, Deps, Error, ProposeError, Rejection, Shard, Shards};
use crate::store::HeaderOrTombstone;
use crate::store::vfs::fault::FaultVfs;

const ACTORS: [u8; 2] = [3, 200];
const DOOMED: u8 = 4;
const WRITES: u64 = 40;

/// The cut falls on every operation whose number leaves this rest, so that a run of the test stays short.
const STRIDE: u64 = 5;

/// What the world was told.
#[derive(Clone, Debug, Default)]
struct Told {
    created: [bool; 2],
    written: [u64; 2],
    destroyed: bool,
}

struct Lab {
    dir: TempDir,
    starts: u32,
    config: Config,
}

impl Lab {
    fn new() -> Self {
        let config = Config {
            wal_segment_bytes: 16 << 10,
            wal_bytes_max: 4 << 20,
            command_bytes_max: 4032,
            snapshot_entries: 12,
            upkeep_ms: 1,
            on_fatal: Arc::new(|_| ()),
            ..Config::new(2)
        };
        // What is in it is lost at every cut anyway, so it may as well be in memory.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        Self { dir, starts: 0, config }
    }

    async fn start(&mut self, vfs: &FaultVfs) -> Result<Shards, Error> {
        self.starts += 1;
        let deps = Deps {
            vfs: Arc::new(vfs.clone()),
            data_dir: PathBuf::from("/data"),
            state_dir: self.dir.path().join(self.starts.to_string()),
            effects: Arc::new(()),
            transport: Arc::new(Alone),
        };
        start_alone(self.config.clone(), deps).await
    }
}

/// Says everything to the node until it stops answering.
async fn script(shards: &Shards, told: &mut Told) -> Result<(), ProposeError> {
    for (n, id) in ACTORS.iter().enumerate() {
        if !told.created[n] {
            // After a cut it may have happened without our hearing of it; then it is only activated again.
            say(&shards.shard(actor(*id)).unwrap(), create(*id)).await?;
            told.created[n] = true;
        }
    }
    if !told.destroyed {
        let shard = shards.shard(actor(DOOMED)).unwrap();
        say(&shard, create(DOOMED)).await?;
        say(&shard, destroy(DOOMED, None)).await?;
        told.destroyed = true;
    }
    for seq in 1..=WRITES {
        for (n, id) in ACTORS.iter().enumerate().filter(|(n, _)| told.written[*n] < seq).collect::<Vec<_>>() {
            let shard = shards.shard(actor(*id)).unwrap();
            let activation = header(&shard, *id).await.activation;
            let outcome = say(&shard, write(*id, activation, seq, vec![put(seq as u8, &body(seq))])).await?;
            let repeated = Applied::Rejected(Rejection::StaleSequence(seq));
            assert!(outcome == Applied::Written || outcome == repeated, "{seq}: {outcome:?}");
            told.written[n] = seq;
        }
    }
    Ok(())
}

async fn say(shard: &Shard, command: Command) -> Result<Applied, ProposeError> {
    let epoch = *shard.leadership().borrow();
    match epoch {
        Some(epoch) => shard.propose(epoch, command).await,
        None => Err(ProposeError::Unknown("nobody leads".to_owned())),
    }
}

fn body(seq: u64) -> Vec<u8> {
    vec![seq as u8; 100 + (seq as usize * 37) % 600]
}

async fn check(shards: &Shards, told: &Told) {
    for (n, id) in ACTORS.iter().enumerate() {
        let shard = shards.shard(actor(*id)).unwrap();
        let found = shard.header(actor(*id)).await.unwrap();
        let seq = match found {
            Some(HeaderOrTombstone::Header(header)) => header.seq,
            None => {
                assert!(!told.created[n], "actor {id} is gone");
                continue;
            }
            Some(tombstone) => panic!("{tombstone:?}"),
        };
        assert!(seq == told.written[n] || seq == told.written[n] + 1, "actor {id} is at {seq}: {told:?}");
        for seq in 1..=seq {
            assert_eq!(value(&shard, *id, seq as u8).await.as_deref(), Some(&body(seq)[..]), "actor {id}, write {seq}");
        }
    }
    let doomed = shards.shard(actor(DOOMED)).unwrap().header(actor(DOOMED)).await.unwrap();
    if told.destroyed {
        assert!(matches!(doomed, Some(HeaderOrTombstone::Tombstone(_))), "{doomed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_command_is_lost_wherever_the_power_fails() {
    let mut lab = Lab::new();
    let whole = FaultVfs::new();
    let shards = lab.start(&whole).await.unwrap();
    let mut told = Told::default();
    script(&shards, &mut told).await.unwrap();
    check(&shards, &told).await;
    assert!(
        shards.all().iter().all(|shard| shard.metrics().snapshot.is_some()),
        "the script is too short for snapshots"
    );
    shards.shutdown().await.unwrap();
    let ops = whole.ops();
    assert!(ops > 100, "{ops} operations");

    for at in (0..ops).filter(|at| at % STRIDE == ops % STRIDE) {
        let mut told = Told::default();
        let mut disk = FaultVfs::new();
        // The second cut falls into the recovery from the first, or soon after it.
        for (life, cut) in [at, at % 41].into_iter().enumerate() {
            disk.cut_at(disk.ops() + cut);
            match lab.start(&disk).await {
                Ok(shards) => {
                    check(&shards, &told).await;
                    let _ = script(&shards, &mut told).await;
                    disk = disk.power_cut(at * 2 + life as u64);
                    drop(shards);
                }
                Err(error) => {
                    assert!(disk.is_off(), "cut at {at}: refused to start: {error}");
                    disk = disk.power_cut(at * 2 + life as u64);
                }
            }
        }
        let shards = lab.start(&disk).await.unwrap_or_else(|error| panic!("cut at {at}: {error}; {:#?}", disk.past()));
        check(&shards, &told).await;
        script(&shards, &mut told).await.unwrap();
        check(&shards, &told).await;
        shards.shutdown().await.unwrap();
    }
}
