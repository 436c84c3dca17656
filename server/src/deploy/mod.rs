//! Projects and versions: reads a Workers project, compiles it, and says which version serves.
//!
//! ```text
//! Project::load(dir) ── configuration, checked, with warnings
//!    ├─ project.source() ── modules found by following imports ──> runtime::program::Source     lethe dev
//!    └─ Package ── Releases::deploy ── registry ──> the same Source on every node                lethe deploy
//! ```

mod build;
mod bundle;
mod config;
mod error;
mod follow;
mod ids;
mod imports;
mod namespaces;
mod package;
mod project;
mod records;
mod releases;
mod rules;
mod secrets;
mod version;
mod watcher;

pub(crate) use self::config::closest;
pub use self::{
    build::{BuildError, build},
    config::{ActorBinding, Config, Egress, Migration},
    error::{Error, Position, Warning},
    ids::{IdError, Ids, NAME_BYTES_MAX},
    namespaces::{Namespace, Namespaces},
    package::{PACKAGE_BYTES_MAX, Package},
    project::Project,
    records::Manifest,
    releases::{ReleaseError, Released, Releases, VERSIONS_KEPT},
    rules::{ModuleKind, Rule},
    version::{Deployments, NameError, Version},
    watcher::{WatchError, Watcher},
};
