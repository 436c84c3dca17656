//! The door out of an actor's isolate: everything that leaves waits at the output gate first.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use futures::{FutureExt, future::BoxFuture};
use lethe_runtime::{
    body::Body,
    host::{ActorAddress, ActorCall, ActorReply, CallError, Host, IdSource, LogLine, Outcome, Storage},
};

use super::{
    ActorRef, error,
    gated::gated,
    logs::Logs,
    output_gate::OutputGate,
    outside::Outside,
    storage::{ActorStorage, StorageHandle},
};
use crate::shard::{Epoch, ReadError, Shard};

/// Ends an actor for good, on behalf of the actor itself.
pub(super) type DestroySelf = Arc<dyn Fn(ActorRef) -> BoxFuture<'static, Result<(), CallError>> + Send + Sync>;

/// Proves that nothing newer than this instance can exist.
#[derive(Clone)]
pub(super) struct Proof {
    pub shard: Shard,
    pub epoch: Epoch,
}

impl Proof {
    /// Confirms that this node still leads in the instance's epoch. Started after what it proves things about.
    pub async fn confirm(&self) -> Result<(), Unproven> {
        match self.shard.read_index().await {
            Ok(epoch) if epoch == self.epoch => Ok(()),
            #[cfg(feature = "liar")]
            _ if crate::lies::is_told(crate::lies::Lie::KeepOldLeader) => Ok(()),
            Ok(_) => Err(Unproven::Deposed("the shard has a new leadership".to_owned())),
            Err(reason @ ReadError::NotLeader { .. }) => Err(Unproven::Deposed(reason.to_string())),
            Err(reason) => Err(Unproven::Unclear(reason.to_string())),
        }
    }
}

/// The leadership could not be confirmed.
pub(super) enum Unproven {
    /// It is over, or no quorum knows of it: the instance has no future.
    Deposed(String),
    /// It may be confirmed another time.
    Unclear(String),
}

impl From<Unproven> for CallError {
    fn from(unproven: Unproven) -> Self {
        let (Unproven::Deposed(why) | Unproven::Unclear(why)) = unproven;
        error::unavailable(why, Outcome::Unknown)
    }
}

/// Host of one instance.
pub(super) struct ActorHost {
    pub me: ActorRef,
    pub outside: Outside,
    pub proof: Proof,
    pub gate: Arc<OutputGate>,
    pub storage: StorageHandle,
    pub logs: Logs,
    pub destroy: DestroySelf,
    /// How often this instance has sent something out, or is about to: calls, requests, and what is in their bodies and in
    /// those of its replies.
    pub sent: Arc<AtomicU64>,
}

impl ActorHost {
    /// Waits until what the actor did so far is committed, and this node still leads.
    fn release(&self) -> impl Future<Output = Result<(), CallError>> + Send + 'static {
        let (gate, proof, sent) = (self.gate.clone(), self.proof.clone(), self.sent.clone());
        async move {
            gate.wait_all().await?;
            count(&gate, &sent)?;
            judge(&gate, proof.confirm().await)
        }
    }

    /// What the actor sends: its head leaves when `release` says so, what is written to its body later by the same rule.
    fn outgoing(&self, request: http::Request<Body>) -> http::Request<Body> {
        let (gate, proof, sent) = (self.gate.clone(), self.proof.clone(), self.sent.clone());
        let prove = move || prove(gate.clone(), proof.clone(), sent.clone()).boxed();
        request.map(|body| gated(body, prove, || ()))
    }

    fn storage_shared(&self) -> &Arc<ActorStorage> {
        &self.storage.0
    }
}

/// Waits until what was written to a request's body so far may leave.
async fn prove(gate: Arc<OutputGate>, proof: Proof, sent: Arc<AtomicU64>) -> Result<(), CallError> {
    gate.wait_all().await?;
    judge(&gate, proof.confirm().await)?;
    count(&gate, &sent)
}

/// Breaks the gate if the leadership is over.
pub(super) fn judge(gate: &OutputGate, proven: Result<(), Unproven>) -> Result<(), CallError> {
    proven.map_err(|unproven| {
        let deposed = matches!(unproven, Unproven::Deposed(_));
        let reason = CallError::from(unproven);
        if deposed {
            gate.fail(reason.clone());
        }
        reason
    })
}

/// Counts what may leave now. Counted before it leaves, and not let out if the gate broke meanwhile: who finds the gate
/// broken and then reads the count knows of everything that leaves.
pub(super) fn count(gate: &OutputGate, sent: &AtomicU64) -> Result<(), CallError> {
    sent.fetch_add(1, Ordering::SeqCst);
    gate.broken().map_or(Ok(()), Err)
}

impl Host for ActorHost {
    fn actor_id(&self, binding: &str, source: IdSource) -> Result<String, String> {
        self.outside.actor_id(binding, &source)
    }

    fn call_actor(&self, to: ActorAddress, call: ActorCall) -> BoxFuture<'static, Result<ActorReply, CallError>> {
        let (release, outside) = (self.release(), self.outside.clone());
        let call = match call {
            ActorCall::Fetch(request) => ActorCall::Fetch(self.outgoing(request)),
            call @ (ActorCall::Method { .. } | ActorCall::Destroy { .. }) => call,
        };
        Box::pin(async move {
            release.await?;
            outside.call_actor(to, call).await
        })
    }

    fn fetch(&self, request: http::Request<Body>) -> BoxFuture<'static, Result<http::Response<Body>, String>> {
        let (release, outside, request) = (self.release(), self.outside.clone(), self.outgoing(request));
        Box::pin(async move {
            release.await.map_err(|error| error.to_string())?;
            outside.fetch(request).await
        })
    }

    fn log(&self, line: LogLine) {
        self.logs.push(self.gate.mark(), line);
    }

    fn storage(&self) -> Option<&dyn Storage> {
        Some(&self.storage)
    }

    fn turn_ended(&self) {
        self.storage_shared().cut();
    }

    fn destroy_self(&self) -> BoxFuture<'static, Result<(), CallError>> {
        let (gate, destroy, me) = (self.gate.clone(), self.destroy.clone(), self.me.clone());
        let sent = self.sent.clone();
        Box::pin(async move {
            gate.wait_all().await?;
            count(&gate, &sent)?;
            destroy(me).await
        })
    }

    fn aborted(&self, reason: &str) {
        self.gate.fail(error::reset(reason));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::actor::{Config, tests::rig::Rig};

    #[tokio::test(flavor = "multi_thread")]
    async fn an_instance_that_finds_itself_deposed_while_it_sends_is_ended() {
        let rig = Rig::start(Config::default()).await;
        rig.call("a", "put", json!(["k", 1])).await.unwrap();
        let live = rig.live_actor("a");
        let Proof { shard, epoch } = live.proof.clone();
        let before = Proof { shard, epoch: Epoch { term: epoch.term - 1, ..epoch } };
        let reason = prove(live.gate.clone(), before, live.sent.clone()).await.unwrap_err();
        assert_eq!(live.gate.broken(), Some(reason));
        assert!(live.instance.broken().is_some());
        assert_eq!(rig.call("a", "get", json!(["k"])).await.unwrap(), json!(1));
    }
}
