//! Versions: a compiled worker with its bindings, and which one serves now.
//!
//! A request or an actor instance pins the `Arc<Version>` it began with; a deploy swaps the current one and tells who
//! watches, so nothing in flight sees two versions.

use std::{collections::HashMap, sync::Arc};

use lethe_proto::ActorId;
use lethe_runtime::{engine::Program, host::IdSource};
use tokio::sync::watch;
use uuid::Uuid;

use super::{
    ids::{IdError, Ids},
    namespaces::{Namespace, Namespaces},
};
use crate::{cluster::Stale, egress::Policy};

#[cfg(test)]
mod tests;

/// One deployed version of a worker.
pub struct Version {
    id: Uuid,
    name: String,
    program: Arc<Program>,
    namespaces: Namespaces,
    /// By namespace name.
    ids: HashMap<String, Ids>,
    egress: Policy,
}

/// Why an actor cannot be named.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The worker has no actor namespace under this binding.
    #[error("no actor namespace is bound as {0:?}")]
    UnknownBinding(String),
    /// The worker has no such namespace any more.
    #[error("version {version} of the worker has no actor namespace {namespace:?}")]
    UnknownNamespace {
        /// `script/Class`
        namespace: String,
        /// The version asked.
        version: Uuid,
    },
    /// The id or name is not valid here.
    #[error(transparent)]
    Id(#[from] IdError),
}

impl Version {
    /// A version of a worker that compiled.
    pub fn new(name: String, program: Arc<Program>, namespaces: Namespaces, egress: Policy) -> Self {
        let ids = namespaces.iter().map(|namespace| (namespace.name.clone(), Ids::new(&namespace.unique_key)));
        Self { id: Uuid::now_v7(), name, program, ids: ids.collect(), namespaces, egress }
    }

    /// The same under the identity that the cluster knows it by.
    pub fn identified(self, id: Uuid) -> Self {
        Self { id, ..self }
    }

    /// Identity of this version; later versions compare greater.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// The worker's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The compiled code.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// All actor namespaces.
    pub fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// What its `fetch` may reach beyond public addresses.
    pub fn egress(&self) -> &Policy {
        &self.egress
    }

    /// The namespace a binding stands for.
    pub fn namespace(&self, binding: &str) -> Result<&Namespace, NameError> {
        self.namespaces.by_binding(binding).ok_or_else(|| NameError::UnknownBinding(binding.into()))
    }

    /// The class that implements the namespace `script/Class`.
    pub fn class_of(&self, namespace: &str) -> Result<&str, NameError> {
        let known = self.namespaces.iter().find(|known| known.name == namespace);
        known.map(|known| known.class_name.as_str()).ok_or_else(|| self.unknown(namespace))
    }

    /// Checks or makes an id of the namespace `script/Class`.
    pub fn actor_id(&self, namespace: &str, source: &IdSource) -> Result<ActorId, NameError> {
        let ids = self.ids.get(namespace).ok_or_else(|| self.unknown(namespace))?;
        Ok(match source {
            IdSource::Name(name) => ids.from_name(name)?,
            IdSource::Unique => ids.unique()?,
            IdSource::Hex(text) => ids.from_hex(text)?,
        })
    }

    fn unknown(&self, namespace: &str) -> NameError {
        NameError::UnknownNamespace { namespace: namespace.into(), version: self.id }
    }
}

/// Says whether the node may start anything new: whether it acts on all that was acknowledged.
type Fresh = Arc<dyn Fn() -> Result<(), Stale> + Send + Sync>;

/// The version that serves, of the one worker a node has.
#[derive(Clone)]
pub struct Deployments {
    current: Arc<watch::Sender<Arc<Version>>>,
    fresh: Fresh,
}

impl Deployments {
    /// Starts with a first version.
    pub fn new(first: Version) -> Self {
        Self { current: Arc::new(watch::Sender::new(Arc::new(first))), fresh: Arc::new(|| Ok(())) }
    }

    /// The same, where others may deploy: nothing starts unless `fresh` says so.
    pub fn while_fresh(self, fresh: impl Fn() -> Result<(), Stale> + Send + Sync + 'static) -> Self {
        Self { fresh: Arc::new(fresh), ..self }
    }

    /// The version for a request or an instance that starts now. It was pinned before any newer one was acknowledged.
    ///
    /// That needs this order. A node that is fresh acts on all that was acknowledged before it is asked; so if a newer
    /// version was, it is the current one by then, and the version pinned before does not pass for it.
    pub fn pin(&self) -> Result<Arc<Version>, Stale> {
        loop {
            let pinned = self.current();
            (self.fresh)()?;
            if Arc::ptr_eq(&pinned, &self.current.borrow()) {
                return Ok(pinned);
            }
        }
    }

    /// The version that serves, as far as this node knows. What starts something asks `pin` instead.
    pub fn current(&self) -> Arc<Version> {
        self.current.borrow().clone()
    }

    /// Makes `next` the current version. Requests in flight finish on theirs.
    pub fn replace(&self, next: Version) {
        self.current.send_replace(Arc::new(next));
    }

    /// Tells of every replacement.
    pub fn watch(&self) -> watch::Receiver<Arc<Version>> {
        self.current.subscribe()
    }
}
