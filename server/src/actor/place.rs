//! `Place`: one attempt to call an actor at one place. `Actors` is this node; the wire implements it for other nodes.

use std::time::Instant;

use futures::future::BoxFuture;
use lethe_proto::NodeId;
use lethe_runtime::host::{ActorCall, ActorReply, CallError, CallErrorKind, Outcome};

use super::{ActorRef, error};
use crate::shard::NotDone;

/// Somewhere actors may live.
pub trait Place: Send + Sync + 'static {
    /// Calls `to` if it is there, and waits for its reply until `deadline`. Never passes the call on.
    fn attempt(
        &self,
        to: ActorRef,
        call: ActorCall,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<ActorReply, Failed>>;
}

/// Why an attempt gave no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failed {
    /// The actor is not there; nothing was done.
    NotLeader {
        /// Who leads the actor's group as far as that place knows.
        leader: Option<NodeId>,
    },
    /// The call failed.
    Call(CallError),
}

impl Failed {
    /// Whether the call surely did nothing.
    pub fn is_not_done(&self) -> bool {
        match self {
            Self::NotLeader { .. } => true,
            Self::Call(error) => error.outcome == Outcome::NotDone,
        }
    }

    /// Whether the call surely did nothing, and may find more luck elsewhere or a little later.
    pub fn may_be_tried_again(&self) -> bool {
        match self {
            Self::NotLeader { .. } => true,
            Self::Call(error) => error.kind == CallErrorKind::Unavailable && error.outcome == Outcome::NotDone,
        }
    }
}

impl From<NotDone> for Failed {
    fn from(reason: NotDone) -> Self {
        match reason {
            NotDone::NotLeader { leader } => Self::NotLeader { leader },
            // Asking again would only use up what is left of the logs.
            NotDone::DisksFull { .. } => error::overloaded(reason.to_string()).into(),
            reason => error::unavailable(reason.to_string(), Outcome::NotDone).into(),
        }
    }
}

impl From<CallError> for Failed {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl From<Failed> for CallError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::NotLeader { leader: None } => {
                error::unavailable("the actor's group has no leader that this node knows", Outcome::NotDone)
            }
            Failed::NotLeader { leader: Some(node) } => {
                error::unavailable(format!("node {node} leads the actor's group"), Outcome::NotDone)
            }
            Failed::Call(error) => error,
        }
    }
}
