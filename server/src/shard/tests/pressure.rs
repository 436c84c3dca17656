//! Groups of very unequal load over one log: it stays bounded, and nothing is lost.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::world::*;
use crate::shard::{Applied, NotDone, ProposeError, Shards};

const GROUPS: u32 = 64;
const VALUE_BYTES: usize = 40 << 10;
const SEGMENT_BYTES: u64 = 256 << 10;
const LOG_BYTES_MAX: u64 = 8 << 20;

fn small_log() -> World {
    let mut world = World::new(GROUPS);
    world.config.wal_segment_bytes = SEGMENT_BYTES;
    world.config.wal_bytes_max = LOG_BYTES_MAX;
    world.config.command_bytes_max = 48 << 10;
    world.config.proposals_bytes_max = 256 << 10;
    world
}

/// An actor of each data group, by group.
fn actors() -> BTreeMap<u32, u8> {
    (0..GROUPS).map(|group| (1 + group, (group * 256 / GROUPS) as u8)).collect()
}

/// Writes to an actor. While the log is full it is asked again: the node refuses then, and must get over it.
async fn fill(shards: &Shards, n: u8, writes: std::ops::RangeInclusive<u64>) {
    let shard = shards.shard(actor(n)).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    for seq in writes {
        let value = vec![n ^ seq as u8; VALUE_BYTES];
        let command = write(n, 1, seq, vec![put((seq % 4) as u8, &value)]);
        loop {
            match shard.propose(epoch(&shard), command.clone()).await {
                Ok(applied) => break assert_eq!(applied, Applied::Written, "write {seq} of actor {n}"),
                Err(ProposeError::NotDone(NotDone::DiskFull | NotDone::Overloaded)) => {
                    assert!(Instant::now() < deadline, "the log stays full: {:?}", shards.wal_stats());
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Err(error) => panic!("write {seq} of actor {n}: {error}"),
            }
        }
    }
}

async fn check(shards: &Shards, n: u8, seq: u64) {
    let shard = shards.shard(actor(n)).unwrap();
    assert_eq!(header(&shard, n).await.seq, seq, "actor {n}");
    let value = value(&shard, n, (seq % 4) as u8).await.map(|value| value.to_vec());
    assert!(value == Some(vec![n ^ seq as u8; VALUE_BYTES]), "actor {n}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_hot_group_and_many_silent_ones_keep_the_log_bounded_and_lose_nothing() {
    let world = small_log();
    let shards = world.start().await;
    let actors = actors();
    assert!(actors.iter().all(|(group, n)| shards.shard(actor(*n)).unwrap().id() == *group));
    for n in actors.values() {
        done(&shards.shard(actor(*n)).unwrap(), create(*n)).await;
        fill(&shards, *n, 1..=1).await;
    }
    // The hot group writes more than the log may hold; the oldest segments are full of what the others wrote.
    let hot = actors[&1];
    let writes = 3 * LOG_BYTES_MAX / 2 / VALUE_BYTES as u64;
    fill(&shards, hot, 2..=writes).await;
    let bound = u64::from(world.config.pin_segments()) + 1;
    until("the log is small again", || shards.wal_stats().segments <= bound).await;

    let expected = |n: u8| if n == hot { writes } else { 1 };
    for n in actors.values() {
        check(&shards, *n, expected(*n)).await;
    }
    shards.shutdown().await.unwrap();
    std::fs::remove_dir_all(world.path().join("state")).unwrap();
    let shards = world.start().await;
    for n in actors.values() {
        check(&shards, *n, expected(*n)).await;
    }
    shards.shutdown().await.unwrap();
}
