//! What applying entries does to keys: creations store them, destructions erase them.

use lethe_proto::ActorId;
use uuid::Uuid;

use super::Inner;
use crate::{
    shard::{Created, EffectError, Effects},
    vault::Owner,
};

impl Effects for Inner {
    fn created(&self, group: u32, created: Vec<Created>) -> Result<(), EffectError> {
        let owner = |created: &Created| Owner { actor: created.actor, incarnation: created.incarnation };
        let offers: Vec<_> = created.iter().map(|created| (owner(created), &created.shares[..])).collect();
        let missed = self.vault.take(&offers)?;
        for (owner, why) in &missed {
            tracing::info!(group, actor = %owner.actor, ?why, "a key did not come with its actor; the other members are asked");
            self.wanted.lock().add(group, *owner);
        }
        if !missed.is_empty() {
            self.wake.notify_one();
        }
        Ok(())
    }

    fn destroyed(&self, ended: Vec<(ActorId, Uuid)>) -> Result<(), EffectError> {
        let owners: Vec<_> = ended.into_iter().map(|(actor, incarnation)| Owner { actor, incarnation }).collect();
        self.vault.erase_all(&owners)?;
        Ok(())
    }

    fn installed(&self, group: u32) -> Result<(), EffectError> {
        self.wanted.lock().scan(group);
        self.wake.notify_one();
        Ok(())
    }
}
