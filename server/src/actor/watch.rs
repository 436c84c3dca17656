//! Lost leaderships: the instances of a group end as soon as this node no longer leads it in their epoch.

use std::sync::{Arc, Weak};

use lethe_proto::ActorId;
use lethe_runtime::host::Outcome;
use tokio::sync::watch;

use super::{
    actors::{Inner, Slot},
    error,
    live::Live,
};
use crate::shard::{Epoch, Shard};

impl Inner {
    /// Instances that have started and have a slot.
    pub(super) fn live(&self) -> Vec<(ActorId, Arc<Live>)> {
        let slots = self.slots.lock();
        let live = |slot: &Slot| slot.start.peek().and_then(|start| start.as_ref().ok().cloned());
        slots.by_id.iter().filter_map(|(id, slot)| Some((*id, live(slot)?))).collect()
    }

    /// Sees to it that the group's leadership is watched.
    pub(super) fn watch(self: &Arc<Self>, shard: &Shard) {
        let group = shard.id();
        if !self.slots.lock().watched.insert(group) {
            return;
        }
        let (weak, gone, leadership) = (Arc::downgrade(self), self.gone.clone(), shard.leadership());
        self.tasks.spawn(async move {
            tokio::select! {
                () = watch(&weak, group, leadership) => {}
                () = gone.cancelled() => return,
            }
            if let Some(inner) = weak.upgrade() {
                inner.slots.lock().watched.remove(&group);
                inner.end_deposed(group, None);
            }
        });
    }

    /// Ends the instances of a group that are not of this epoch.
    fn end_deposed(&self, group: u32, epoch: Option<Epoch>) {
        #[cfg(feature = "liar")]
        if crate::lies::is_told(crate::lies::Lie::KeepOldLeader) {
            return;
        }
        for (id, live) in self.awake.of(group) {
            if Some(live.proof.epoch) != epoch {
                live.end(error::unavailable("this node no longer leads the actor's group", Outcome::Unknown));
                self.forget(id, &live);
            }
        }
    }
}

/// Returns when the replica is gone.
async fn watch(inner: &Weak<Inner>, group: u32, mut leadership: watch::Receiver<Option<Epoch>>) {
    loop {
        let epoch = *leadership.borrow_and_update();
        match inner.upgrade() {
            Some(inner) => inner.end_deposed(group, epoch),
            None => return,
        }
        if leadership.changed().await.is_err() {
            return;
        }
    }
}
