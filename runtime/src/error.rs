//! Why a worker could not be compiled, or an invocation gave no result.

use crate::host::JsError;

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
    /// `ctx.abort(reason)`, a failed `blockConcurrencyWhile`, or [`crate::engine::Instance::abort`]; the isolate is gone.
    #[error("the actor was reset: {0}")]
    Aborted(String),
    /// The worker has no such handler, entrypoint, class or method.
    #[error("{0}")]
    NoHandler(String),
    /// All isolates or threads are taken; nothing ran.
    #[error("overloaded: {0}")]
    Overloaded(String),
}

impl InvocationError {
    /// An exception the runtime itself raises on behalf of the worker.
    pub(crate) fn exception(message: &str) -> Self {
        Self::Exception(JsError { name: "Error".into(), message: message.into(), stack: String::new() })
    }
}
