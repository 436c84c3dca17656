//! What a worker is made of: modules, limits, bindings. A `Source` is what a deploy hands over.

use std::collections::BTreeMap;

use bytes::Bytes;

/// One module of a worker, named by its path relative to the project's root (`src/index.js`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Module {
    /// An ES module.
    Es(String),
    /// Exports its text as `default`.
    Text(String),
    /// Exports an `ArrayBuffer` as `default`.
    Data(Bytes),
    /// Exports the parsed value as `default`.
    Json(String),
    /// Exports a `WebAssembly.Module` as `default`.
    Wasm(Bytes),
}

/// What a name in `env` stands for.
#[derive(Clone, Debug, PartialEq)]
pub enum Binding {
    /// A plain JSON value (`vars`).
    Json(serde_json::Value),
    /// An actor namespace; the binding's name is what `Host` methods get.
    ActorNamespace {
        /// The exported class that implements it.
        class_name: String,
    },
}

/// What one invocation may use. Exceeding a limit ends its isolate, with an error that names the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// CPU time of one invocation, milliseconds.
    pub cpu_ms: u64,
    /// JavaScript heap and array buffers together, MiB.
    pub memory_mb: u64,
    /// Wall time of one invocation, milliseconds; `None` is no limit.
    pub wall_ms: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { cpu_ms: 30_000, memory_mb: 128, wall_ms: None }
    }
}

/// Everything needed to compile a worker.
#[derive(Clone, Debug)]
pub struct Source {
    /// The worker's name, used in logs and errors.
    pub name: String,
    /// Path of the entry module among `modules`.
    pub main: String,
    /// All modules by path. Relative imports are resolved against the importer's path.
    pub modules: BTreeMap<String, Module>,
    /// `env`.
    pub env: BTreeMap<String, Binding>,
    /// Limits of each invocation.
    pub limits: Limits,
}
