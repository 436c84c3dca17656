//! What operators are told by a node that is no member of a cluster.

use futures::future::BoxFuture;
use lethe_proto::v1;
use lethe_runtime::host::{CallError, CallErrorKind, JsError, Outcome};

use crate::grpc::{Change, Operator};

/// A node on its own: there is nothing to look at and nothing to change.
pub(super) struct Alone;

impl Operator for Alone {
    fn status(&self) -> BoxFuture<'static, Result<v1::StatusResponse, CallError>> {
        Box::pin(async { Err(alone()) })
    }

    fn change(&self, _: Change) -> BoxFuture<'static, Result<String, CallError>> {
        Box::pin(async { Err(alone()) })
    }
}

fn alone() -> CallError {
    let message = "this node is no member of a cluster".to_owned();
    let error = JsError { name: "TypeError".into(), message, stack: String::new() };
    CallError { kind: CallErrorKind::InvalidTarget, error, outcome: Outcome::NotDone }
}
