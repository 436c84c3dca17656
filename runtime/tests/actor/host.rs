//! A fake world for actors: storage in memory, outbound requests that answer themselves, calls that reach real instances.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use futures::future::BoxFuture;
use lethe_runtime::{
    body::Body,
    engine::{ActorStart, Engine, Instance, InvocationError, Program},
    host::{
        ActorAddress, ActorCall, ActorReply, CallError, CallErrorKind, Host, IdSource, JsError, LogLine, Outcome,
        Payload, Storage,
    },
};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::{hold::Holds, storage::FakeStorage};

/// All actors of one test, and what they printed.
pub struct World {
    pub engine: Engine,
    pub program: Arc<Program>,
    pub holds: Holds,
    log: Mutex<Vec<String>>,
    actors: Mutex<HashMap<String, Arc<Actor>>>,
    destroyed: Mutex<Vec<String>>,
    /// Every actor call in the order the runtime handed it over: `id method`.
    calls: Mutex<Vec<String>>,
    this: Weak<World>,
}

/// One actor of a world: its storage, and its instance once there is one.
pub struct Actor {
    pub storage: Arc<FakeStorage>,
    instance: OnceCell<Instance>,
}

impl World {
    pub fn new(engine: Engine, program: Arc<Program>) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            engine,
            program,
            holds: Holds::default(),
            log: Mutex::default(),
            actors: Mutex::default(),
            destroyed: Mutex::default(),
            calls: Mutex::default(),
            this: this.clone(),
        })
    }

    /// The actor of this name; made when it is first asked for.
    pub fn actor(&self, id: &str) -> Arc<Actor> {
        let fresh =
            || Arc::new(Actor { storage: Arc::new(FakeStorage::new(self.holds.clone())), instance: OnceCell::new() });
        self.actors.lock().entry(id.into()).or_insert_with(fresh).clone()
    }

    /// Starts an actor of `class`, or gives the one that runs.
    pub async fn start(&self, class: &str, id: &str) -> Result<Instance, InvocationError> {
        if self.actor(id).instance.get().is_some_and(|instance| instance.broken().is_some()) {
            self.evict(id);
        }
        let actor = self.actor(id);
        let host =
            Arc::new(FakeHost { world: self.this.clone(), id: Some(id.into()), storage: Some(actor.storage.clone()) });
        let start = ActorStart { class_name: class.into(), id: id.into(), name: name_of(id) };
        let made = actor.instance.get_or_try_init(|| self.engine.instantiate(&self.program, start, host)).await;
        made.cloned()
    }

    /// Forgets the running instance of an actor, so that the next call starts a new one over the same storage.
    pub fn evict(&self, id: &str) {
        let storage = self.actor(id).storage.clone();
        self.actors.lock().insert(id.into(), Arc::new(Actor { storage, instance: OnceCell::new() }));
    }

    /// The door of a Worker's isolate.
    pub fn worker(&self) -> Arc<FakeHost> {
        Arc::new(FakeHost { world: self.this.clone(), id: None, storage: None })
    }

    /// Lines printed so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().clone()
    }

    /// Actor calls handed over so far.
    pub fn calls(&self) -> Vec<String> {
        self.calls.lock().clone()
    }

    /// Echoes arguments, when the test lets it.
    fn outside(&self, call: ActorCall) -> BoxFuture<'static, Result<ActorReply, CallError>> {
        let ActorCall::Method { args: Payload::V8(args), .. } = call else { panic!("outside has methods only") };
        // The path is the last thing in the serialized arguments that looks like one.
        let text = String::from_utf8_lossy(&args);
        let path: String = text[text.rfind('/').expect("a path")..]
            .chars()
            .take_while(|c| c.is_ascii_graphic() && *c != '$')
            .collect();
        self.holds.pass(&format!("outside {path}"), Ok(ActorReply::Value(Payload::V8(args))))
    }

    async fn call(self: Arc<Self>, class: String, to: ActorAddress, call: ActorCall) -> Result<ActorReply, CallError> {
        if self.destroyed.lock().contains(&to.id) {
            return Err(failure(
                CallErrorKind::Destroyed,
                "ActorDestroyed",
                "the actor was destroyed",
                Outcome::NotDone,
            ));
        }
        if let ActorCall::Destroy { .. } = call {
            self.destroyed.lock().push(to.id);
            return Ok(ActorReply::Destroyed);
        }
        let instance = self.start(&class, &to.id).await.map_err(call_error)?;
        match call {
            ActorCall::Method { method, args } => instance.call(&method, args).await.map(ActorReply::Value),
            ActorCall::Fetch(request) => instance.fetch(request).await.map(ActorReply::Response),
            ActorCall::Destroy { .. } => unreachable!("handled above"),
        }
        .map_err(call_error)
    }
}

fn failure(kind: CallErrorKind, name: &str, message: &str, outcome: Outcome) -> CallError {
    CallError { kind, error: JsError { name: name.into(), message: message.into(), stack: String::new() }, outcome }
}

fn call_error(error: InvocationError) -> CallError {
    match error {
        InvocationError::Exception(error) => {
            CallError { kind: CallErrorKind::Exception, error, outcome: Outcome::Done }
        }
        InvocationError::NoHandler(text) => failure(CallErrorKind::InvalidTarget, "TypeError", &text, Outcome::NotDone),
        InvocationError::Limit(limit) => {
            failure(CallErrorKind::Limit, "LimitExceeded", &limit.to_string(), Outcome::Unknown)
        }
        InvocationError::Aborted(text) => failure(CallErrorKind::Reset, "ActorReset", &text, Outcome::Unknown),
        InvocationError::Overloaded(text) => failure(CallErrorKind::Overloaded, "Overloaded", &text, Outcome::NotDone),
    }
}

/// Ids of the fake: the name in hex, filled up with zeros; `ff` in front marks one without a name.
pub fn id_of(name: &str) -> String {
    let hex: String = name.bytes().take(32).map(|byte| format!("{byte:02x}")).collect();
    format!("{hex:0<64}")
}

fn name_of(id: &str) -> Option<String> {
    let bytes: Vec<u8> = (0..32).map_while(|i| u8::from_str_radix(&id[2 * i..2 * i + 2], 16).ok()).collect();
    let name = String::from_utf8(bytes).ok()?;
    Some(name.trim_end_matches('\0').to_owned()).filter(|name| !name.is_empty())
}

/// What one isolate sees of a world.
pub struct FakeHost {
    world: Weak<World>,
    id: Option<String>,
    storage: Option<Arc<FakeStorage>>,
}

impl FakeHost {
    fn world(&self) -> Arc<World> {
        self.world.upgrade().expect("a test keeps its world while isolates run")
    }
}

impl Host for FakeHost {
    fn actor_id(&self, binding: &str, source: IdSource) -> Result<String, String> {
        match source {
            IdSource::Name(name) => Ok(id_of(&name)),
            IdSource::Unique => Ok(format!("ff{:062x}", self.world().calls().len())),
            IdSource::Hex(hex) if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                Err(format!("an actor id is 64 hex digits, got {hex:?}"))
            }
            IdSource::Hex(hex) if hex.starts_with("ee") => {
                Err(format!("the id {hex} is not of the namespace {binding}"))
            }
            IdSource::Hex(hex) => Ok(hex),
        }
    }

    fn call_actor(&self, to: ActorAddress, call: ActorCall) -> BoxFuture<'static, Result<ActorReply, CallError>> {
        let world = self.world();
        if to.binding == "OUTSIDE" {
            return world.outside(call);
        }
        let what = match &call {
            ActorCall::Method { method, .. } => method.clone(),
            ActorCall::Fetch(request) => format!("{} {}", request.method(), request.uri()),
            ActorCall::Destroy { .. } => "destroy".into(),
        };
        world.calls.lock().push(format!("{} {what}", name_of(&to.id).unwrap_or_default()));
        let held = world.holds.pass(&format!("call {what}"), ());
        let class = to.binding.clone();
        Box::pin(async move {
            held.await;
            // A real host waits for things of tokio here, which make a task that did much wait for its next turn.
            tokio::task::consume_budget().await;
            world.call(class, to, call).await
        })
    }

    fn fetch(&self, _: http::Request<Body>) -> BoxFuture<'static, Result<http::Response<Body>, String>> {
        Box::pin(async { Err("nothing answers here".into()) })
    }

    fn log(&self, line: LogLine) {
        let world = self.world();
        world.log.lock().push(if line.level == "log" { line.text } else { format!("[{}] {}", line.level, line.text) });
    }

    fn storage(&self) -> Option<&dyn Storage> {
        self.storage.as_deref().map(|storage| storage as &dyn Storage)
    }

    fn turn_ended(&self) {
        if let Some(storage) = &self.storage {
            storage.turn_ended();
        }
    }

    fn destroy_self(&self) -> BoxFuture<'static, Result<(), CallError>> {
        let id = self.id.clone().expect("a Worker has no ctx.destroy");
        self.world().destroyed.lock().push(id);
        self.world().holds.pass("destroy", Ok(()))
    }

    fn aborted(&self, reason: &str) {
        self.world().log.lock().push(format!("[aborted] {reason}"));
    }
}
