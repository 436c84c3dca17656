//! `Effects`: what applying a command does outside the state.

use lethe_proto::ActorId;
use uuid::Uuid;

/// Called while entries are applied, on a blocking thread, before the command is answered.
pub trait Effects: Send + Sync + 'static {
    /// An incarnation ended: its data key must be gone for good when this returns. Called again for the same
    /// incarnation after a crash and when a snapshot is installed. An error ends the node.
    fn destroyed(&self, actor: ActorId, incarnation: Uuid) -> Result<(), EffectError>;
}

/// An effect failed.
pub type EffectError = Box<dyn std::error::Error + Send + Sync>;

/// No effects.
impl Effects for () {
    fn destroyed(&self, _: ActorId, _: Uuid) -> Result<(), EffectError> {
        Ok(())
    }
}
