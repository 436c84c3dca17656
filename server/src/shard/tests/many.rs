//! Sixty-four groups on three nodes.

use std::collections::BTreeSet;
use std::time::Instant;

use super::fleet::Fleet;
use super::world::*;
use crate::peer::Topic;
use crate::shard::Config;

const GROUPS: u32 = 64;

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_groups_go_on_without_one_of_three_nodes() {
    let config = Config { heartbeat_ms: 200, election_min_ms: 600, election_max_ms: 1000, ..Fleet::config(GROUPS) };
    let mut fleet = Fleet::bare(3, config).await;
    let begun = Instant::now();
    let first = |group: u32| group as usize % 3;
    futures::future::join_all((1..=GROUPS).map(|group| fleet.found(group, first(group), &[0, 1, 2]))).await;
    eprintln!("{GROUPS} groups of three replicas founded in {:?}", begun.elapsed());
    let beats = (fleet.net.calls(Topic::Heartbeats), Instant::now());
    fleet.stop(0).await;
    let down = Instant::now();
    futures::future::join_all((1..=GROUPS).map(|group| fleet.surely(&[1, 2], group, create(1)))).await;
    eprintln!("all of them wrote {:?} after a node was gone", down.elapsed());
    let (calls, seconds) = (fleet.net.calls(Topic::Heartbeats) - beats.0, beats.1.elapsed().as_secs_f64());
    eprintln!("{:.0} heartbeat messages per second", calls as f64 / seconds);
    let started = Instant::now();
    fleet.start(0).await;
    eprintln!("it was back after {:?}", started.elapsed());
    futures::future::join_all((1..=GROUPS).map(|group| fleet.agree(&[0, 1, 2], group))).await;
    eprintln!("and had everything after {:?}", started.elapsed());
    let led: BTreeSet<usize> =
        futures::future::join_all((1..=GROUPS).map(|group| fleet.leader(group))).await.into_iter().collect();
    assert!(led.len() > 1, "one node leads all groups: {led:?}");
    let stopping = Instant::now();
    fleet.stop_all().await;
    eprintln!("all nodes stopped after {:?}", stopping.elapsed());
}
