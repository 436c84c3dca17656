//! `Ring`: the key epochs of other nodes, asked for and kept for a while.
//!
//! A node's epoch is current for `rotate` and can be opened for as long again. What was learned is used for half of `rotate`, so
//! a share has at least half of it to reach the log and be applied.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use lethe_proto::NodeId;
use parking_lot::Mutex;

use super::{
    Inner, Keys,
    message::{Answer, Ask, decode, encode},
};
use crate::{
    peer::{Head, Lane, Topic},
    shard::Shard,
    vault::Recipient,
};

/// Nodes whose epochs are kept; a cluster has far fewer.
const NODES_MAX: usize = 1024;

/// The key epochs of other nodes.
pub(super) struct Ring {
    fresh: Duration,
    known: Mutex<BTreeMap<NodeId, (Recipient, Instant)>>,
}

/// The key epochs of too few members are known: a key would not survive the loss of a minority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{known} of {voters} replicas can be given a new actor's key, which is no majority")]
pub struct Uncovered {
    /// Voters whose epoch is known.
    pub known: usize,
    /// All voters.
    pub voters: usize,
}

impl Ring {
    pub fn new(fresh: Duration) -> Self {
        Self { fresh, known: Mutex::default() }
    }

    fn get(&self, node: NodeId) -> Option<Recipient> {
        let known = self.known.lock();
        known.get(&node).filter(|(_, learned)| learned.elapsed() < self.fresh).map(|(recipient, _)| *recipient)
    }

    /// `asked` is when the question left: the answer may be as old.
    fn learn(&self, recipient: Recipient, asked: Instant) {
        let mut known = self.known.lock();
        if known.len() >= NODES_MAX {
            known.retain(|_, (_, learned)| learned.elapsed() < self.fresh);
        }
        if known.len() < NODES_MAX {
            known.insert(recipient.node, (recipient, asked));
        }
    }

    fn nodes(&self) -> Vec<NodeId> {
        self.known.lock().keys().copied().collect()
    }
}

impl Keys {
    /// To whom the key of a new actor of this group is sealed: every member whose key epoch is known, which is a majority of
    /// the voters.
    pub async fn recipients(&self, shard: &Shard) -> Result<Vec<Recipient>, Uncovered> {
        let members = shard.members();
        let me = self.inner.vault.recipient();
        let all = members.voters.keys().chain(members.learners.keys()).copied();
        let of = |node| async move {
            match self.inner.ring.get(node) {
                _ if node == me.node => Some(me),
                Some(known) => Some(known),
                None => self.inner.ask_epoch(node).await,
            }
        };
        let known: Vec<_> = join_all(all.map(of)).await.into_iter().flatten().collect();
        covered(members.voters.keys(), &known)?;
        Ok(known)
    }
}

fn covered<'a>(voters: impl ExactSizeIterator<Item = &'a NodeId>, known: &[Recipient]) -> Result<(), Uncovered> {
    let all = voters.len();
    let covered = voters.filter(|voter| known.iter().any(|recipient| recipient.node == **voter)).count();
    match 2 * covered > all {
        true => Ok(()),
        false => Err(Uncovered { known: covered, voters: all }),
    }
}

impl Inner {
    /// Asks a node for its key epoch; none if it does not answer.
    async fn ask_epoch(&self, node: NodeId) -> Option<Recipient> {
        let head = Head { lane: Lane::Control, topic: Topic::Keys, group: 0, incarnation: 0 };
        let asked = Instant::now();
        let transport = &self.reach.get()?.transport;
        let answer = transport.call(node, head, encode(&Ask::Epoch).into(), asked + self.config.answer).await;
        match answer.map(|bytes| decode(&bytes)) {
            Ok(Ok(Answer::Epoch(recipient))) if recipient.node == node => {
                self.ring.learn(recipient, asked);
                Some(recipient)
            }
            Ok(other) => {
                tracing::warn!(%node, ?other, "a node was asked for its key epoch and said something else");
                None
            }
            Err(error) => {
                tracing::debug!(%node, %error, "a node does not say its key epoch");
                None
            }
        }
    }
}

/// Keeps what is known fresh, so that creating an actor need not wait for answers.
pub(super) async fn run(inner: Arc<Inner>) {
    while inner.shards().is_some() {
        tokio::select! {
            () = inner.stop.cancelled() => return,
            () = tokio::time::sleep(inner.ring.fresh / 2) => {}
        }
        let asking = join_all(inner.ring.nodes().into_iter().map(|node| inner.ask_epoch(node)));
        tokio::select! {
            () = inner.stop.cancelled() => return,
            _ = asking => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::PublicKey;

    fn recipient(node: u64) -> Recipient {
        Recipient { node: NodeId::from(node), epoch: 1, public: PublicKey([1; 32]) }
    }

    #[test]
    fn a_majority_of_the_voters_must_be_able_to_open_the_key() {
        let voters: Vec<_> = (1..=4).map(NodeId::from).collect();
        let known: Vec<_> = [3, 1, 9, 8, 2].map(recipient).to_vec();
        let covers = |voters: usize, known: &[Recipient]| covered(voters_of(&self::voters(voters)), known);
        fn voters_of(voters: &[NodeId]) -> std::slice::Iter<'_, NodeId> {
            voters.iter()
        }
        assert_eq!(covered(voters.iter(), &known[..4]), Err(Uncovered { known: 2, voters: 4 }));
        assert_eq!(covered(voters.iter(), &known), Ok(()));
        assert_eq!(covers(1, &[recipient(1)]), Ok(()));
        assert_eq!(covers(3, &[recipient(1), recipient(9)]), Err(Uncovered { known: 1, voters: 3 }));
    }

    fn voters(count: usize) -> Vec<NodeId> {
        (1..=count as u64).map(NodeId::from).collect()
    }

    #[test]
    fn what_was_learned_is_used_only_while_it_is_fresh() {
        let ring = Ring::new(Duration::from_secs(3600));
        let asked = Instant::now();
        ring.learn(recipient(1), asked);
        assert_eq!(ring.get(NodeId::from(1)), Some(recipient(1)));
        let stale = Ring::new(Duration::ZERO);
        stale.learn(recipient(1), asked);
        assert_eq!((stale.get(NodeId::from(1)), stale.nodes()), (None, vec![NodeId::from(1)]));
    }
}
