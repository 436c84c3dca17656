//! `lethe cluster status`: a table for people, what is wrong first; JSON for programs.

use std::{collections::BTreeMap, io::Write};

use clap::Args;
use lethe_client::{ClusterStatus, GroupStatus, NodeState, NodeStatus, ReplicaRole, ReplicaStatus};
use serde_json::{Value, json};

use super::{super::api::ApiArgs, DEADLINE};

const EXAMPLES: &str = "\
Groups that are not healthy are always shown; a learner stands in parentheses. The exit code is 0
whether the cluster is healthy or not; with --check it is 1 when it is not.

Examples:
  lethe cluster status
  lethe cluster status --groups                     every group
  lethe cluster status --api http://10.0.0.2:7070 --json | jq .healthy";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct StatusArgs {
    /// Show all groups, healthy ones too.
    #[arg(long)]
    groups: bool,
    /// Exit with 1 if a node or a group is not healthy.
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    pub(super) api: ApiArgs,
}

impl StatusArgs {
    pub(super) async fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        let status = self.api.connect(DEADLINE).await?.cluster_status().await?;
        if self.api.json {
            writeln!(out, "{}", as_json(&status))?;
        } else {
            out.write_all(as_text(&status, self.groups).as_bytes())?;
        }
        out.flush()?;
        anyhow::ensure!(!self.check || is_healthy(&status), "the cluster is not healthy");
        Ok(())
    }
}

/// Every node that takes part answers, and every group has a leader and all its replicas.
fn is_healthy(status: &ClusterStatus) -> bool {
    status.nodes.iter().all(is_well) && status.groups.iter().all(|group| group.problem.is_empty())
}

fn is_well(node: &NodeStatus) -> bool {
    node.state() == NodeState::Removed || (node.reachable && node.fresh && node.no_room.is_empty())
}

fn state(node: &NodeStatus) -> &'static str {
    match node.state() {
        NodeState::Active => "active",
        NodeState::Draining => "draining",
        NodeState::Leaving => "leaving",
        NodeState::Removed => "removed",
        NodeState::Unspecified => "unknown",
    }
}

fn health(node: &NodeStatus) -> &'static str {
    match (node.state(), node.reachable, node.fresh) {
        (NodeState::Removed, ..) => "-",
        (_, true, true) if !node.no_room.is_empty() => "no room",
        (_, true, true) => "ok",
        (_, true, false) => "no quorum",
        (_, false, _) => "unreachable",
    }
}

fn as_text(status: &ClusterStatus, all_groups: bool) -> String {
    let names = names(status);
    let named = |id: &str| names.get(id).cloned().unwrap_or_else(|| id.to_owned());
    let mut out = format!(
        "cluster {}: {} data groups, replication {}, revision {}, answered by {}\n\n",
        status.cluster,
        status.data_groups,
        status.replication,
        status.revision,
        named(&status.answered_by)
    );
    let head = ["NODE", "STATE", "HEALTH", "LEADS", "REPLICAS", "HTTP", "GRPC", "PEER", "UP", "VERSION", "ID"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let mut nodes: Vec<_> = status.nodes.iter().collect();
    nodes.sort_by_key(|node| (node.state() == NodeState::Removed, node.name.clone(), node.id.clone()));
    rows.extend(nodes.iter().map(|node| node_row(node)));
    out.push_str(&table(&rows));
    let crowded: Vec<_> = nodes.iter().filter(|node| !node.no_room.is_empty()).collect();
    for (number, node) in crowded.into_iter().enumerate() {
        let space = if number == 0 { "\n" } else { "" };
        out.push_str(&format!("{space}{} has no room for its log: {}\n", named(&node.id), node.no_room));
    }
    let sick: Vec<_> = status.groups.iter().filter(|group| !group.problem.is_empty()).collect();
    let well: Vec<_> = status.groups.iter().filter(|group| group.problem.is_empty()).collect();
    if !sick.is_empty() {
        out.push_str(&format!("\n{} of {} groups are not healthy:\n", sick.len(), status.groups.len()));
        out.push_str(&group_table(&sick, &named));
    }
    if all_groups && !well.is_empty() {
        out.push_str("\nHealthy groups:\n");
        out.push_str(&group_table(&well, &named));
    } else if sick.is_empty() {
        out.push_str(&format!("\nAll {} groups are healthy.\n", status.groups.len()));
    }
    out
}

/// Names of nodes by their id; a name that several have gets the id's beginning.
fn names(status: &ClusterStatus) -> BTreeMap<String, String> {
    let shared = |name: &str| status.nodes.iter().filter(|node| node.name == name).count() > 1;
    let named = |node: &NodeStatus| match shared(&node.name) {
        true => format!("{}/{}", node.name, node.id.get(..8).unwrap_or(&node.id)),
        false => node.name.clone(),
    };
    status.nodes.iter().map(|node| (node.id.clone(), named(node))).collect()
}

fn node_row(node: &NodeStatus) -> Vec<String> {
    let heard = |text: String| if node.reachable { text } else { "-".to_owned() };
    vec![
        node.name.clone(),
        state(node).to_owned(),
        health(node).to_owned(),
        heard(node.leaders.to_string()),
        heard(node.replicas.to_string()),
        node.http.clone(),
        node.grpc.clone(),
        node.peer.clone(),
        heard(span(node.uptime_ms)),
        heard(node.version.clone()),
        node.id.clone(),
    ]
}

fn group_table(groups: &[&GroupStatus], named: &impl Fn(&str) -> String) -> String {
    let mut rows = vec![["GROUP", "LEADER", "REPLICAS", "PROBLEM"].map(str::to_owned).to_vec()];
    rows.extend(groups.iter().map(|group| {
        let replica = |replica: &ReplicaStatus| match replica.role() {
            ReplicaRole::Learner => format!("({})", named(&replica.node)),
            ReplicaRole::Voter | ReplicaRole::Unspecified => named(&replica.node),
        };
        vec![
            group.id.to_string(),
            group.leader.as_deref().map_or_else(|| "-".to_owned(), named),
            group.replicas.iter().map(replica).collect::<Vec<_>>().join(" "),
            group.problem.clone(),
        ]
    }));
    table(&rows)
}

/// Columns as wide as their widest cell.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}

/// A time span in its two largest units.
fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds}s"),
        (0, 0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (0, hours, minutes, _) => format!("{hours}h{minutes}m"),
        (days, hours, ..) => format!("{days}d{hours}h"),
    }
}

fn as_json(status: &ClusterStatus) -> Value {
    json!({
        "cluster": status.cluster,
        "data_groups": status.data_groups,
        "replication": status.replication,
        "revision": status.revision,
        "answered_by": status.answered_by,
        "healthy": is_healthy(status),
        "nodes": status.nodes.iter().map(node_json).collect::<Vec<_>>(),
        "groups": status.groups.iter().map(group_json).collect::<Vec<_>>(),
    })
}

fn node_json(node: &NodeStatus) -> Value {
    let known = |value: Value| if node.reachable { value } else { Value::Null };
    json!({
        "id": node.id,
        "name": node.name,
        "state": state(node),
        "healthy": is_well(node),
        "reachable": node.reachable,
        "fresh": known(node.fresh.into()),
        "peer": node.peer,
        "grpc": node.grpc,
        "http": node.http,
        "version": known(node.version.clone().into()),
        "uptime_ms": known(node.uptime_ms.into()),
        "leaders": known(node.leaders.into()),
        "replicas": known(node.replicas.into()),
        "key_epoch": known(node.key_epoch.into()),
        "no_room": Some(&node.no_room).filter(|reason| !reason.is_empty()),
    })
}

fn group_json(group: &GroupStatus) -> Value {
    let replica = |replica: &ReplicaStatus| {
        let role = match replica.role() {
            ReplicaRole::Voter => "voter",
            ReplicaRole::Learner => "learner",
            ReplicaRole::Unspecified => "unknown",
        };
        json!({
            "node": replica.node,
            "role": role,
            "incarnation": replica.incarnation,
            "applied": replica.applied,
            "digest": replica.digest,
        })
    };
    json!({
        "id": group.id,
        "leader": group.leader,
        "preferred_leader": group.preferred_leader,
        "healthy": group.problem.is_empty(),
        "problem": Some(&group.problem).filter(|problem| !problem.is_empty()),
        "replicas": group.replicas.iter().map(replica).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u8, state: NodeState, reachable: bool) -> NodeStatus {
        NodeStatus {
            id: format!("0000000{n}-0000"),
            name: format!("n{n}"),
            state: state.into(),
            reachable,
            peer: format!("10.0.0.{n}:7071"),
            grpc: format!("10.0.0.{n}:7070"),
            http: format!("10.0.0.{n}:8787"),
            version: "0.1.0".into(),
            uptime_ms: 90_061_000,
            leaders: 1,
            replicas: 2,
            fresh: reachable,
            key_epoch: 4,
            no_room: String::new(),
        }
    }

    fn status() -> ClusterStatus {
        let replica = |n: u8, role: ReplicaRole| ReplicaStatus {
            node: format!("0000000{n}-0000"),
            role: role.into(),
            incarnation: 1,
            applied: (n == 1).then_some(9),
            digest: (n == 1).then(|| "ab".to_owned()),
        };
        let group = |id: u32, problem: &str| GroupStatus {
            id,
            leader: problem.is_empty().then(|| "00000001-0000".to_owned()),
            preferred_leader: "00000001-0000".into(),
            replicas: vec![replica(1, ReplicaRole::Voter), replica(2, ReplicaRole::Learner)],
            problem: problem.into(),
        };
        ClusterStatus {
            cluster: "c".into(),
            data_groups: 2,
            replication: 3,
            revision: 7,
            answered_by: "00000001-0000".into(),
            nodes: vec![node(2, NodeState::Active, false), node(1, NodeState::Active, true)],
            groups: vec![group(0, ""), group(1, ""), group(2, "no leader")],
        }
    }

    #[test]
    fn the_table_shows_what_is_wrong_first_and_healthy_groups_only_when_asked() {
        let expected = "\
cluster c: 2 data groups, replication 3, revision 7, answered by n1

NODE  STATE   HEALTH       LEADS  REPLICAS  HTTP           GRPC           PEER           UP    VERSION  ID
n1    active  ok           1      2         10.0.0.1:8787  10.0.0.1:7070  10.0.0.1:7071  1d1h  0.1.0    00000001-0000
n2    active  unreachable  -      -         10.0.0.2:8787  10.0.0.2:7070  10.0.0.2:7071  -     -        00000002-0000

1 of 3 groups are not healthy:
GROUP  LEADER  REPLICAS  PROBLEM
2      -       n1 (n2)   no leader
";
        assert_eq!(as_text(&status(), false), expected);
        let rest =
            "\nHealthy groups:\nGROUP  LEADER  REPLICAS  PROBLEM\n0      n1      n1 (n2)\n1      n1      n1 (n2)\n";
        assert_eq!(as_text(&status(), true), format!("{expected}{rest}"));
    }

    #[test]
    fn a_healthy_cluster_says_so_and_a_removed_node_does_not_make_it_sick() {
        let mut status = status();
        status.groups.pop();
        status.nodes[0].state = NodeState::Removed.into();
        assert!(is_healthy(&status));
        assert!(as_text(&status, false).ends_with("\nAll 2 groups are healthy.\n"));
        status.nodes[0].state = NodeState::Draining.into();
        assert!(!is_healthy(&status), "it takes part, and nobody reaches it");
        status.nodes[0].reachable = true;
        assert_eq!(health(&status.nodes[0]), "no quorum");
        assert!(!is_healthy(&status));
    }

    #[test]
    fn a_node_without_room_is_not_healthy_and_says_why() {
        let mut status = status();
        status.groups.pop();
        for node in &mut status.nodes {
            (node.reachable, node.fresh) = (true, true);
        }
        assert!(is_healthy(&status));
        status.nodes[0].no_room = "No space left on device (os error 28)".into();
        assert!(!is_healthy(&status));
        let (text, value) = (as_text(&status, false), as_json(&status));
        assert!(text.contains("n2    active  no room  1"), "{text}");
        assert!(
            text.contains("\n\nn2 has no room for its log: No space left on device (os error 28)\n\nAll 2"),
            "{text}"
        );
        let told = (&value["healthy"], &value["nodes"][0]["healthy"], &value["nodes"][0]["no_room"]);
        assert_eq!(told, (&json!(false), &json!(false), &json!("No space left on device (os error 28)")));
        assert_eq!(value["nodes"][1]["no_room"], Value::Null);
    }

    #[test]
    fn nodes_of_one_name_are_told_apart() {
        let mut status = status();
        status.nodes[0].name = "n1".into();
        assert!(as_text(&status, true).contains("n1/00000001 (n1/00000002)"));
    }

    #[test]
    fn programs_get_everything_and_null_where_nothing_is_known() {
        let value = as_json(&status());
        assert_eq!(value["healthy"], false);
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&value["nodes"][0]), keys(&value["nodes"][1]));
        assert_eq!((&value["nodes"][0]["leaders"], &value["nodes"][1]["leaders"]), (&Value::Null, &json!(1)));
        let group = json!({
            "id": 2, "leader": null, "preferred_leader": "00000001-0000", "healthy": false, "problem": "no leader",
            "replicas": [
                { "node": "00000001-0000", "role": "voter", "incarnation": 1, "applied": 9, "digest": "ab" },
                { "node": "00000002-0000", "role": "learner", "incarnation": 1, "applied": null, "digest": null },
            ],
        });
        assert_eq!(value["groups"][2], group);
    }

    #[test]
    fn spans_have_two_units() {
        let table = [(999, "0s"), (59_000, "59s"), (61_000, "1m1s"), (3_661_000, "1h1m"), (90_061_000, "1d1h")];
        for (ms, text) in table {
            assert_eq!(span(ms), text);
        }
    }
}
