//! What a node knows after it was stopped, and after parts of its directory were lost.

use std::fs;

use super::world::*;
use crate::shard::Applied;

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_there_after_a_restart() {
    let world = World::new(4);
    let shards = world.start().await;
    for n in [1, 70, 130, 250] {
        let shard = shards.shard(actor(n));
        done(&shard, create(n)).await;
        done(&shard, write(n, 1, 1, vec![put(7, &[n])])).await;
    }
    let before: Vec<_> = shards.all().map(|shard| shard.metrics().digest).collect();
    shards.shutdown().await.unwrap();
    let shards = world.start().await;
    assert_eq!(shards.all().map(|shard| shard.metrics().digest).collect::<Vec<_>>(), before);
    for n in [1, 70, 130, 250] {
        let shard = shards.shard(actor(n));
        assert_eq!(value(&shard, n, 7).await.as_deref(), Some(&[n][..]));
        assert_eq!(done(&shard, write(n, 1, 2, vec![])).await, Applied::Written);
    }
    shards.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn wiped_state_is_rebuilt_from_the_log() {
    let world = World::new(1);
    let shards = world.start().await;
    let shard = shards.shard(actor(1));
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
    let shard = shards.shard(actor(1));
    assert_eq!(shard.metrics().digest, before);
    assert_eq!(header(&shard, 1).await.seq, 50);
    assert_eq!(value(&shard, 1, 33).await.as_deref(), Some(&[33][..]));
    assert_eq!(*world.erased.0.lock(), vec![(actor(2), life(2))], "effects run again when entries are applied again");
    shards.shutdown().await.unwrap();
}
