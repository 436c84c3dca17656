//! What a worker is made of: modules, limits, bindings. A `Source` is what a deploy hands over.

use std::{
    collections::BTreeMap,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use bytes::Bytes;

use crate::script::Script;

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

/// A compiled worker: its modules, their V8 code cache, its limits. Shared by all its isolates.
pub struct Program {
    pub(crate) name: String,
    pub(crate) main: String,
    pub(crate) modules: BTreeMap<String, Code>,
    /// Plain values of `env` as one JSON object.
    pub(crate) vars: Option<String>,
    /// Actor namespaces of `env`: binding and class.
    pub(crate) namespaces: Vec<(String, String)>,
    pub(crate) limits: Limits,
    pub(crate) actor_classes: Vec<String>,
    /// Requests that ran to their end.
    requests: AtomicU32,
}

/// After which requests the code cache is made anew: it then has the functions that requests use, too.
const WARM_AT: [u32; 2] = [1, 10];

/// A module in the form isolates load it from.
pub(crate) enum Code {
    /// See [`Module::Es`].
    Es(Script),
    /// See [`Module::Text`].
    Text(String),
    /// See [`Module::Data`].
    Data(Bytes),
    /// See [`Module::Json`].
    Json(String),
    /// Bytes and, once an isolate compiled them, the module that all isolates share.
    Wasm { bytes: Bytes, compiled: OnceLock<v8::CompiledWasmModule> },
}

impl Program {
    /// Names of exported classes that extend `DurableObject`.
    pub fn actor_classes(&self) -> Vec<String> {
        self.actor_classes.clone()
    }

    /// Counts a request; whether the code cache should be made anew from its isolate.
    pub(crate) fn count_request(&self) -> bool {
        WARM_AT.contains(&self.requests.fetch_add(1, Ordering::Relaxed).wrapping_add(1))
    }

    /// The program before its modules were compiled.
    pub(crate) fn uncompiled(source: Source) -> Self {
        let mut vars = serde_json::Map::new();
        let mut namespaces = Vec::new();
        for (name, binding) in source.env {
            match binding {
                Binding::Json(value) => {
                    vars.insert(name, value);
                }
                Binding::ActorNamespace { class_name } => namespaces.push((name, class_name)),
            }
        }
        let code = |module| match module {
            Module::Es(source) => Code::Es(Script::new(&source)),
            Module::Text(text) => Code::Text(text),
            Module::Data(bytes) => Code::Data(bytes),
            Module::Json(text) => Code::Json(text),
            Module::Wasm(bytes) => Code::Wasm { bytes, compiled: OnceLock::new() },
        };
        Self {
            name: source.name,
            main: source.main,
            modules: source.modules.into_iter().map(|(path, module)| (path, code(module))).collect(),
            vars: (!vars.is_empty()).then(|| serde_json::Value::Object(vars).to_string()),
            namespaces,
            limits: source.limits,
            actor_classes: Vec::new(),
            requests: AtomicU32::new(0),
        }
    }
}
