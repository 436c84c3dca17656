//! Members of a group, and how they and its leader are changed.
//!
//! A node joins as a learner, catches up, and then becomes a voter by a joint change: the old and the new voters both
//! have to agree while it lasts. A change that was broken off, by a crash or because whoever asked for it left, may
//! leave the group joint; asking again for the same voters finishes it.
//!
//! A leader that was told to hand over takes no proposals any more and sends no heartbeats: if the node that is to lead
//! cannot, because entries do not reach it, the group stands still until an election. So entries have to reach it first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::error::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::{ChangeMembers, Instant, LogIdOptionExt, RaftMetrics};

use super::types::{Peer, StoredMembership, Types};
use super::{ChangeError, NodeId, Shard};

/// Most entries the next leader may lack when it is asked to lead; it gets them before it does.
const TRANSFER_LAG: u64 = 4096;
/// How long the last entries may take to reach the next leader, as a part of the shortest time until an election: nobody is
/// served meanwhile.
const LAST_ENTRIES: u32 = 2;

/// Who belongs to a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Who votes, with the incarnation of its replica. While a change is under way: both old and new voters.
    pub voters: BTreeMap<NodeId, u64>,
    /// Who only gets the log.
    pub learners: BTreeMap<NodeId, u64>,
    /// A change of voters is under way.
    pub joint: bool,
    /// This is not known to be committed yet.
    pub pending: bool,
}

impl Members {
    /// The incarnation of a node's replica, if it is a member.
    pub fn incarnation(&self, node: NodeId) -> Option<u64> {
        self.voters.get(&node).or_else(|| self.learners.get(&node)).copied()
    }
}

impl Shard {
    /// The members, as far as this node knows.
    pub fn members(&self) -> Members {
        let metrics = self.replica.raft.metrics();
        let now = metrics.borrow_watched();
        let pending = now.membership_config.log_id() != now.committed_membership_config.log_id();
        Members { pending, ..members(&now.membership_config) }
    }

    /// Index of the last entry each member is known to have. None if this node does not lead.
    pub fn progress(&self) -> Option<BTreeMap<NodeId, Option<u64>>> {
        let metrics = self.replica.raft.metrics();
        let now = metrics.borrow_watched();
        let replication = now.replication.as_ref()?;
        Some(replication.iter().map(|(node, matched)| (*node, matched.index())).collect())
    }

    /// Adds a node as a learner, which must have made a replica with this incarnation. Returns when the change is
    /// committed, not when the learner has caught up: see `progress`.
    pub async fn add_learner(&self, node: NodeId, incarnation: u64) -> Result<(), ChangeError> {
        match self.members().incarnation(node) {
            Some(here) if here == incarnation => return Ok(()),
            Some(here) => {
                let what = format!("node {node} is a member with incarnation {here}; it has to leave first");
                return Err(ChangeError::Refused(what));
            }
            None => {}
        }
        self.change(ChangeMembers::AddNodes(BTreeMap::from([(node, Peer { incarnation })])), true).await
    }

    /// Makes these nodes, and no others, the voters; all of them must be members. Voters that are not named leave the
    /// group. Returns when the change is committed.
    pub async fn change_voters(&self, voters: BTreeSet<NodeId>) -> Result<(), ChangeError> {
        self.replace_voters(voters, false).await
    }

    /// As `change_voters`, but voters that are not named stay, as learners.
    pub async fn change_voters_and_keep(&self, voters: BTreeSet<NodeId>) -> Result<(), ChangeError> {
        self.replace_voters(voters, true).await
    }

    /// Lets a learner leave the group. Nothing happens if it is no member.
    pub async fn remove_learner(&self, node: NodeId) -> Result<(), ChangeError> {
        let members = self.members();
        if members.voters.contains_key(&node) {
            return Err(ChangeError::Refused(format!("node {node} is a voter")));
        }
        match members.learners.contains_key(&node) {
            true => self.change(ChangeMembers::RemoveNodes(BTreeSet::from([node])), true).await,
            false => Ok(()),
        }
    }

    /// Waits until a member has every entry that this leader has now: entries do reach it. Refused if that takes
    /// longer than `within`.
    pub async fn catch_up(&self, node: NodeId, within: Duration) -> Result<(), ChangeError> {
        let mut metrics = self.replica.raft.metrics();
        let wanted = metrics.borrow_watched().last_log_index;
        let caught_up = async {
            loop {
                let matched =
                    metrics.borrow_and_update().replication.as_ref().map(|matched| matched.get(&node).copied());
                let Some(matched) = matched else { return Err(self.not_leading()) };
                if matched.flatten().index() >= wanted {
                    return Ok(());
                }
                metrics.changed().await.map_err(|_| ChangeError::Stopped)?;
            }
        };
        match tokio::time::timeout(within, caught_up).await {
            Ok(ended) => ended,
            Err(_) => Err(ChangeError::Refused(format!("entries do not reach node {node}"))),
        }
    }

    /// Hands the leadership to a voter that is in touch and gets entries, and waits until it leads. Proposals and reads are
    /// refused from when it has all entries; nothing that was acknowledged is lost.
    pub async fn transfer(&self, to: NodeId) -> Result<(), ChangeError> {
        let raft = &self.replica.raft;
        let epoch = *self.replica.leadership.borrow();
        let Some(epoch) = epoch else { return Err(self.not_leading()) };
        if epoch.node == to {
            return Ok(());
        }
        self.can_lead(to).map_err(ChangeError::Refused)?;
        self.catch_up(to, self.replica.contact_max / LAST_ENTRIES).await?;
        raft.trigger().transfer_leader(to).await.map_err(|_| ChangeError::Stopped)?;
        let mut leader = self.replica.leader.clone();
        let moved = leader.wait_for(|leader| leader.is_some_and(|leader| leader != epoch.node));
        match tokio::time::timeout(self.replica.change_wait, moved).await {
            Err(_) => Err(ChangeError::Unknown("nobody else led in time".to_owned())),
            Ok(Err(_)) => Err(ChangeError::Stopped),
            Ok(Ok(now)) if *now == Some(to) => Ok(()),
            Ok(Ok(now)) => {
                let other = now.map_or("nobody".to_owned(), |node| node.to_string());
                Err(ChangeError::Refused(format!("{other} leads instead")))
            }
        }
    }

    /// Why a node cannot be asked to lead, if so. `transfer` asks the same.
    pub fn can_lead(&self, node: NodeId) -> Result<(), String> {
        let metrics = self.replica.raft.metrics();
        let now = metrics.borrow_watched();
        if !now.membership_config.voter_ids().any(|voter| voter == node) {
            return Err(format!("node {node} is no voter"));
        }
        let contact = now.heartbeat.as_ref().and_then(|contacts| contacts.get(&node).copied().flatten());
        if contact.is_none_or(|at| at.into_inner().elapsed() > self.replica.contact_max) {
            return Err(format!("node {node} is not in touch"));
        }
        let matched = now.replication.as_ref().and_then(|matched| matched.get(&node).copied().flatten());
        let lag = now.last_log_index.map_or(0, |last| last + 1) - matched.map_or(0, |matched| matched.index + 1);
        match lag <= TRANSFER_LAG {
            true => Ok(()),
            false => Err(format!("node {node} lacks {lag} entries")),
        }
    }

    async fn replace_voters(&self, voters: BTreeSet<NodeId>, keep: bool) -> Result<(), ChangeError> {
        let members = self.members();
        if let Some(stranger) = voters.iter().find(|node| members.incarnation(**node).is_none()) {
            return Err(ChangeError::Refused(format!("node {stranger} is no member")));
        }
        if !members.joint && !members.pending && members.voters.keys().eq(voters.iter()) {
            return Ok(());
        }
        self.change(ChangeMembers::ReplaceAllVoters(voters), keep).await
    }

    /// Proposes a change and waits until it is committed. It goes on if the caller leaves.
    async fn change(&self, change: ChangeMembers<NodeId, Peer>, keep: bool) -> Result<(), ChangeError> {
        let (raft, wait) = (self.replica.raft.clone(), self.replica.change_wait);
        // A leader that was removed leads on for a moment; openraft takes no change of members from it.
        let leads = *self.replica.leadership.borrow();
        if leads.is_some_and(|epoch| self.members().incarnation(epoch.node).is_none()) {
            return Err(self.not_leading());
        }
        let Ok(turn) = self.replica.change.clone().try_acquire_owned() else { return Err(ChangeError::Pending) };
        let changing = self.replica.tasks.spawn(async move {
            let _turn = turn;
            let changed = raft.change_membership(change, keep).await?;
            // Whoever hears that it is done also sees it.
            let told = |now: &RaftMetrics<Types>| *now.committed_membership_config.log_id() >= Some(changed.log_id);
            drop(raft.wait(Some(wait)).metrics(told, "the members are known").await);
            Ok(())
        });
        match tokio::time::timeout(self.replica.change_wait, changing).await {
            Err(_) => Err(ChangeError::Unknown("it is not committed yet".to_owned())),
            Ok(Err(_)) => Err(ChangeError::Stopped),
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(RaftError::Fatal(_)))) => Err(ChangeError::Stopped),
            Ok(Ok(Err(RaftError::APIError(error)))) => Err(change_error(error)),
        }
    }

    fn not_leading(&self) -> ChangeError {
        ChangeError::NotLeader { leader: *self.replica.leader.borrow() }
    }
}

fn change_error(error: ClientWriteError<Types>) -> ChangeError {
    match error {
        ClientWriteError::ForwardToLeader(to) => ChangeError::NotLeader { leader: to.leader_id },
        ClientWriteError::ChangeMembershipError(ChangeMembershipError::InProgress(_)) => ChangeError::Pending,
        ClientWriteError::ChangeMembershipError(error) => ChangeError::Refused(error.to_string()),
        other => ChangeError::Unknown(other.to_string()),
    }
}

fn members(stored: &Arc<StoredMembership>) -> Members {
    let membership = stored.membership();
    let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
    let mut members = Members { joint: membership.get_joint_config().len() > 1, ..Members::default() };
    for (node, peer) in membership.nodes() {
        let side = if voters.contains(node) { &mut members.voters } else { &mut members.learners };
        side.insert(*node, peer.incarnation);
    }
    members
}
