//! Instances that live on this node, by their groups, whether a slot leads to them or not.
//!
//! A slot says where the next call of an actor goes. An instance may outlive its own: calls under way end on code that was
//! replaced, and a destruction takes the slot before it is decided. Whoever waits for the instances of a group, or ends
//! them, has to know of these as well; and before an actor starts anew, what is left of it here has ended.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use lethe_proto::ActorId;
use parking_lot::Mutex;

use super::live::Live;

/// Instances of one actor, with their numbers.
type OfActor = Vec<(u64, Weak<Live>)>;

/// All instances, until they are dropped.
#[derive(Default)]
pub(super) struct Awake(Mutex<Groups>);

#[derive(Default)]
struct Groups {
    by_group: HashMap<u32, HashMap<ActorId, OfActor>>,
    entered: u64,
}

/// An instance's place; it leaves with this.
pub(super) struct Stay {
    awake: Arc<Awake>,
    group: u32,
    id: ActorId,
    number: u64,
}

impl Awake {
    /// Notes an instance for as long as it lives.
    pub fn enter(self: &Arc<Self>, id: ActorId, live: &Arc<Live>) {
        let group = live.proof.shard.id();
        let number = {
            let mut groups = self.0.lock();
            groups.entered += 1;
            let number = groups.entered;
            let of_actor = groups.by_group.entry(group).or_default().entry(id).or_default();
            of_actor.push((number, Arc::downgrade(live)));
            number
        };
        live.stays(Stay { awake: self.clone(), group, id, number });
    }

    /// Those of a group.
    pub fn of(&self, group: u32) -> Vec<(ActorId, Arc<Live>)> {
        let groups = self.0.lock();
        let of_group = groups.by_group.get(&group).into_iter().flatten();
        let live = |(id, of_actor): (&ActorId, &OfActor)| {
            let id = *id;
            upgraded(of_actor).into_iter().map(move |live| (id, live))
        };
        of_group.flat_map(live).collect()
    }

    /// All of them.
    pub fn all(&self) -> Vec<(ActorId, Arc<Live>)> {
        let groups: Vec<u32> = self.0.lock().by_group.keys().copied().collect();
        groups.into_iter().flat_map(|group| self.of(group)).collect()
    }

    /// Those of an actor.
    pub fn of_actor(&self, group: u32, id: ActorId) -> Vec<Arc<Live>> {
        let groups = self.0.lock();
        groups
            .by_group
            .get(&group)
            .and_then(|of_group| of_group.get(&id))
            .map(|of_actor| upgraded(of_actor))
            .unwrap_or_default()
    }

    fn leave(&self, group: u32, id: ActorId, number: u64) {
        let mut groups = self.0.lock();
        let Some(of_group) = groups.by_group.get_mut(&group) else { return };
        let Some(of_actor) = of_group.get_mut(&id) else { return };
        of_actor.retain(|(known, _)| *known != number);
        if of_actor.is_empty() {
            of_group.remove(&id);
        }
    }
}

/// None of them may be dropped while the lock is held: that takes the lock as well.
fn upgraded(of_actor: &[(u64, Weak<Live>)]) -> Vec<Arc<Live>> {
    of_actor.iter().filter_map(|(_, live)| live.upgrade()).collect()
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.awake.leave(self.group, self.id, self.number);
    }
}
