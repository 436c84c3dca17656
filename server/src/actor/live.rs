//! A live actor: its isolate, its gates, and the bound on calls that are in it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::FutureExt;
use lethe_runtime::{
    engine::Instance,
    host::{ActorCall, ActorReply, CallError, CallErrorKind, Outcome},
};
use parking_lot::Mutex;
use tokio::sync::watch;
use uuid::Uuid;

use super::{
    awake::Stay,
    error,
    gated::gated,
    host::{Proof, Unproven, count, judge},
    output_gate::OutputGate,
    storage::ActorStorage,
};

/// Calls and open response bodies in an instance, and whether it takes more.
struct Activity {
    closed: bool,
    /// When each call began, by its number.
    calls: BTreeMap<u64, Instant>,
    /// When each response whose body is not read to its end was given, by the number of its call.
    bodies: BTreeMap<u64, Instant>,
    entered: u64,
    idle_since: Instant,
}

/// One activation of one actor.
pub(super) struct Live {
    /// The version of the worker it runs.
    pub version: Uuid,
    pub proof: Proof,
    pub gate: Arc<OutputGate>,
    pub storage: Arc<ActorStorage>,
    pub instance: Instance,
    pub sent: Arc<AtomicU64>,
    activity: Mutex<Activity>,
    active: watch::Sender<usize>,
    /// Whether nothing leaves any more, not even what an actor that was destroyed said before.
    parted: AtomicBool,
    calls_max: usize,
    /// Where this node knows it from.
    stay: OnceLock<Stay>,
    /// Whether the last call wrote. The next one likely will, and its commit proves what a read index would.
    wrote: AtomicBool,
}

/// Keeps an instance from being evicted.
pub(super) struct Entered {
    live: Arc<Live>,
    number: u64,
}

/// Why a call could not enter.
pub(super) enum Refused {
    /// The instance has ended or is ending: look again.
    Closed,
    /// The mailbox is full.
    Full(CallError),
}

impl Live {
    pub fn new(
        version: Uuid,
        proof: Proof,
        gate: Arc<OutputGate>,
        storage: Arc<ActorStorage>,
        instance: Instance,
        sent: Arc<AtomicU64>,
        calls_max: usize,
    ) -> Arc<Self> {
        let (calls, bodies) = (BTreeMap::new(), BTreeMap::new());
        let activity = Mutex::new(Activity { closed: false, calls, bodies, entered: 0, idle_since: Instant::now() });
        let active = watch::Sender::new(0);
        let ending = instance.clone();
        // Nothing of it leaves any more, and calls that hang in it would hold up the next instance. Only whoever destroys an
        // actor says himself when its instance ends.
        gate.when_broken(move |reason| {
            if reason.kind != CallErrorKind::Destroyed {
                ending.abort(&reason.error.message);
            }
        });
        Arc::new(Self {
            version,
            proof,
            gate,
            storage,
            instance,
            sent,
            activity,
            active,
            parted: AtomicBool::new(false),
            calls_max,
            stay: OnceLock::new(),
            wrote: AtomicBool::new(false),
        })
    }

    /// Keeps its place among those that live here. Only the first one counts.
    pub fn stays(&self, stay: Stay) {
        drop(self.stay.set(stay));
    }

    /// Takes a place in the mailbox.
    pub fn enter(self: &Arc<Self>) -> Result<Entered, Refused> {
        let mut activity = self.activity.lock();
        if activity.closed || self.gate.broken().is_some() {
            return Err(Refused::Closed);
        }
        if activity.len() >= self.calls_max {
            let message = format!("the actor's mailbox is full: {} calls are in it", self.calls_max);
            return Err(Refused::Full(error::overloaded(message)));
        }
        activity.entered += 1;
        let number = activity.entered;
        activity.calls.insert(number, Instant::now());
        self.active.send_replace(activity.len());
        Ok(Entered { live: self.clone(), number })
    }

    /// Takes no more calls from now on.
    pub fn close(&self) {
        self.activity.lock().closed = true;
    }

    /// Takes no more calls if it has been doing nothing for `idle`; says whether it closed.
    pub fn close_if_idle(&self, idle: Duration) -> bool {
        let mut activity = self.activity.lock();
        if self.is_quiet(&activity) && activity.idle_since.elapsed() >= idle {
            activity.closed = true;
        }
        activity.closed
    }

    /// Since when it has been doing nothing; none if it does something, or takes no more calls anyway.
    pub fn quiet_since(&self) -> Option<Instant> {
        let activity = self.activity.lock();
        (!activity.closed && self.is_quiet(&activity)).then_some(activity.idle_since)
    }

    fn is_quiet(&self, activity: &Activity) -> bool {
        activity.len() == 0 && self.instance.is_idle() && self.storage.is_settled()
    }

    /// Whether calls can no longer enter, for whatever reason.
    pub fn is_over(&self) -> bool {
        self.activity.lock().closed || self.gate.broken().is_some() || self.instance.broken().is_some()
    }

    /// When the oldest of the calls that are in it began.
    pub fn oldest_call(&self) -> Option<Instant> {
        self.activity.lock().calls.values().next().copied()
    }

    /// When the oldest of the responses was given whose bodies are still open.
    pub fn oldest_body(&self) -> Option<Instant> {
        self.activity.lock().bodies.values().min().copied()
    }

    /// Waits until no call is in it and every write is committed, or until `grace` is over.
    pub async fn drain(&self, grace: Duration) {
        let mut active = self.active.subscribe();
        let quiet = async {
            let _ = active.wait_for(|active| *active == 0).await;
            let _ = self.gate.wait_all().await;
        };
        let _ = tokio::time::timeout(grace, quiet).await;
    }

    /// Waits until no call is in it and every write is committed, and for bodies that were opened after `bodies`; or until
    /// `grace` is over.
    pub async fn rest(&self, grace: Duration, bodies: Instant) {
        let mut active = self.active.subscribe();
        let quiet = async {
            while self.activity.lock().is_busy(bodies) && active.changed().await.is_ok() {}
            let _ = self.gate.wait_all().await;
        };
        let _ = tokio::time::timeout(grace, quiet).await;
    }

    /// Ends the instance of an actor that was destroyed: no call, write or request of it has an effect any more. What it
    /// wrote to responses before, and is committed, may leave within `moment`, and their ends with it; then nothing does.
    pub async fn part(&self, reason: CallError, moment: Duration) {
        self.close();
        let mut active = self.active.subscribe();
        let sends = || !self.activity.lock().bodies.is_empty();
        if sends() {
            let flushed = async {
                // Writes that were proposed before the destruction were committed before it.
                let _ = self.gate.wait_all().await;
                self.gate.fail(reason.clone());
                self.instance.finish().await;
                while sends() && active.changed().await.is_ok() {}
            };
            let _ = tokio::time::timeout(moment, flushed).await;
        }
        self.parted.store(true, Ordering::SeqCst);
        self.end(reason);
    }

    /// Ends the instance at once: nothing leaves it any more.
    pub fn end(&self, reason: CallError) {
        self.close();
        let message = reason.error.message.clone();
        self.gate.fail(reason);
        self.instance.abort(&message);
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // Also ends the committer, which waits for batches or for this.
        self.gate.fail(error::reset("the instance was dropped"));
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut activity = self.live.activity.lock();
        activity.calls.remove(&self.number);
        activity.bodies.remove(&self.number);
        activity.idle_since = Instant::now();
        self.live.active.send_replace(activity.len());
    }
}

impl Activity {
    fn len(&self) -> usize {
        self.calls.len() + self.bodies.len()
    }

    /// Whether calls are under way, or bodies are open that were opened after `bodies`. Later numbers are not always of
    /// later bodies.
    fn is_busy(&self, bodies: Instant) -> bool {
        !self.calls.is_empty() || self.bodies.values().any(|opened| *opened > bodies)
    }
}

impl Entered {
    /// The call is over; what it gave is read.
    fn open(self) -> Self {
        {
            let mut activity = self.live.activity.lock();
            activity.calls.remove(&self.number);
            activity.bodies.insert(self.number, Instant::now());
            self.live.active.send_replace(activity.len());
        }
        self
    }

    /// The actor's Raft group.
    pub fn group(&self) -> u32 {
        self.live.proof.shard.id()
    }

    /// Runs one call. What it gives back may be released: the writes it rests on are committed, or, if there are none,
    /// this node was confirmed to lead after the call arrived.
    pub async fn call(self, call: ActorCall) -> Result<ActorReply, CallError> {
        let live = self.live.clone();
        let effects = || (live.gate.released(), live.sent.load(Ordering::SeqCst));
        let begun = || (live.storage.last_written(), live.sent.load(Ordering::SeqCst));
        let (arrival, before, begun_before) = (live.gate.mark(), effects(), begun());
        let (result, proven) = live.run(call).await;
        let said = live.gate.mark();
        live.wrote.store(said > arrival, Ordering::Relaxed);
        let released = async {
            live.gate.wait(said).await?;
            if said > arrival {
                // A commit under the instance's epoch proves the leadership as well as a read index does.
                return Ok(());
            }
            let proven = match proven {
                Some(proven) => proven,
                None => live.proof.confirm().await,
            };
            judge(&live.gate, proven)
        };
        let released = match released.await {
            // An instance that was ended meanwhile (destroyed, deposed) says nothing more.
            Ok(()) => live.gate.broken().map_or(Ok(()), Err),
            Err(reason) => Err(reason),
        };
        if let Err(mut reason) = released {
            if reason.outcome == Outcome::NotDone && effects() != before {
                // Other effects of this call may stand.
                if reason.kind == CallErrorKind::Overloaded {
                    reason = error::unavailable(reason.error.message, Outcome::Unknown);
                }
                reason.outcome = Outcome::Unknown;
            } else if matches!(reason.kind, CallErrorKind::Unavailable | CallErrorKind::Overloaded)
                && live.gate.broken().is_some()
                && begun() == begun_before
            {
                // Nothing was written or sent since it came, and from an instance that has ended nothing follows. What
                // others could not write does not keep it from being tried again.
                reason = error::unavailable(reason.error.message, Outcome::NotDone);
            }
            return Err(reason);
        }
        match result? {
            ActorReply::Response(response) => {
                let prove = move || live.clone().prove().boxed();
                Ok(ActorReply::Response(response.map(|body| gated(body, prove, || self.open()))))
            }
            reply => Ok(reply),
        }
    }
}

impl Live {
    /// Runs the call and, unless it is expected to write, confirms the leadership at the same time.
    async fn run(&self, call: ActorCall) -> (Result<ActorReply, CallError>, Option<Result<(), Unproven>>) {
        if self.wrote.load(Ordering::Relaxed) {
            return (self.dispatch(call).await, None);
        }
        let run = self.dispatch(call);
        let proof = self.proof.confirm();
        tokio::pin!(run, proof);
        let mut proven = None;
        loop {
            tokio::select! {
                biased;
                result = &mut run => return (result, proven),
                outcome = &mut proof, if proven.is_none() => proven = Some(outcome),
            }
        }
    }

    /// Waits until what was said so far may leave: it is committed, and this node still led after it was said. An actor
    /// that is destroyed has its last word until it has parted: what it said before, and is committed, may leave.
    async fn prove(self: Arc<Self>) -> Result<(), CallError> {
        let said = self.gate.mark();
        let parts = || !self.parted.load(Ordering::SeqCst) && self.gate.released() >= said;
        let stands = |result: Result<(), CallError>| match result {
            Err(reason) if reason.kind == CallErrorKind::Destroyed && parts() => Ok(()),
            result => result,
        };
        stands(self.gate.wait(said).await)?;
        judge(&self.gate, self.proof.confirm().await)?;
        stands(count(&self.gate, &self.sent))
    }

    async fn dispatch(&self, call: ActorCall) -> Result<ActorReply, CallError> {
        let result = match call {
            ActorCall::Method { method, args } => self.instance.call(&method, args).await.map(ActorReply::Value),
            ActorCall::Fetch(request) => self.instance.fetch(request).await.map(ActorReply::Response),
            ActorCall::Destroy { .. } => {
                return Err(error::internal("destroy is not for the isolate", Outcome::NotDone));
            }
        };
        let error = match result {
            Ok(reply) => return Ok(reply),
            Err(error) => error::from_invocation(error),
        };
        // What broke the gate says more than the reset that followed from it.
        match self.gate.broken() {
            Some(reason) if error.kind == CallErrorKind::Reset => Err(reason),
            _ => Err(error),
        }
    }
}
