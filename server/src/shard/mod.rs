//! Raft groups: propose, apply, read index, leadership, snapshots. Only this room names openraft.

mod apply;
mod care;
mod codec;
mod command;
mod config;
mod effects;
mod epoch;
mod error;
mod flush;
mod handle;
mod identity;
mod limits;
mod log;
mod machine;
mod members;
mod network;
mod open;
mod proposer;
mod recover;
mod replica;
mod roster;
mod runtime;
mod shards;
mod upkeep;
mod watch;
mod types;

pub use command::{Applied, Command, Create, Expect, REGISTER_OPS_MAX, RecordOp, RegistryLimit, RegistryOp, Rejection};
pub use config::{Config, Deps, OnFatal, SLOTS};
pub use effects::{Created, EffectError, Effects};
pub use epoch::Epoch;
pub use error::{ChangeError, Error, NotDone, ProposeError, ReadError};
pub use handle::{Metrics, Shard};
pub use identity::{Identity, Life};
pub use lethe_proto::{ClusterId, NodeId};
pub use members::Members;
pub use network::{Alone, TOPICS};
pub use shards::{Begin, Shards};

#[cfg(test)]
pub(crate) mod tests;
