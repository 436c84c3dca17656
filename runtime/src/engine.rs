//! The engine: threads that run JavaScript, isolates made ahead, and the ways to run a program.

use std::sync::Arc;

use crate::{
    body::Body,
    host::{Host, JsError, Payload},
    program::Source,
};

/// Sizes of an engine.
#[derive(Clone, Debug)]
pub struct Config {
    /// Turns that may run at the same time; a turn that would be one more waits.
    pub threads_max: usize,
    /// Pristine isolates kept ready.
    pub pristine: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { threads_max: 128, pristine: 8 }
    }
}

/// Why a worker could not be compiled: text for the person who wrote it, with file, line and caret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CompileError(pub String);

/// A limit of [`crate::program::Limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Limit {
    /// `limits.cpu_ms`
    #[error("exceeded CPU")]
    Cpu,
    /// `limits.memory_mb`
    #[error("exceeded memory")]
    Memory,
    /// `limits.wall_ms`
    #[error("exceeded wall time")]
    Wall,
}

/// Why an invocation gave no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvocationError {
    /// The handler threw, or its promise was rejected.
    #[error("{0}")]
    Exception(JsError),
    /// A limit was exceeded; the isolate is gone.
    #[error("{0}")]
    Limit(Limit),
    /// `ctx.abort(reason)`, a failed `blockConcurrencyWhile`, or [`Instance::abort`]; the isolate is gone.
    #[error("the actor was reset: {0}")]
    Aborted(String),
    /// The worker has no such handler, entrypoint, class or method.
    #[error("{0}")]
    NoHandler(String),
    /// All isolates or threads are taken; nothing ran.
    #[error("overloaded: {0}")]
    Overloaded(String),
}

/// A compiled worker: its modules, their V8 code cache, its limits. Shared by all its isolates.
pub struct Program {}

/// Handle of a running engine. One per process: V8 is initialized once.
#[derive(Clone)]
pub struct Engine {}

/// Which actor an instance is.
#[derive(Clone, Debug)]
pub struct ActorStart {
    /// Exported class.
    pub class_name: String,
    /// The actor's id, 64 lower-case hex digits.
    pub id: String,
    /// The name the id was made from, if known.
    pub name: Option<String>,
}

/// A live actor: one isolate. Calls may overlap; the input gate decides what enters. Dropping the last clone destroys it.
#[derive(Clone)]
pub struct Instance {}

impl Engine {
    /// Initializes V8 and starts the threads. Must be called inside a tokio runtime.
    pub fn start(_config: Config) -> Self {
        unimplemented!()
    }
    /// Compiles a worker and keeps its code cache. Top-level code runs once, to find exports and early errors.
    pub async fn compile(&self, _source: Source) -> Result<Arc<Program>, CompileError> {
        unimplemented!()
    }
    /// Runs the worker's `fetch` handler in an isolate that never saw a request and dies after this one.
    pub async fn fetch(
        &self,
        _program: &Arc<Program>,
        _entrypoint: Option<&str>,
        _request: http::Request<Body>,
        _host: Arc<dyn Host>,
    ) -> Result<http::Response<Body>, InvocationError> {
        unimplemented!()
    }
    /// Runs the worker's `scheduled` handler.
    pub async fn scheduled(
        &self,
        _program: &Arc<Program>,
        _cron: &str,
        _scheduled_time_ms: u64,
        _host: Arc<dyn Host>,
    ) -> Result<(), InvocationError> {
        unimplemented!()
    }
    /// Makes an actor's isolate and runs its constructor.
    pub async fn instantiate(
        &self,
        _program: &Arc<Program>,
        _start: ActorStart,
        _host: Arc<dyn Host>,
    ) -> Result<Instance, InvocationError> {
        unimplemented!()
    }
}

impl Program {
    /// Names of exported classes that extend `DurableObject`.
    pub fn actor_classes(&self) -> Vec<String> {
        unimplemented!()
    }
}

impl Instance {
    /// Calls a method.
    pub async fn call(&self, _method: &str, _args: Payload) -> Result<Payload, InvocationError> {
        unimplemented!()
    }
    /// Runs the `fetch` handler.
    pub async fn fetch(&self, _request: http::Request<Body>) -> Result<http::Response<Body>, InvocationError> {
        unimplemented!()
    }
    /// Why this instance can take no more calls; `None` while it can.
    pub fn broken(&self) -> Option<InvocationError> {
        unimplemented!()
    }
    /// Ends the isolate now, whatever it is doing. Calls in flight get [`InvocationError::Aborted`].
    pub fn abort(&self, _reason: &str) {
        unimplemented!()
    }
    /// Whether nothing is going on: no call, no `waitUntil`, no timer, no pending host call.
    pub fn is_idle(&self) -> bool {
        unimplemented!()
    }
}
