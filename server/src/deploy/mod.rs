//! Projects and versions: reads a Workers project, compiles it, and says which version serves.
//!
//! ```text
//! Project::load(dir) ── configuration, checked, with warnings
//!    └─ project.source() ── modules found by following imports ──> runtime::program::Source
//! ```

mod bundle;
mod config;
mod error;
mod ids;
mod imports;
mod namespaces;
mod project;
mod rules;
mod secrets;
mod version;
mod watcher;

pub(crate) use self::config::closest;
pub use self::{
    config::{ActorBinding, Config, Egress, Migration},
    error::{Error, Position, Warning},
    ids::{IdError, Ids, NAME_BYTES_MAX},
    namespaces::{Namespace, Namespaces},
    project::Project,
    rules::{ModuleKind, Rule},
    version::{Deployments, NameError, Version},
    watcher::{WatchError, Watcher},
};
