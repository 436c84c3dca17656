//! All actors of this node: finds the live instance of an id, or starts one; ends those that are idle, old or destroyed.
//!
//! ```text
//! call ── slot of the id ── none: start one (all callers wait for the same start)
//!              │
//!              ├─ live, of this version: enter its mailbox
//!              ├─ live, of an older version or over: drain it, then start anew
//!              ├─ starting: wait; if it turns out to be of an older version, look again
//!              └─ ending (being destroyed): wait, then ActorDestroyed
//! ```

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use lethe_proto::ActorId;
use lethe_runtime::{
    engine::Engine,
    host::{ActorCall, ActorReply, CallErrorKind, Outcome},
};
use parking_lot::Mutex;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use uuid::Uuid;

use super::{
    ActorRef, Call, Failed, Homes, Place,
    activation::{self, Activation},
    awake::Awake,
    error,
    live::{Entered, Live, Refused},
    release::Releases,
    room::{Made, Room},
};
use crate::{
    clock,
    cluster::Keys,
    deploy::Deployments,
    egress::Fetcher,
    shard::{Applied, Command, ProposeError},
    store::{DestroyReason, Header},
    vault::Owner,
};

/// How long a destruction waits for a start that was under way when it began.
const STARTED_WAIT: Duration = Duration::from_secs(1);

/// Bounds and times of a node's actors.
#[derive(Clone, Debug)]
pub struct Config {
    /// Calls that may be in one actor at a time; one more is refused.
    pub calls_max: usize,
    /// Live actors of the node, if the kernel has mappings for so many. For one more an idle one falls asleep.
    pub live_max: usize,
    /// Resident memory of the process, in percent of what the machine has, from which on an idle actor falls asleep for
    /// each that wakes up.
    pub memory_percent_max: u64,
    /// Live actors that there may be however much memory is used.
    pub live_min: usize,
    /// An actor that does nothing for this long leaves memory.
    pub idle: Duration,
    /// How long calls in flight may run on when their actor's code was replaced.
    pub drain: Duration,
    /// Longest wait of a Worker or actor for another actor's reply.
    pub call_timeout: Duration,
    /// Longest wait for a group that has no leader that this node knows.
    pub leader_timeout: Duration,
    /// How long calls in flight may run on before their group is handed over to another node.
    pub release_wait: Duration,
    /// How long responses that are being sent may take what was written to them before their actor was destroyed.
    pub farewell: Duration,
    /// Most bytes of names and values that one `get` or `list` may give; one that would give more is refused.
    pub read_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            calls_max: 4_096,
            live_max: 20_000,
            memory_percent_max: 75,
            live_min: 64,
            idle: Duration::from_secs(10),
            drain: Duration::from_secs(30),
            call_timeout: Duration::from_secs(120),
            leader_timeout: Duration::from_millis(500),
            release_wait: Duration::from_secs(30),
            farewell: Duration::from_secs(5),
            read_bytes_max: 64 << 20,
        }
    }
}

/// What the actors of a node stand on.
pub struct Deps {
    /// Runs their JavaScript.
    pub engine: Engine,
    /// Where their writes go.
    pub homes: Arc<dyn Homes>,
    /// Their keys.
    pub keys: Keys,
    /// Their code.
    pub deployments: Deployments,
    /// Their way to the internet.
    pub fetcher: Fetcher,
    /// Their way to other actors.
    pub call: Weak<dyn Call>,
}

type Start = Shared<BoxFuture<'static, Result<Arc<Live>, Failed>>>;

/// What is known of an id that is in use. `serial` tells one use from the next.
pub(super) struct Slot {
    pub serial: u64,
    pub start: Start,
    /// The version that served when it began; it starts on this one or a newer one.
    since: Uuid,
}

/// An instance to call.
struct Found {
    start: Start,
    /// Whether it was starting when it was found.
    starting: bool,
    /// Whether it was on its way before the version that serves.
    before: bool,
}

#[derive(Default)]
pub(super) struct Slots {
    pub by_id: HashMap<ActorId, Slot>,
    /// Groups whose leadership is watched, because actors of theirs live here.
    pub watched: HashSet<u32>,
    /// Room that was made for starts.
    pub made: Made,
    serial: u64,
    /// Starts that are under way.
    starting: usize,
    stopping: bool,
}

pub(super) struct Inner {
    pub(super) config: Config,
    room: Room,
    deps: Deps,
    pub(super) slots: Mutex<Slots>,
    pub(super) awake: Arc<Awake>,
    pub(super) releases: Arc<Releases>,
    pub(super) tasks: TaskTracker,
    /// Cancelled with the last handle.
    pub(super) gone: CancellationToken,
    _ends: DropGuard,
}

/// Handle of a node's actors.
#[derive(Clone)]
pub struct Actors {
    pub(super) inner: Arc<Inner>,
}

impl Actors {
    /// Starts with no actor in memory. Idle actors are looked for in the background until the last handle is dropped.
    pub fn start(config: Config, deps: Deps) -> Self {
        let gone = CancellationToken::new();
        let _ends = gone.clone().drop_guard();
        let releases = Releases::new(deps.homes.node(), config.leader_timeout);
        let (slots, tasks) = (Mutex::default(), TaskTracker::new());
        let room = Room::new(&config);
        let awake = Arc::default();
        let inner = Arc::new(Inner { config, room, deps, slots, awake, releases, tasks, gone, _ends });
        inner.tasks.spawn(sweep(Arc::downgrade(&inner)));
        Self { inner }
    }

    /// Calls an actor of a group that this node leads, starting it if need be.
    pub async fn call(&self, to: ActorRef, call: ActorCall, deadline: Instant) -> Result<ActorReply, Failed> {
        if let ActorCall::Destroy { by_operator } = call {
            let reason = if by_operator { DestroyReason::Operator } else { DestroyReason::Caller };
            let destroy = self.destroy(to, reason);
            let done = tokio::time::timeout_at(deadline.into(), destroy).await.map_err(|_| error::deadline())?;
            return done.map(|()| ActorReply::Destroyed);
        }
        let entered = tokio::time::timeout_at(deadline.into(), self.enter(&to)).await;
        let entered = entered.map_err(|_| error::deadline_before_start())??;
        let replied = tokio::time::timeout_at(deadline.into(), entered.call(call)).await;
        Ok(replied.map_err(|_| error::deadline())??)
    }

    /// Takes a place in the mailbox of an actor, which is started if need be.
    async fn enter(&self, to: &ActorRef) -> Result<Entered, Failed> {
        loop {
            let found = self.find(to)?;
            let live = match found.start.await {
                // Code that was replaced before this call came failed, and says nothing to it.
                Err(_) if found.before => continue,
                Err(reason) => return Err(reason),
                Ok(live) if found.starting && live.version != self.inner.serves() => continue,
                Ok(live) => live,
            };
            match live.enter() {
                Ok(entered) => {
                    // Looked at from inside, so that a release either sees the call or is seen by it.
                    if self.inner.releases.refuse(entered.group()).is_ok() {
                        return Ok(entered);
                    }
                    drop(entered);
                    let shard = &live.proof.shard;
                    self.inner.releases.over(shard.id(), shard.leader()).await?;
                }
                Err(Refused::Full(reason)) => return Err(reason.into()),
                Err(Refused::Closed) => tokio::task::yield_now().await,
            }
        }
    }

    /// Destroys an actor: once this returns, nothing it stored can be read, and every later call is refused. Calls that
    /// are in it get `ActorDestroyed`; responses that are being sent get what was written to them before, within
    /// `Config::farewell`. Destroying it again does nothing.
    pub async fn destroy(&self, target: ActorRef, reason: DestroyReason) -> Result<(), Failed> {
        let ending = {
            let mut slots = self.inner.slots.lock();
            self.replace(&mut slots, target.id, |inner, old| async move { end(&inner, old, target, reason).await })
        };
        match ending.await {
            Err(Failed::Call(reason)) if reason.kind == CallErrorKind::Destroyed => Ok(()),
            Err(reason) => Err(reason),
            Ok(_) => Err(error::internal("a destroyed actor started", Outcome::Unknown).into()),
        }
    }

    /// Whether an instance of `id` is in memory.
    pub fn is_live(&self, id: ActorId) -> bool {
        self.inner.slots.lock().by_id.contains_key(&id)
    }

    /// The name an actor's id was made from, if it was told when the actor was created.
    pub async fn name_of(&self, header: &Header) -> Option<String> {
        let owner = Owner { actor: header.actor, incarnation: header.incarnation };
        let shard = self.inner.deps.homes.home(header.actor)?.here?;
        let sealer = self.inner.deps.keys.sealer(&shard, owner).await.ok()?;
        activation::opened_name(header, &sealer)
    }

    /// Ends all actors: calls in flight may finish within the configured grace.
    pub async fn stop(&self) {
        let slots: Vec<Slot> = {
            let mut slots = self.inner.slots.lock();
            slots.stopping = true;
            slots.by_id.drain().map(|(_, slot)| slot).collect()
        };
        let grace = self.inner.config.drain;
        futures::future::join_all(slots.into_iter().map(|slot| async move {
            if let Ok(live) = slot.start.await {
                live.close();
                live.drain(grace).await;
                live.end(error::unavailable("the node is stopping", Outcome::Unknown));
            }
        }))
        .await;
        // Those that made way for others, which did not start any more.
        for (_, live) in self.inner.awake.all() {
            live.end(error::unavailable("the node is stopping", Outcome::Unknown));
        }
    }

    /// The instance to call: the live one, or a new one.
    fn find(&self, to: &ActorRef) -> Result<Found, Failed> {
        let inner = &self.inner;
        let current = inner.serves();
        // Dropped after the lock.
        let asleep;
        let mut slots = inner.slots.lock();
        let usable = |slot: &&Slot| match slot.start.peek() {
            Some(Ok(live)) => !live.is_over() && live.version == current,
            Some(Err(_)) => false,
            None => true,
        };
        let known = slots.by_id.get(&to.id);
        if let Some(slot) = known.filter(usable) {
            let (start, starting) = (slot.start.clone(), slot.start.peek().is_none());
            return Ok(Found { start, starting, before: starting && slot.since != current });
        }
        if slots.stopping {
            return Err(error::unavailable("the node is stopping", Outcome::NotDone).into());
        }
        if known.is_none() {
            let short = inner.room.is_short(slots.starting);
            asleep = inner.room.make(&mut slots, short)?;
            if !asleep.is_empty() {
                tracing::debug!(actors = asleep.len(), "idle actors fall asleep early, to make room");
            }
        }
        let to = to.clone();
        let start = self.replace(&mut slots, to.id, |inner, old| async move { restart(&inner, old, to).await });
        Ok(Found { start, starting: true, before: false })
    }

    /// Puts a new use of `id` in the place of the old one. What it waits for runs on even if no caller waits any more.
    fn replace<F>(&self, slots: &mut Slots, id: ActorId, begin: impl FnOnce(Arc<Inner>, Option<Start>) -> F) -> Start
    where
        F: Future<Output = Result<Arc<Live>, Failed>> + Send + 'static,
    {
        slots.serial += 1;
        slots.starting += 1;
        let serial = slots.serial;
        let since = self.inner.serves();
        let old = slots.by_id.remove(&id).map(|slot| slot.start);
        let work = begin(self.inner.clone(), old);
        let inner = self.inner.clone();
        let task = self.inner.tasks.spawn(async move { inner.settle(id, serial, work.await) });
        let failed = |_| Err(error::internal("starting the actor failed", Outcome::Unknown).into());
        let start = task.map(move |joined| joined.unwrap_or_else(failed)).boxed().shared();
        slots.by_id.insert(id, Slot { serial, start: start.clone(), since });
        start
    }
}

impl Inner {
    /// The version that serves.
    fn serves(&self) -> Uuid {
        self.deps.deployments.current().id()
    }

    /// The end of a start: it stays only if it succeeded, nothing has taken its place, and this node may still host it.
    fn settle(
        self: &Arc<Self>,
        id: ActorId,
        serial: u64,
        result: Result<Arc<Live>, Failed>,
    ) -> Result<Arc<Live>, Failed> {
        let result = result.and_then(|live| self.admit(id, live));
        let left = if result.is_err() { self.instances(id) } else { Vec::new() };
        let mut slots = self.slots.lock();
        slots.starting = slots.starting.saturating_sub(1);
        let in_place = slots.by_id.get(&id).is_some_and(|slot| slot.serial == serial);
        if in_place && result.is_err() {
            slots.by_id.remove(&id);
            // It was to make way for something that did not come to be.
            if let Some(live) = left.into_iter().find(|live| !live.is_over()) {
                slots.by_id.insert(id, Slot { serial, since: live.version, start: started(live) });
            }
        }
        let live = result?;
        if in_place {
            return Ok(live);
        }
        let reason = error::unavailable("the actor ended while it started; call again", Outcome::NotDone);
        live.end(reason.clone());
        Err(reason.into())
    }

    /// Ends an instance whose group was lost or released while it started.
    fn admit(self: &Arc<Self>, id: ActorId, live: Arc<Live>) -> Result<Arc<Live>, Failed> {
        let shard = &live.proof.shard;
        // Known and watched before it is looked at, so that no release and no change is missed in between.
        self.awake.enter(id, &live);
        self.watch(shard);
        let lost = *shard.leadership().borrow() != Some(live.proof.epoch);
        let leader = *shard.leader().borrow();
        let refused = if lost { Err(Failed::NotLeader { leader }) } else { self.releases.refuse(shard.id()) };
        refused.inspect_err(|failed| live.end(failed.clone().into()))?;
        Ok(live)
    }

    /// Takes an instance's slot away, if it has one.
    pub(super) fn forget(&self, id: ActorId, live: &Arc<Live>) {
        let mut slots = self.slots.lock();
        let is_its = |slot: &Slot| matches!(slot.start.peek(), Some(Ok(known)) if Arc::ptr_eq(known, live));
        if slots.by_id.get(&id).is_some_and(is_its) {
            slots.by_id.remove(&id);
        }
    }

    /// All instances of an actor that live here. More than one do only while the older ones end.
    fn instances(&self, id: ActorId) -> Vec<Arc<Live>> {
        let group = self.deps.homes.home(id).map(|home| home.group);
        group.map(|group| self.awake.of_actor(group, id)).unwrap_or_default()
    }

    fn activation(self: &Arc<Self>) -> Activation<'_> {
        let weak = Arc::downgrade(self);
        let destroy = move |me: ActorRef| {
            let inner = weak.upgrade();
            async move {
                let inner = inner.ok_or_else(|| error::unavailable("the node is stopping", Outcome::NotDone))?;
                Ok(Actors { inner }.destroy(me, DestroyReason::Itself).await?)
            }
            .boxed()
        };
        Activation { config: &self.config, deps: &self.deps, releases: &self.releases, destroy: Arc::new(destroy) }
    }
}

/// A start that is through.
fn started(live: Arc<Live>) -> Start {
    let start = futures::future::ready(Ok(live)).boxed().shared();
    // Whoever peeks sees it only when it was asked once.
    let _ = start.clone().now_or_never();
    start
}

/// Starts an instance after whatever lives of the actor has ended.
async fn restart(inner: &Arc<Inner>, old: Option<Start>, to: ActorRef) -> Result<Arc<Live>, Failed> {
    if let Some(old) = old {
        // A start that is under way ends itself when it finds its place taken.
        let _ = old.await;
    }
    let left = inner.instances(to.id);
    left.iter().for_each(|live| live.close());
    futures::future::join_all(left.iter().map(|live| live.drain(inner.config.drain))).await;
    for live in left {
        live.end(error::unavailable("the instance was replaced", Outcome::Unknown));
    }
    activation::start(&inner.activation(), to).await
}

/// Destroys, then ends what lives of the actor. Never gives an instance: `ActorDestroyed` is its success. If surely nothing was
/// destroyed, the instance lives on.
async fn end(
    inner: &Arc<Inner>,
    old: Option<Start>,
    target: ActorRef,
    reason: DestroyReason,
) -> Result<Arc<Live>, Failed> {
    let id = target.id;
    let (failed, over) = match destroy(inner, target, reason).await {
        Ok(()) => (error::destroyed(Outcome::NotDone).into(), error::destroyed(Outcome::Unknown)),
        Err(failed) if failed.is_not_done() => return Err(failed),
        // An actor that may be destroyed says nothing more; its next start finds out.
        Err(failed) => {
            let over = error::unavailable("the actor was ended, because it may be destroyed", Outcome::Unknown);
            (failed, over)
        }
    };
    // A start still under way ends itself when it finds its place taken; one that is through is here at once.
    if let Some(old) = old {
        let _ = tokio::time::timeout(STARTED_WAIT, old).await;
    }
    let ending = inner.instances(id).into_iter().map(|live| {
        let over = over.clone();
        // Whoever is not surely destroyed has no last word.
        let moment = if over.kind == CallErrorKind::Destroyed { inner.config.farewell } else { Duration::ZERO };
        async move { live.part(over, moment).await }
    });
    futures::future::join_all(ending).await;
    Err(failed)
}

/// Proposes the destruction and waits until it is applied.
async fn destroy(inner: &Arc<Inner>, target: ActorRef, reason: DestroyReason) -> Result<(), Failed> {
    let shard = activation::home(&*inner.deps.homes, target.id)?;
    inner.releases.over(shard.id(), shard.leader()).await?;
    let epoch = activation::lead(&inner.deps, &shard, inner.config.leader_timeout).await?;
    let command = Command::Destroy { actor: target.id, expected: None, destroyed_at_ms: clock::now_ms(), reason };
    let failed = match shard.propose(epoch, command).await {
        Ok(Applied::Destroyed { .. }) => return Ok(()),
        Ok(other) => error::internal(format!("destroy was answered with {other:?}"), Outcome::NotDone),
        Err(ProposeError::NotDone(reason)) => return Err(reason.into()),
        Err(ProposeError::Unknown(reason)) => error::unavailable(reason, Outcome::Unknown),
    };
    Err(failed.into())
}

/// Looks for instances that are over or idle, until the node's actors are dropped.
async fn sweep(inner: Weak<Inner>) {
    loop {
        let Some(idle) = inner.upgrade().map(|inner| inner.config.idle) else { return };
        tokio::time::sleep((idle / 4).clamp(Duration::from_millis(10), Duration::from_secs(1))).await;
        let Some(inner) = inner.upgrade() else { return };
        for (id, live) in inner.live() {
            if live.is_over() || live.close_if_idle(idle) {
                inner.forget(id, &live);
            }
        }
    }
}

impl Place for Actors {
    fn attempt(
        &self,
        to: ActorRef,
        call: ActorCall,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<ActorReply, Failed>> {
        let actors = self.clone();
        Box::pin(async move { actors.call(to, call, deadline).await })
    }
}
