//! The cluster for operators: finds the node that is meant, and translates between `cluster` and the wire.

use futures::future::BoxFuture;
use lethe_proto::{
    NodeId,
    v1::{self, NodeState, ReplicaRole},
};
use lethe_runtime::host::{CallError, CallErrorKind, JsError, Outcome};

use crate::{
    cluster::{self, Cluster, GroupStatus, NodeStatus, ReplicaStatus, Stale, State, Status, WriteError},
    grpc::{Change, Operator},
};

/// Answers operators.
pub(super) struct ClusterOperator {
    cluster: Cluster,
}

impl ClusterOperator {
    pub fn new(cluster: Cluster) -> Self {
        Self { cluster }
    }
}

impl Operator for ClusterOperator {
    fn status(&self) -> BoxFuture<'static, Result<v1::StatusResponse, CallError>> {
        let status = self.cluster.status().map(encode).ok_or_else(|| unavailable(&Stale::Starting.to_string()));
        Box::pin(async { status })
    }

    fn change(&self, change: Change) -> BoxFuture<'static, Result<String, CallError>> {
        let cluster = self.cluster.clone();
        Box::pin(async move {
            let (Change::Drain { node: named }
            | Change::Undrain { node: named }
            | Change::Remove { node: named }
            | Change::Transfer { node: named, .. }) = &change;
            let status = cluster.status().ok_or_else(|| unavailable(&Stale::Starting.to_string()))?;
            let node = find(&status.nodes, named)?;
            let changed = match &change {
                Change::Drain { .. } => cluster.drain(node).await,
                Change::Undrain { .. } => cluster.undrain(node).await,
                Change::Remove { .. } => cluster.remove(node).await,
                Change::Transfer { group, .. } => cluster.transfer(*group, node).await,
            };
            changed.map(|()| node.to_string()).map_err(|error| refused(&error))
        })
    }
}

/// The node that an operator means: by its id, or by a name that only one node has which was not removed.
fn find(nodes: &[NodeStatus], named: &str) -> Result<NodeId, CallError> {
    if let Some(found) = nodes.iter().find(|node| node.node.to_string() == named) {
        return Ok(found.node);
    }
    let mut found = nodes.iter().filter(|node| node.member.name == named && node.member.state != State::Removed);
    match (found.next(), found.next()) {
        (Some(node), None) => Ok(node.node),
        (None, _) => Err(invalid(format!("no node of this cluster is called {named:?}, and none has that id"))),
        (Some(_), Some(_)) => Err(invalid(format!("several nodes are called {named:?}: give the id of one"))),
    }
}

fn refused(error: &cluster::Error) -> CallError {
    use cluster::Error;
    let outcome = match error {
        Error::Unknown(_) | Error::Write(WriteError::Unknown(_)) => Outcome::Unknown,
        Error::NoSuchNode(_) | Error::NoSuchGroup(_) | Error::NotNow(_) | Error::Stopped => Outcome::NotDone,
        Error::Write(_) | Error::Shard(_) | Error::Unreadable(_) | Error::Unwelcome(_) | Error::Refused(_) => {
            Outcome::NotDone
        }
    };
    let kind = match error {
        Error::NoSuchNode(_) | Error::NoSuchGroup(_) => CallErrorKind::InvalidTarget,
        Error::NotNow(_) | Error::Unknown(_) | Error::Stopped | Error::Write(_) => CallErrorKind::Unavailable,
        Error::Shard(_) | Error::Unreadable(_) | Error::Unwelcome(_) | Error::Refused(_) => CallErrorKind::Internal,
    };
    said(kind, outcome, error.to_string())
}

/// The node cannot answer now; nothing was done.
pub(super) fn unavailable(message: &str) -> CallError {
    said(CallErrorKind::Unavailable, Outcome::NotDone, message.to_owned())
}

fn invalid(message: String) -> CallError {
    said(CallErrorKind::InvalidTarget, Outcome::NotDone, message)
}

fn said(kind: CallErrorKind, outcome: Outcome, message: String) -> CallError {
    let name = match kind {
        CallErrorKind::Unavailable => "Unavailable",
        CallErrorKind::InvalidTarget => "TypeError",
        _ => "InternalError",
    };
    CallError { kind, error: JsError { name: name.into(), message, stack: String::new() }, outcome }
}

fn encode(status: Status) -> v1::StatusResponse {
    v1::StatusResponse {
        cluster: status.cluster.to_string(),
        data_groups: status.data_groups,
        replication: status.replication,
        revision: status.revision,
        answered_by: status.answered_by.to_string(),
        nodes: status.nodes.into_iter().map(encode_node).collect(),
        groups: status.groups.into_iter().map(encode_group).collect(),
    }
}

fn encode_node(node: NodeStatus) -> v1::NodeStatus {
    let state = match node.member.state {
        State::Active => NodeState::Active,
        State::Draining => NodeState::Draining,
        State::Leaving => NodeState::Leaving,
        State::Removed => NodeState::Removed,
    };
    v1::NodeStatus {
        id: node.node.to_string(),
        name: node.member.name,
        state: state.into(),
        reachable: node.reachable,
        peer: node.member.peer,
        grpc: node.member.grpc,
        http: node.member.http,
        version: node.version,
        uptime_ms: node.uptime_ms,
        leaders: node.leaders,
        replicas: node.replicas,
        fresh: node.fresh,
        key_epoch: node.key_epoch,
        no_room: node.no_room.unwrap_or_default(),
    }
}

fn encode_group(group: GroupStatus) -> v1::GroupStatus {
    v1::GroupStatus {
        id: group.group,
        leader: group.leader.map(|leader| leader.to_string()),
        preferred_leader: group.preferred.to_string(),
        replicas: group.replicas.into_iter().map(encode_replica).collect(),
        problem: group.problem,
    }
}

fn encode_replica(replica: ReplicaStatus) -> v1::ReplicaStatus {
    v1::ReplicaStatus {
        node: replica.node.to_string(),
        role: if replica.voter { ReplicaRole::Voter } else { ReplicaRole::Learner }.into(),
        incarnation: replica.incarnation,
        applied: replica.applied,
        digest: replica.digest.map(hex::encode),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{
        cluster::{Announce, Member},
        shard::Life,
    };

    fn node(id: u128, name: &str, state: State) -> NodeStatus {
        let announce = Announce { name: name.into(), ..Announce::default() };
        let member = Member { state, ..Member::active(announce, Life(Uuid::nil())) };
        NodeStatus {
            node: NodeId(Uuid::from_u128(id)),
            member,
            reachable: true,
            version: String::new(),
            uptime_ms: 0,
            leaders: 0,
            replicas: 0,
            revision: 0,
            fresh: true,
            key_epoch: 0,
            no_room: None,
        }
    }

    #[test]
    fn a_node_is_found_by_its_id_or_by_a_name_that_is_only_its_own() {
        let nodes = [
            node(1, "a", State::Active),
            node(2, "b", State::Draining),
            node(3, "b", State::Active),
            node(4, "a", State::Removed),
        ];
        let found = |named: &str| find(&nodes, named).map(|node| node.0.as_u128()).map_err(|error| error.error.message);
        assert_eq!(found("a"), Ok(1), "the removed one does not count");
        assert_eq!(found(&nodes[3].node.to_string()), Ok(4), "but it has an id");
        assert_eq!(found("b"), Err("several nodes are called \"b\": give the id of one".into()));
        assert_eq!(found("c"), Err("no node of this cluster is called \"c\", and none has that id".into()));
    }
}
