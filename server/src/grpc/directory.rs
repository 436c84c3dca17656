//! What the gRPC face asks beside calls: which namespaces there are, and which actors live in them.

use futures::future::BoxFuture;
use lethe_proto::{ActorId, v1};
use lethe_runtime::host::CallError;
use uuid::Uuid;

use crate::{
    actor::{ActorRef, Failed},
    deploy::Namespace,
    store::DestroyReason,
};

/// Namespaces and actors as the node knows them; the node implements it over `deploy` and `shard`.
pub trait Directory: Send + Sync + 'static {
    /// The namespace a caller means by `text`: `script/Class`, or a binding or class name where only one fits.
    /// A node that may not know the newest deploy says that it cannot tell, not that there is none.
    fn namespace(&self, text: &str) -> Result<Namespace, CallError>;

    /// Actors in the order of their ids, tombstones included.
    fn list(&self, what: Listing) -> BoxFuture<'static, Result<Vec<ActorInfo>, Failed>>;

    /// One actor or its tombstone; `None` if there never was one.
    fn show(&self, actor: ActorRef) -> BoxFuture<'static, Result<Option<ActorInfo>, Failed>>;

    /// gRPC address (`host:port`) of the other node where an actor lives, as far as is known; none if it lives here.
    fn elsewhere(&self, actor: ActorId) -> Option<String>;
}

/// Which actors to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Those of this namespace,
    pub namespace: Namespace,
    /// whose ids come after this one,
    pub after: Option<ActorId>,
    /// in these Raft groups, or in all if there are none,
    pub groups: Vec<u32>,
    /// and not more than this.
    pub limit: usize,
}

/// What is known of an actor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActorInfo {
    /// Its id.
    pub id: ActorId,
    /// `script/Class`
    pub namespace: String,
    /// The name its id was made from, if known.
    pub name: Option<String>,
    /// What it is doing.
    pub state: ActorState,
    /// Which life of this id.
    pub incarnation: Uuid,
    /// Milliseconds since 1970; 0 if it is not known any more.
    pub created_at_ms: u64,
    /// Its Raft group; 0 if it is not known.
    pub group: u32,
}

/// What an actor is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActorState {
    /// It exists in storage; no isolate runs it.
    Asleep,
    /// An isolate runs it.
    Awake,
    /// Only its tombstone is left.
    Destroyed {
        /// Milliseconds since 1970.
        at_ms: u64,
        /// Who asked.
        by: DestroyReason,
    },
}

impl From<ActorInfo> for v1::ActorInfo {
    fn from(info: ActorInfo) -> Self {
        let nobody = v1::DestroyedBy::Unspecified;
        let (state, destroyed_at_ms, destroyed_by) = match info.state {
            ActorState::Asleep => (v1::ActorState::Asleep, None, nobody),
            ActorState::Awake => (v1::ActorState::Awake, None, nobody),
            ActorState::Destroyed { at_ms, by } => (v1::ActorState::Destroyed, Some(at_ms), destroyed_by(by)),
        };
        Self {
            id: info.id.to_string(),
            namespace: info.namespace,
            name: info.name,
            state: state.into(),
            incarnation: info.incarnation.to_string(),
            created_at_ms: info.created_at_ms,
            destroyed_at_ms,
            destroyed_by: destroyed_by.into(),
            group: info.group,
        }
    }
}

fn destroyed_by(reason: DestroyReason) -> v1::DestroyedBy {
    match reason {
        DestroyReason::Caller => v1::DestroyedBy::Caller,
        DestroyReason::Itself => v1::DestroyedBy::Itself,
        DestroyReason::Operator => v1::DestroyedBy::Operator,
    }
}

/// What another node knows of an actor; none if it makes no sense.
pub(super) fn from_wire(info: v1::ActorInfo) -> Option<ActorInfo> {
    let state = match info.state() {
        v1::ActorState::Asleep => ActorState::Asleep,
        v1::ActorState::Awake => ActorState::Awake,
        v1::ActorState::Destroyed => {
            let by = match info.destroyed_by() {
                v1::DestroyedBy::Itself => DestroyReason::Itself,
                v1::DestroyedBy::Operator => DestroyReason::Operator,
                // A node that does not tell knows of no others.
                v1::DestroyedBy::Caller | v1::DestroyedBy::Unspecified => DestroyReason::Caller,
            };
            ActorState::Destroyed { at_ms: info.destroyed_at_ms.unwrap_or(0), by }
        }
        v1::ActorState::Unspecified => return None,
    };
    Some(ActorInfo {
        id: info.id.parse().ok()?,
        namespace: info.namespace,
        name: info.name,
        state,
        incarnation: Uuid::try_parse(&info.incarnation).ok()?,
        created_at_ms: info.created_at_ms,
        group: info.group,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_an_actor_survives_the_wire() {
        let ends = [DestroyReason::Caller, DestroyReason::Itself, DestroyReason::Operator];
        let ends = ends.map(|by| ActorState::Destroyed { at_ms: 7, by });
        for state in [ActorState::Asleep, ActorState::Awake].into_iter().chain(ends) {
            let info = ActorInfo {
                id: ActorId([3; 32]),
                namespace: "w/A".into(),
                name: Some("n".into()),
                state,
                incarnation: Uuid::from_u128(5),
                created_at_ms: 6,
                group: 8,
            };
            assert_eq!(from_wire(info.clone().into()), Some(info));
        }
    }
}
