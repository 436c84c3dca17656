//! Raft groups: propose, apply, read index, leadership, snapshots. Only this room names openraft.

mod command;
mod epoch;
mod error;
mod handle;

pub use command::{Applied, Command, Create, RecordOp, Rejection};
pub use epoch::{Epoch, NodeId};
pub use error::{Error, NotDone, ProposeError, ReadError};
pub use handle::{Metrics, Shard};
