//! Gets missing keys from other members of their groups.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use lethe_proto::NodeId;
use tokio::task::spawn_blocking;

use super::{
    Inner, Keys,
    message::{Answer, Ask, Found, PAGE, decode, encode},
};
use crate::{
    peer::{Head, Lane, Topic},
    shard::Shard,
    store::HeaderOrTombstone,
    vault::{self, Imported, Owner, Sealer},
};

/// Actors whose keys are looked for at once.
const SCAN_PAGE: usize = 1024;

impl Keys {
    /// The sealer of an incarnation that lives. A key that is not here is asked from the other members of the group.
    pub async fn sealer(&self, shard: &Shard, owner: Owner) -> Result<Sealer, vault::Error> {
        let Owner { actor, incarnation } = owner;
        match self.inner.blocking(move |vault| vault.sealer(actor, incarnation)).await {
            Err(vault::Error::NoKey { .. } | vault::Error::Damaged { .. }) => {}
            found => return found,
        }
        self.inner.ask(shard, vec![owner]).await;
        self.inner.blocking(move |vault| vault.sealer(actor, incarnation)).await
    }
}

/// Asks for what is wanted until the node stops.
pub(super) async fn run(inner: Arc<Inner>) {
    while inner.shards().is_some() {
        let work = async {
            let groups = inner.wanted.lock().groups();
            for group in &groups {
                inner.fetch(*group).await;
            }
            let idle = inner.wanted.lock().groups().is_empty();
            tokio::select! {
                () = inner.wake.notified() => {}
                () = tokio::time::sleep(inner.config.retry), if !idle => {}
            }
        };
        tokio::select! {
            () = inner.stop.cancelled() => return,
            () = work => {}
        }
    }
}

impl Inner {
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&vault::Vault) -> Result<T, vault::Error> + Send + 'static,
    ) -> Result<T, vault::Error> {
        let vault = self.vault.clone();
        spawn_blocking(move || work(&vault)).await.map_err(|error| vault::Error::Broken(error.to_string()))?
    }

    /// Everything that is wanted of a group, once.
    async fn fetch(&self, group: u32) {
        let Some(shard) = self.shards().and_then(|shards| shards.group(group)) else {
            return self.wanted.lock().forget(group);
        };
        let scan = self.wanted.lock().next_scan(group);
        if let Some(scan) = scan {
            match self.scan(&shard).await {
                Ok(()) => self.wanted.lock().scanned(group, scan),
                Err(error) => tracing::warn!(group, %error, "actors without keys cannot be looked for"),
            }
        }
        let owners = self.wanted.lock().owners(group);
        let mut live = Vec::new();
        for owner in &owners {
            // A header that cannot be read is asked about the next time.
            match shard.header(owner.actor).await {
                Ok(Some(HeaderOrTombstone::Header(header))) if header.incarnation == owner.incarnation => {
                    live.push(*owner)
                }
                Ok(Some(_)) => self.wanted.lock().settle(group, [owner]),
                // Its creation is just being applied.
                Ok(None) | Err(_) => {}
            }
        }
        let still = self.ask(&shard, live.clone()).await;
        self.wanted.lock().settle(group, live.iter().filter(|owner| !still.contains(owner)));
        if !still.is_empty() {
            tracing::warn!(group, keys = still.len(), "no member of the group that answers has these keys");
        }
    }

    /// Looks through the whole group, and asks for what is missing.
    async fn scan(&self, shard: &Shard) -> Result<(), crate::shard::Error> {
        let mut after = None;
        loop {
            let page = shard.actors(after, SCAN_PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.actor());
            let owner = |known: &HeaderOrTombstone| match known {
                HeaderOrTombstone::Header(header) => {
                    Some(Owner { actor: header.actor, incarnation: header.incarnation })
                }
                HeaderOrTombstone::Tombstone(_) => None,
            };
            let owners: Vec<_> = page.iter().filter_map(owner).collect();
            for owner in self.ask(shard, owners).await {
                self.wanted.lock().add(shard.id(), owner);
            }
        }
    }

    /// Asks the members, the leader first, for those of these keys that are not here. Gives those nobody had. The owners
    /// must have been alive in the applied state.
    async fn ask(&self, shard: &Shard, owners: Vec<Owner>) -> BTreeSet<Owner> {
        let lacking = move |vault: &vault::Vault| Ok(owners.into_iter().filter(|owner| !vault.holds(*owner)).collect());
        let mut open: BTreeSet<Owner> = match self.blocking(lacking).await {
            Ok(open) => open,
            Err(error) => {
                tracing::error!(%error, "looking for missing keys failed");
                return BTreeSet::new();
            }
        };
        for (node, incarnation) in self.others(shard) {
            let asked: Vec<_> = open.iter().copied().collect();
            for page in asked.chunks(PAGE) {
                match self.ask_page(shard.id(), node, incarnation, page).await {
                    Ok(settled) => open.retain(|owner| !settled.contains(owner)),
                    Err(reason) => {
                        tracing::debug!(group = shard.id(), %node, reason, "a member does not give keys");
                        break;
                    }
                }
            }
            if open.is_empty() {
                break;
            }
        }
        open
    }

    /// The other members of a group and their replicas' incarnations, the leader first.
    fn others(&self, shard: &Shard) -> Vec<(NodeId, u64)> {
        let members = shard.members();
        let me = self.vault.recipient().node;
        let leader = *shard.leader().borrow();
        let all: BTreeMap<_, _> = members.learners.into_iter().chain(members.voters).collect();
        let mut others: Vec<_> = all.into_iter().filter(|(node, _)| *node != me).collect();
        others.sort_by_key(|(node, _)| Some(*node) != leader);
        others
    }

    /// Asks one member. Gives the owners whose keys are here now, and those whose actors are gone.
    async fn ask_page(&self, group: u32, node: NodeId, incarnation: u64, page: &[Owner]) -> Result<Vec<Owner>, String> {
        let reach = self.reach.get().ok_or("the node is starting")?;
        let head = Head { lane: Lane::Control, topic: Topic::Keys, group, incarnation };
        let wanted = page.iter().map(|owner| (owner.actor, owner.incarnation)).collect();
        let ask = encode(&Ask::Keys { to: self.vault.recipient(), wanted });
        let deadline = Instant::now() + self.config.answer;
        let answer = reach.transport.call(node, head, ask.into(), deadline).await.map_err(|error| error.to_string())?;
        let found = match decode(&answer)? {
            Answer::Keys(found) if found.len() == page.len() => found,
            _ => return Err("its answer is to another question".to_owned()),
        };
        let mut settled = Vec::new();
        let mut shares = Vec::new();
        for (owner, found) in page.iter().zip(found) {
            match found {
                Found::Share(share) => shares.push((*owner, share)),
                Found::Gone => settled.push(*owner),
                Found::Missing => {}
            }
        }
        let imported = self.blocking(move |vault| Ok((vault.import(&shares)?, shares))).await;
        let (imported, shares) = imported.map_err(|error| error.to_string())?;
        for ((owner, _), imported) in shares.iter().zip(imported) {
            match imported {
                Imported::Stored | Imported::Erased => settled.push(*owner),
                Imported::Missed(why) => tracing::warn!(%node, actor = %owner.actor, ?why, "a key cannot be taken"),
            }
        }
        Ok(settled)
    }
}
