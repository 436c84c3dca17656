//! Log entries to replicas: per node one stream carries the append messages of all groups, many in one message.
//!
//! ```text
//! openraft, one task per group        Session, one per node                          Intake, over there
//!   Opening ── append messages ──┐
//!   Opening ── append messages ──┼──> Outbox ── a batch of whatever is there ──>──┬── the group's replica
//!   Opening <── answers ─────────┴─── a task <── a batch of answers ──────────────┘
//! ```
//!
//! An opening is one group's stream of append messages to one life of a replica; its number names it on the wire, and
//! is never used again. Only its messages and answers are lost when it ends; when the session ends, all of them are.
//! There is no timer: what comes up while a batch is on its way goes with the next one.
//!
//! openraft waits, after a failure, inside the stream of messages that it gives us. So the first of them is asked for
//! before the node is: a stream that failed would otherwise be begun again at once, without end.

mod opening;
mod outbox;
mod session;
mod slot;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, Shared};
use futures::stream::{self, BoxStream};
use futures::{FutureExt, Stream, StreamExt};
use lethe_proto::NodeId;
use openraft::error::RPCError;
use openraft::raft::{AppendEntriesRequest, StreamAppendResult};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::rpc_error;
use crate::peer::{Error, Transport};
use crate::shard::types::Types;
use opening::Opening;
use session::Session;

/// Unanswered bytes of a group after which it sends nothing more; the message that crosses this is still sent.
pub(super) const WINDOW_BYTES: usize = 8 << 20;
/// Unanswered messages of a group.
pub(super) const WINDOW_MESSAGES: usize = 256;

type Result<T> = std::result::Result<T, RPCError<Types>>;
/// A session, or why there is none.
type Begun = Shared<BoxFuture<'static, std::result::Result<Arc<Session>, Error>>>;

/// Append messages to all nodes.
pub(super) struct Appends {
    transport: Arc<dyn Transport>,
    tasks: TaskTracker,
    stall: Duration,
    sessions: Mutex<HashMap<NodeId, Begun>>,
    /// Ends all sessions.
    stop: CancellationToken,
    _stops: DropGuard,
}

/// Whom messages are for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whom {
    pub node: NodeId,
    pub group: u32,
    pub incarnation: u64,
}

impl Appends {
    /// `stall` is how long a message may stay without an answer.
    pub fn new(transport: Arc<dyn Transport>, tasks: TaskTracker, stall: Duration) -> Self {
        let stop = CancellationToken::new();
        let _stops = stop.clone().drop_guard();
        Self { transport, tasks, stall, sessions: Mutex::default(), stop, _stops }
    }

    /// Sends the messages in `input`, once there is a first one.
    pub async fn stream<S>(
        &self,
        whom: Whom,
        mut input: S,
    ) -> Result<BoxStream<'static, Result<StreamAppendResult<Types>>>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static,
    {
        let Some(first) = input.next().await else { return Ok(stream::empty().boxed()) };
        let begun = self.session(whom.node);
        let session = begun.await.map_err(rpc_error)?;
        Ok(Opening::new(session, whom, first, input).map_err(rpc_error)?.boxed())
    }

    /// Ends all sessions, when all groups have stopped.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// The session with a node; all groups wait for the same one.
    fn session(&self, node: NodeId) -> Begun {
        let mut sessions = self.sessions.lock();
        if let Some(begun) = sessions.get(&node) {
            let over = match begun.peek() {
                None => false,
                Some(Ok(session)) => session.is_over(),
                Some(Err(_)) => true,
            };
            if !over {
                return begun.clone();
            }
        }
        let (tell, told) = oneshot::channel();
        let transport = self.transport.clone();
        self.tasks.spawn(Session::run(transport, node, self.stall, self.stop.child_token(), tell));
        let stopped = || Error::Unreachable("the node stops".to_owned());
        let begun = told.map(move |told| told.unwrap_or_else(|_| Err(stopped()))).boxed().shared();
        sessions.insert(node, begun.clone());
        begun
    }
}
