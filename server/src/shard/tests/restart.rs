//! What a node knows after it was stopped, and after parts of its directory were lost.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::fleet::{Fleet, seq};
use super::world::*;
use crate::shard::{Applied, Rejection, Shard};

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_there_after_a_restart() {
    let world = World::new(4);
    let shards = world.start().await;
    for n in [1, 70, 130, 250] {
        let shard = shards.shard(actor(n)).unwrap();
        done(&shard, create(n)).await;
        done(&shard, write(n, 1, 1, vec![put(7, &[n])])).await;
    }
    let before: Vec<_> = shards.all().iter().map(|shard| shard.metrics().digest).collect();
    shards.shutdown().await.unwrap();
    let shards = world.start().await;
    assert_eq!(shards.all().iter().map(|shard| shard.metrics().digest).collect::<Vec<_>>(), before);
    for n in [1, 70, 130, 250] {
        let shard = shards.shard(actor(n)).unwrap();
        assert_eq!(value(&shard, n, 7).await.as_deref(), Some(&[n][..]));
        assert_eq!(done(&shard, write(n, 1, 2, vec![])).await, Applied::Written);
    }
    shards.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn wiped_state_is_rebuilt_from_the_log() {
    let world = World::new(1);
    let shards = world.start().await;
    let shard = shards.shard(actor(1)).unwrap();
    done(&shard, create(1)).await;
    for seq in 1..=50 {
        done(&shard, write(1, 1, seq, vec![put(seq as u8, &[seq as u8])])).await;
    }
    done(&shard, create(2)).await;
    done(&shard, destroy(2, None)).await;
    let before = shard.metrics().digest;
    drop(shard);
    shards.shutdown().await.unwrap();
    fs::remove_dir_all(world.path().join("state")).unwrap();
    world.erased.0.lock().clear();

    let shards = world.start().await;
    let shard = shards.shard(actor(1)).unwrap();
    assert_eq!(shard.metrics().digest, before);
    assert_eq!(header(&shard, 1).await.seq, 50);
    assert_eq!(value(&shard, 1, 33).await.as_deref(), Some(&[33][..]));
    assert_eq!(*world.erased.0.lock(), vec![(actor(2), life(2))], "effects run again when entries are applied again");
    shards.shutdown().await.unwrap();
}

/// Writes to actor 1 until the group took so many snapshots, and says what the last sequence was.
async fn write_until_snapshots(world: &World, shard: &Shard, snapshots: usize) -> u64 {
    let mut seq = header(shard, 1).await.seq;
    let mut taken = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    while taken.len() < snapshots {
        assert!(Instant::now() < deadline, "{taken:?} after {seq} writes");
        seq += 1;
        assert_eq!(done(shard, write(1, 1, seq, vec![put(seq as u8, &seq.to_le_bytes())])).await, Applied::Written);
        if let Some(index) = shard.metrics().snapshot
            && !taken.contains(&index)
        {
            taken.push(index);
        }
    }
    // The newest two are kept; a third may be in the making by now.
    let kept = files(world, "snapshots").len();
    assert!((snapshots.min(2)..=3).contains(&kept), "{kept} files after {snapshots} snapshots");
    seq
}

fn files(world: &World, dir: &str) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(world.path().join(dir)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Changes a bit in the middle of a file.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// A node that took snapshots and purged its log, stopped; the last sequence and the digest.
async fn aged(snapshots: usize) -> (World, u64, [u8; 16]) {
    let mut world = World::new(1);
    world.config.snapshot_entries = 40;
    let shards = world.start().await;
    let shard = shards.shard(actor(1)).unwrap();
    done(&shard, create(1)).await;
    done(&shard, create(2)).await;
    done(&shard, destroy(2, None)).await;
    let seq = write_until_snapshots(&world, &shard, snapshots).await;
    if snapshots > 1 {
        until("a purge", || shard.metrics().purged.is_some()).await;
    }
    let digest = shard.metrics().digest;
    drop(shard);
    shards.shutdown().await.unwrap();
    world.erased.0.lock().clear();
    (world, seq, digest)
}

async fn assert_is(world: &World, seq: u64, digest: [u8; 16]) {
    let shards = world.start().await;
    let shard = shards.shard(actor(1)).unwrap();
    assert_eq!(shard.metrics().digest, digest);
    assert_eq!(header(&shard, 1).await.seq, seq);
    assert_eq!(value(&shard, 1, seq as u8).await.as_deref(), Some(&seq.to_le_bytes()[..]));
    assert_eq!(done(&shard, create(2)).await, Applied::Rejected(Rejection::Destroyed));
    drop(shard);
    shards.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn state_behind_the_log_is_rebuilt_from_a_snapshot_and_the_log() {
    let (world, seq, digest) = aged(3).await;
    fs::remove_dir_all(world.path().join("state")).unwrap();
    assert_is(&world, seq, digest).await;
    assert!(world.erased.0.lock().contains(&(actor(2), life(2))), "effects of skipped entries run again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_newest_snapshot_is_refused_and_the_one_before_used() {
    let (world, seq, digest) = aged(3).await;
    fs::remove_dir_all(world.path().join("state")).unwrap();
    damage(&files(&world, "snapshots").pop().unwrap());
    assert_is(&world, seq, digest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_snapshot_is_no_hindrance_while_the_log_is_whole() {
    let (world, seq, digest) = aged(1).await;
    fs::remove_dir_all(world.path().join("state")).unwrap();
    for path in files(&world, "snapshots") {
        damage(&path);
    }
    assert_is(&world, seq, digest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_whole_snapshot_a_purged_log_refuses_to_start() {
    let (world, ..) = aged(3).await;
    fs::remove_dir_all(world.path().join("state")).unwrap();
    for path in files(&world, "snapshots") {
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 100]).unwrap();
    }
    let error = world.try_start().await.err().unwrap().to_string();
    assert!(error.contains("group 1") && error.contains("no whole snapshot reaches the log"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_not_needed_while_the_log_is_whole() {
    let (world, seq, digest) = aged(1).await;
    fs::remove_dir_all(world.path().join("state")).unwrap();
    fs::remove_dir_all(world.path().join("snapshots")).unwrap();
    assert_is(&world, seq, digest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_log_refuses_to_start() {
    let (world, ..) = aged(1).await;
    fs::remove_dir_all(world.path().join("wal")).unwrap();
    let error = world.try_start().await.err().unwrap().to_string();
    assert_eq!(error, "the log is gone; this node must be replaced by a new one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_node_file_refuses_to_start() {
    let (world, ..) = aged(1).await;
    fs::remove_file(world.path().join("node")).unwrap();
    let error = world.try_start().await.err().unwrap().to_string();
    assert!(error.ends_with("has a log but no node file; nobody knows whose it is"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_another_node_refuses_to_start() {
    let (world, ..) = aged(1).await;
    let (other, ..) = aged(1).await;
    fs::copy(other.path().join("node"), world.path().join("node")).unwrap();
    let error = world.try_start().await.err().unwrap().to_string();
    assert!(error.contains("belongs to node"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_number_of_groups_refuses_to_start() {
    let (mut world, ..) = aged(1).await;
    world.config.groups = 2;
    let error = world.try_start().await.err().unwrap().to_string();
    assert_eq!(error, "the data directory has 1 groups, the configuration says 2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_in_use_refuses_a_second_node() {
    let world = World::new(1);
    let shards = world.start().await;
    let error = world.try_start().await.err().unwrap().to_string();
    assert!(error.ends_with("is in use by another process"), "{error}");
    shards.shutdown().await.unwrap();
}

/// The log's files as they are now, to be put back later.
struct OldLog(Vec<(PathBuf, Vec<u8>)>);

impl OldLog {
    fn of(dir: &Path) -> Self {
        Self(log_files(dir).map(|path| (path.clone(), fs::read(path).unwrap())).collect())
    }

    fn put_back(self, dir: &Path) {
        log_files(dir).for_each(|path| fs::remove_file(path).unwrap());
        self.0.into_iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
    }
}

fn log_files(dir: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(dir.join("wal")).unwrap().map(|file| file.unwrap().path())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_lost_its_end_refuses_to_start() {
    let world = World::new(1);
    let shards = world.start().await;
    done(&shards.shard(actor(1)).unwrap(), create(1)).await;
    shards.shutdown().await.unwrap();
    let early = OldLog::of(world.path());
    let shards = world.start().await;
    let shard = shards.shard(actor(1)).unwrap();
    for seq in 1..=20 {
        done(&shard, write(1, 1, seq, vec![])).await;
    }
    drop(shard);
    shards.shutdown().await.unwrap();
    early.put_back(world.path());
    let error = world.try_start().await.err().unwrap().to_string();
    assert!(error.contains("the log lost entries that were acknowledged"), "{error}");
}

/// A quorum of others can commit an entry, and this node apply it, before its own log has it on disk.
#[tokio::test(flavor = "multi_thread")]
async fn state_ahead_of_the_log_of_one_replica_of_three_is_rebuilt() {
    let mut fleet = Fleet::new(3, Fleet::config(1)).await;
    fleet.surely(&[0, 1, 2], 1, create(1)).await;
    fleet.agree(&[0, 1, 2], 1).await;
    fleet.stop(2).await;
    let early = OldLog::of(fleet.nodes[2].dir.path());
    fleet.start(2).await;
    for n in 1..=20 {
        fleet.surely(&[0, 1, 2], 1, write(1, 1, n, vec![put(n as u8, &[7; 300])])).await;
    }
    fleet.agree(&[0, 1, 2], 1).await;
    // All of them, so that no leader remembers what the third had told it: in truth it had not told it yet.
    for number in 0..3 {
        fleet.stop(number).await;
    }
    early.put_back(fleet.nodes[2].dir.path());
    for number in 0..3 {
        fleet.start(number).await;
    }
    fleet.agree(&[0, 1, 2], 1).await;
    assert_eq!(seq(&fleet.shard(2, 1), 1).await, Some(20));
    fleet.stop_all().await;
}
