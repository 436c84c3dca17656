//! What nodes say about the cluster, and waiting until they say what is wanted.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use lethe_client::{Client, ClusterStatus, GroupStatus, NodeState};

use super::Node;

/// A cluster heals in a second or two; this is for machines with much other work.
pub const HEALTHY_MAX: Duration = Duration::from_secs(90);
const ASK_MAX: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);
/// Lines of a panic that are shown.
const PANIC_LINES: usize = 4;

/// How the cluster is, as this node sees it.
pub async fn of(node: &Node) -> Result<ClusterStatus> {
    let client = Client::connect(&node.grpc()).await?.with_deadline(ASK_MAX);
    client.cluster_status().await.with_context(|| format!("status of {}", node.name))
}

/// Waits until all of these nodes find everything well; gives how long that took. Fails if one of them ever panicked: a
/// panic that was caught, or whose task nobody missed, is a defect as well.
pub async fn healthy(nodes: Vec<&Node>, time_max: Duration) -> Result<Duration> {
    let started = Instant::now();
    let running: BTreeSet<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
    loop {
        let mut wrong = String::new();
        for node in &nodes {
            let complaint = match of(node).await {
                Ok(status) => complaint(&status, &running),
                Err(error) => Some(format!("{error:#}")),
            };
            if let Some(complaint) = complaint {
                wrong = format!("{} says: {complaint}", node.name);
                break;
            }
        }
        if wrong.is_empty() {
            let took = started.elapsed();
            for node in &nodes {
                if let Some(panic) = panic_in(&node.log()) {
                    bail!("{} is well now but panicked: {panic}", node.name);
                }
            }
            return Ok(took);
        }
        if started.elapsed() > time_max {
            let logs: String = nodes.iter().map(|node| format!("\n--- {}\n{}", node.name, tail(&node.log()))).collect();
            bail!("not healthy after {time_max:?}: {wrong}{logs}");
        }
        tokio::time::sleep(POLL).await;
    }
}

fn tail(log: &str) -> &str {
    let from = log.len().saturating_sub(6_000);
    log.get(from..).unwrap_or(log)
}

/// The first panic that a program wrote to its log, and what it said next.
fn panic_in(log: &str) -> Option<&str> {
    let from = log.find("panicked at")?;
    let lines = log[from..].match_indices('\n').map(|(end, _)| from + end);
    let end = lines.take(PANIC_LINES).last().unwrap_or(log.len());
    log.get(from..end)
}

/// What is wrong, given which nodes run.
fn complaint(status: &ClusterStatus, running: &BTreeSet<&str>) -> Option<String> {
    for name in running {
        let Some(node) = status.nodes.iter().find(|node| node.name == *name) else {
            return Some(format!("{name} is no member"));
        };
        if node.state() == NodeState::Removed {
            continue;
        }
        if !node.reachable || !node.fresh {
            return Some(format!("{name} is reachable: {}, fresh: {}", node.reachable, node.fresh));
        }
        if !node.no_room.is_empty() {
            return Some(format!("{name} has no room: {}", node.no_room));
        }
    }
    let groups = status.data_groups as usize + 1;
    if status.groups.len() != groups {
        return Some(format!("{} of {groups} groups", status.groups.len()));
    }
    let sick = |group: &&GroupStatus| group.leader.is_none() || !group.problem.is_empty();
    let all: Vec<_> = status.groups.iter().filter(sick).collect();
    let first = all.first()?;
    Some(format!("{} groups are not healthy; {}: {} (leader {:?})", all.len(), first.id, first.problem, first.leader))
}

/// How many groups each node leads, by the node's name.
pub fn leaders(status: &ClusterStatus) -> BTreeMap<String, usize> {
    let names: BTreeMap<&str, &str> = status.nodes.iter().map(|node| (node.id.as_str(), node.name.as_str())).collect();
    let mut leaders = BTreeMap::new();
    for leader in status.groups.iter().filter_map(|group| group.leader.as_deref()) {
        *leaders.entry(names.get(leader).copied().unwrap_or(leader).to_owned()).or_default() += 1;
    }
    leaders
}

/// Waits until every replica of every group has applied the same entries; their digests must then be equal.
pub async fn digests_agree(node: &Node, time_max: Duration) -> Result<()> {
    let started = Instant::now();
    loop {
        let uneven = match of(node).await {
            Ok(status) => uneven(&status)?,
            Err(error) => Some(format!("{error:#}")),
        };
        let Some(uneven) = uneven else { return Ok(()) };
        if started.elapsed() > time_max {
            bail!("replicas are not level after {time_max:?}: {uneven}");
        }
        tokio::time::sleep(POLL).await;
    }
}

/// A group whose replicas have not all applied the same number of entries. Fails if those that did differ.
fn uneven(status: &ClusterStatus) -> Result<Option<String>> {
    let mut uneven = None;
    for group in &status.groups {
        let mut digests: BTreeMap<u64, &str> = BTreeMap::new();
        for replica in &group.replicas {
            let (Some(applied), Some(digest)) = (replica.applied, replica.digest.as_deref()) else {
                uneven = Some(format!("group {}: nothing is known of the replica on {}", group.id, replica.node));
                continue;
            };
            if let Some(other) = digests.insert(applied, digest)
                && other != digest
            {
                bail!("replicas of group {} differ after entry {applied}: {other} and {digest}", group.id);
            }
        }
        if digests.len() != 1 {
            uneven = Some(format!("group {}: applied are {:?}", group.id, digests.keys()));
        }
    }
    Ok(uneven)
}

#[cfg(test)]
mod tests {
    use lethe_client::{ReplicaRole, ReplicaStatus};

    use super::*;

    fn group(replicas: &[(Option<u64>, &str)]) -> ClusterStatus {
        let replica = |(applied, digest): &(Option<u64>, &str)| ReplicaStatus {
            node: "a".into(),
            role: ReplicaRole::Voter.into(),
            incarnation: 1,
            applied: *applied,
            digest: Some((*digest).into()),
        };
        let replicas = replicas.iter().map(replica).collect();
        ClusterStatus { groups: vec![GroupStatus { id: 1, replicas, ..GroupStatus::default() }], ..Default::default() }
    }

    #[test]
    fn a_panic_is_found_in_a_log() {
        let log = "INFO fine\nthread 'x' (7) panicked at src/a.rs:1:2:\nout of luck\nINFO on\nINFO and\nINFO on\n";
        let found = "panicked at src/a.rs:1:2:\nout of luck\nINFO on\nINFO and";
        assert_eq!(panic_in(log), Some(found));
        assert_eq!(panic_in("panicked at the end"), Some("panicked at the end"));
        assert_eq!(panic_in("INFO fine\n"), None);
    }

    #[test]
    fn replicas_are_level_only_when_all_applied_the_same_and_hold_the_same() {
        assert_eq!(uneven(&group(&[(Some(5), "x"), (Some(5), "x")])).unwrap(), None);
        assert!(uneven(&group(&[(Some(5), "x"), (Some(6), "y")])).unwrap().is_some());
        assert!(uneven(&group(&[(Some(5), "x"), (None, "x")])).unwrap().is_some());
        assert!(uneven(&group(&[(Some(5), "x"), (Some(5), "y")])).is_err());
    }
}
