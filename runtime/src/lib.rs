//! Lethe's JavaScript runtime: isolates, event loop, Web and Workers APIs. It knows no cluster.
//!
//! ```text
//! Engine::start(config) ── compile(Source) ──> Arc<Program>
//!    │                                            │
//!    ├── engine.fetch(&program, request, host)    │   one Worker request: a fresh isolate, destroyed after it
//!    └── engine.instantiate(&program, actor, host)┘   one actor: an isolate that lives until it is dropped
//! ```

pub mod body;
pub mod engine;
pub mod host;
#[doc(hidden)]
pub mod measure;
pub mod program;

mod allocator;
mod bodies;
mod builtins;
mod compile;
mod driver;
mod error;
mod footprint;
mod gate;
mod instance;
mod invocation;
mod isolate;
mod job_queue;
mod js;
mod kill;
mod mappings;
mod memory;
mod modules;
mod ops;
mod page_pool;
mod pending;
mod platform;
mod pool;
mod quotas;
mod script;
mod state;
mod tasks;
mod threads;
mod timers;
mod turn;
mod v8_flags;
mod watchdog;
