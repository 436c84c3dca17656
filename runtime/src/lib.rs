//! Lethe's JavaScript runtime: isolates, event loop, Web and Workers APIs. It knows no cluster.
//!
//! ```text
//! Engine::start(config) ── compile(Source) ──> Arc<Program>
//!    │                                            │
//!    ├── engine.serve(&program, Event, host)      │   one Worker request: a fresh isolate, destroyed after it
//!    └── engine.instantiate(&program, actor, host)┘   one actor: an isolate that lives until it is dropped
//! ```

pub mod body;
pub mod engine;
pub mod gate;
pub mod host;
pub mod program;
