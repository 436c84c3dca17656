//! Random faults under random work: what was acknowledged is there in the end, on every replica.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::fleet::{Fleet, within};
use super::net::Way;
use super::world::*;
use crate::shard::{Applied, Config, NotDone, ProposeError, Rejection, Shard};

const ACTORS: u8 = 4;
const ROUNDS: usize = 12;

/// What one writer knows: the last sequence that was acknowledged, and the last one that may have been written.
#[derive(Clone, Copy, Default)]
struct Told {
    acknowledged: u64,
    tried: u64,
}

/// What a write leaves: the value can only come from this sequence.
fn body(n: u8, seq: u64) -> Vec<u8> {
    [&[n][..], &seq.to_le_bytes()].concat()
}

/// Writes to one actor through whichever of the shards leads, until told to stop.
async fn work(n: u8, shards: Arc<Mutex<Vec<Shard>>>, told: Arc<Mutex<Told>>, stop: tokio::sync::watch::Receiver<bool>) {
    while !*stop.borrow() {
        let led = shards.lock().iter().find(|shard| shard.leadership().borrow().is_some()).cloned();
        let Some(shard) = led else {
            tokio::time::sleep(Duration::from_millis(2)).await;
            continue;
        };
        let Some(epoch) = *shard.leadership().borrow() else { continue };
        let seq = told.lock().acknowledged + 1;
        told.lock().tried = seq;
        let outcome = shard.propose(epoch, write(n, 1, seq, vec![put(seq as u8, &body(n, seq))])).await;
        match outcome {
            Ok(Applied::Written) => told.lock().acknowledged = seq,
            // An earlier attempt whose result was not known.
            Ok(Applied::Rejected(Rejection::StaleSequence(now))) => {
                assert_eq!(now, seq, "actor {n}: only this attempt can have gone through");
                told.lock().acknowledged = seq;
            }
            Ok(other) => panic!("{other:?}"),
            Err(ProposeError::NotDone(NotDone::TooLarge { .. })) => panic!("a small write"),
            Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_random_faults() {
    let seed: u64 = match std::env::var("LETHE_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => rand::rng().random(),
    };
    eprintln!("LETHE_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let config = Config { snapshot_entries: 200, propose_ms: 2000, ..Fleet::config(1) };
    let mut fleet = Fleet::new(3, config).await;
    for n in 1..=ACTORS {
        fleet.surely(&[0, 1, 2], 1, create(n)).await;
    }
    let shards = Arc::new(Mutex::new((0..3).map(|number| fleet.shard(number, 1)).collect::<Vec<_>>()));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let told: Vec<Arc<Mutex<Told>>> = (0..ACTORS).map(|_| Arc::default()).collect();
    let writers: Vec<_> = (1..=ACTORS)
        .zip(&told)
        .map(|(n, told)| tokio::spawn(work(n, shards.clone(), told.clone(), stopped.clone())))
        .collect();

    for _ in 0..ROUNDS {
        let (a, b) = (random.random_range(0..3), random.random_range(0..3));
        match random.random_range(0..5) {
            0 => fleet.isolate(a, Way::Cut),
            1 => fleet.net.set(fleet.id(a), fleet.id(b), Way::Held),
            2 => fleet.net.set(fleet.id(a), fleet.id(b), Way::Cut),
            3 => fleet.net.set_both(
                fleet.id(a),
                fleet.id(b),
                Way::Slow(Duration::from_millis(random.random_range(1..30))),
            ),
            _ => {
                shards.lock().retain(|shard| shard.replica.raft.node_id() != &fleet.id(a));
                fleet.stop(a).await;
                tokio::time::sleep(Duration::from_millis(random.random_range(0..400))).await;
                fleet.start(a).await;
                shards.lock().push(fleet.shard(a, 1));
            }
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(0..500))).await;
        if random.random_bool(0.5) {
            fleet.net.heal();
        }
    }
    fleet.net.heal();
    let before: Vec<u64> = told.iter().map(|told| told.lock().acknowledged).collect();
    within("work goes on after all faults are gone", || {
        let on = told.iter().zip(&before).all(|(told, before)| told.lock().acknowledged > before + 3);
        std::future::ready(on)
    })
    .await;
    stop.send_replace(true);
    for writer in writers {
        writer.await.unwrap();
    }
    shards.lock().clear();
    fleet.agree(&[0, 1, 2], 1).await;
    for (n, told) in (1..=ACTORS).zip(&told) {
        let told = *told.lock();
        let shard = fleet.shard(0, 1);
        let seq = header(&shard, n).await.seq;
        assert!((told.acknowledged..=told.tried).contains(&seq), "actor {n} is at {seq}, {}", told.acknowledged);
        let last = value(&shard, n, seq as u8).await;
        assert_eq!(last.as_deref(), Some(&body(n, seq)[..]));
    }
    fleet.stop_all().await;
}
