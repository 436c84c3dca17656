//! A replica that lacks what the log no longer has gets a snapshot, however often its transfer fails.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use super::fleet::{Fleet, add, vote, within};
use super::net::{Fate, Fates};
use super::world::*;
use crate::peer::Topic;
use crate::shard::{Begin, Config};

/// Three nodes of which one is down, and the others no longer have the log from the time it was up.
async fn one_behind(config: Config) -> (Fleet, usize) {
    let config = Config { snapshot_entries: 40, ..config };
    let mut fleet = Fleet::new(3, config).await;
    fleet.surely(&[0, 1, 2], 1, create(1)).await;
    fleet.agree(&[0, 1, 2], 1).await;
    let behind = (fleet.leader(1).await + 1) % 3;
    let had = fleet.shard(behind, 1).metrics().last.unwrap();
    fleet.stop(behind).await;
    let up = fleet.up();
    let mut seq = 0;
    // Whichever of the two leads later must not have the entries any more.
    while up.iter().any(|number| fleet.shard(*number, 1).metrics().purged <= Some(had)) {
        seq += 1;
        let value = vec![seq as u8; 9000];
        fleet.written(&up, 1, 1, seq, vec![put(seq as u8, &value)]).await;
    }
    (fleet, behind)
}

fn unfinished(fleet: &Fleet, number: usize) -> Vec<PathBuf> {
    let files = fs::read_dir(fleet.nodes[number].dir.path().join("snapshots")).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|end| end == "tmp")).collect()
}

async fn comes_back(mut fleet: Fleet, behind: usize) {
    fleet.start(behind).await;
    fleet.agree(&[0, 1, 2], 1).await;
    assert!(fleet.shard(behind, 1).metrics().snapshot.is_some());
    assert_eq!(header(&fleet.shard(behind, 1), 1).await, header(&fleet.shard((behind + 1) % 3, 1), 1).await);
    within("nothing unfinished is left", || std::future::ready(unfinished(&fleet, behind).is_empty())).await;
    // It is a replica as any other: with it and one other the group goes on.
    let other = (behind + 1) % 3;
    let gone = (behind + 2) % 3;
    fleet.stop(gone).await;
    fleet.surely(&[behind, other], 1, create(2)).await;
    fleet.agree(&[behind, other], 1).await;
    fleet.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_down_while_the_log_was_purged_comes_back_by_a_snapshot() {
    let (fleet, behind) = one_behind(Fleet::config(1)).await;
    let before = fleet.net.calls(Topic::Snapshot);
    let net = fleet.net.clone();
    comes_back(fleet, behind).await;
    assert!(net.calls(Topic::Snapshot) > before);
}

#[tokio::test(flavor = "multi_thread")]
async fn transfers_of_snapshots_that_break_off_or_are_damaged_are_begun_again() {
    let (fleet, behind) = one_behind(Fleet::config(1)).await;
    let first = fleet.net.calls(Topic::Snapshot);
    // Broken before it begins, in its middle, and damaged in its head, a block, and its last chunk.
    let plan = [(0, Fate::Breaks), (1, Fate::Breaks), (0, Fate::Changed), (1, Fate::Changed), (2, Fate::Breaks)];
    let fates: Fates = Arc::new(move |stream, message| {
        let planned = plan.get((stream - first) as usize);
        planned.filter(|(at, _)| *at == message).map_or(Fate::Arrives, |(_, fate)| *fate)
    });
    fleet.net.decide(Topic::Snapshot, fates);
    let net = fleet.net.clone();
    comes_back(fleet, behind).await;
    assert!(net.calls(Topic::Snapshot) - first > 4, "the transfers that failed were begun again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_of_a_snapshot_that_stands_still_is_given_up_and_begun_again() {
    let (fleet, behind) = one_behind(Config { snapshot_stall_ms: 1000, ..Fleet::config(1) }).await;
    let first = fleet.net.calls(Topic::Snapshot);
    // As many as a node sends at once, before they begin and in their middle.
    let stalls: Fates = Arc::new(move |stream, message| match (stream - first, message) {
        (0 | 2, 0) | (1 | 3, 1) => Fate::Stalls,
        _ => Fate::Arrives,
    });
    fleet.net.decide(Topic::Snapshot, stalls);
    let net = fleet.net.clone();
    comes_back(fleet, behind).await;
    assert!(net.calls(Topic::Snapshot) - first > 4, "the transfers that stood still were begun again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_node_of_an_old_group_begins_with_a_snapshot() {
    let (mut fleet, behind) = one_behind(Fleet::config(1)).await;
    let new = fleet.add().await;
    fleet.shards(new).create(1, 9, Begin::Join).await.unwrap();
    let up: Vec<usize> = (0..3).filter(|number| *number != behind).collect();
    let group: Vec<usize> = up.iter().copied().chain([new]).collect();
    fleet.changed(&up, 1, |shard| add(&fleet, shard, new, 9)).await;
    fleet.changed(&up, 1, |shard| vote(&fleet, shard, &group)).await;
    fleet.surely(&group, 1, create(3)).await;
    fleet.agree(&group, 1).await;
    assert!(fleet.shard(new, 1).metrics().snapshot.is_some());
    fleet.stop_all().await;
}
