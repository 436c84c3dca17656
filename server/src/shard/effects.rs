//! `Effects`: what applying commands does outside the state.

use lethe_proto::ActorId;
use uuid::Uuid;

use crate::store::KeyShare;

/// An actor that begins, and its data key sealed to the replicas that were known when it was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// The actor.
    pub actor: ActorId,
    /// Its incarnation.
    pub incarnation: Uuid,
    /// The key, once for each replica.
    pub shares: Vec<KeyShare>,
}

/// Called while entries are applied, on a blocking thread, before their commands are answered and before the state shows
/// them. Called again for the same entries after a crash. An error ends the node.
pub trait Effects: Send + Sync + 'static {
    /// Actors of a group began, all of one batch: what this node can have of their keys must be durable when this returns.
    fn created(&self, group: u32, created: Vec<Created>) -> Result<(), EffectError>;

    /// Incarnations ended, all of one batch: their data keys must be gone for good when this returns. Comes after `created`
    /// of the same batch, and for every tombstone when a snapshot is installed.
    fn destroyed(&self, ended: Vec<(ActorId, Uuid)>) -> Result<(), EffectError>;

    /// A snapshot took the place of a group's state: entries were skipped, and with them the keys they held.
    fn installed(&self, group: u32) -> Result<(), EffectError>;
}

/// An effect failed.
pub type EffectError = Box<dyn std::error::Error + Send + Sync>;

/// No effects.
impl Effects for () {
    fn created(&self, _: u32, _: Vec<Created>) -> Result<(), EffectError> {
        Ok(())
    }

    fn destroyed(&self, _: Vec<(ActorId, Uuid)>) -> Result<(), EffectError> {
        Ok(())
    }

    fn installed(&self, _: u32) -> Result<(), EffectError> {
        Ok(())
    }
}
