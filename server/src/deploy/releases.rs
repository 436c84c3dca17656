//! `Releases`: versions of the cluster's worker. One is deployed on any node and then serves on all.
//!
//! ```text
//! deploy(package) ── compile, check ── chunks ── compare and set `deploy/current` ── wait for all nodes ──> acknowledged
//! every node      ── follows the registry ── reads the chunks ── compiles ── swaps ── then it acts on that revision
//! ```
//!
//! Once a deploy is acknowledged no node starts a request or an instance on older code: every member either acts on the
//! registry's revision, or its lease ran out and it starts nothing. A version that does not compile, or that contradicts
//! what the actors' history says, changes nothing. Whoever loses a race is told so.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use lethe_runtime::engine::Engine;
use parking_lot::Mutex;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use super::{
    BuildError, Deployments, Package, Version, build, follow,
    records::{self, Current, Manifest},
};
use crate::{
    clock,
    cluster::{self, Cluster, WriteError},
    shard::{Expect, RegistryOp},
};

#[cfg(test)]
mod tests;

/// Versions that are kept, the one that serves among them.
pub const VERSIONS_KEPT: usize = 5;
/// How long reading what is newest may take.
const CONFIRM: Duration = Duration::from_secs(5);

/// Handle of the cluster's versions.
#[derive(Clone)]
pub struct Releases {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub cluster: Cluster,
    pub engine: Engine,
    pub deployments: Deployments,
    /// What was compiled here to be deployed, so that it need not be compiled again when it is.
    pub compiled: Mutex<Option<Version>>,
    pub stop: CancellationToken,
    pub tasks: TaskTracker,
    /// One deploy at a time on one node.
    turn: tokio::sync::Mutex<()>,
}

/// A version that serves on every node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// The version.
    pub manifest: Manifest,
    /// The registry's revision that says so.
    pub revision: u64,
    /// What is odd about the project.
    pub warnings: Vec<String>,
}

/// Why nothing was deployed, unless it says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The project is wrong.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// Actors would not find what they stored.
    #[error("{0}")]
    Contradiction(String),
    /// There is no such version, or not any more.
    #[error("there is no version {0}; the last {VERSIONS_KEPT} are kept")]
    NoSuchVersion(Uuid),
    /// Somebody else deployed at the same time.
    #[error("another version was deployed at the same time; look at it, and deploy again")]
    Race,
    /// The registry cannot be read or written.
    #[error("{0}")]
    Unavailable(String),
    /// It is not known whether it was deployed.
    #[error("unknown whether it was deployed: {0}")]
    Unknown(String),
}

impl Releases {
    /// Begins to follow the registry: the version it names is compiled and made the current one of `deployments`. To be called
    /// before the node takes requests: from now on it is fresh only as far as this follows.
    pub fn start(cluster: Cluster, engine: Engine, deployments: Deployments) -> Self {
        let follower = cluster.follower();
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let turn = tokio::sync::Mutex::default();
        let inner = Inner { cluster, engine, deployments, compiled: Mutex::default(), stop, tasks, turn };
        let inner = Arc::new(inner);
        inner.tasks.spawn(follow::run(inner.clone(), follower));
        Self { inner }
    }

    /// Deploys a package; returns when no node starts anything on older code any more. Runs on if the future is dropped.
    pub async fn deploy(&self, package: Bytes) -> Result<Released, ReleaseError> {
        let inner = self.inner.clone();
        self.run(async move { inner.deploy(package).await }.boxed()).await
    }

    /// Deploys an older version again, as a new one.
    pub async fn roll_back(&self, id: Uuid) -> Result<Released, ReleaseError> {
        let inner = self.inner.clone();
        self.run(async move { inner.roll_back(id).await }.boxed()).await
    }

    /// Versions that are kept, the newest first, as this node knows them; and the one that serves.
    pub async fn list(&self) -> Result<(Option<Uuid>, Vec<Manifest>), ReleaseError> {
        let current = self.inner.current().await?.map(|(_, current)| current.version);
        Ok((current, self.inner.manifests(records::VERSIONS).await?))
    }

    /// Ends following.
    pub async fn stop(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    async fn run(&self, work: BoxFuture<'static, Result<Released, ReleaseError>>) -> Result<Released, ReleaseError> {
        let stop = self.inner.stop.clone();
        let stopped = || ReleaseError::Unknown("the node is stopping".to_owned());
        let task = self.inner.tasks.spawn(async move { stop.run_until_cancelled(work).await });
        task.await.map_err(|error| ReleaseError::Unknown(error.to_string()))?.ok_or_else(stopped)?
    }
}

impl Inner {
    async fn deploy(&self, bytes: Bytes) -> Result<Released, ReleaseError> {
        let _turn = self.turn.lock().await;
        let wrong = |error| ReleaseError::Build(BuildError::Project(error));
        let (project, source, warnings) = Package::decode(&bytes).and_then(Package::open).map_err(wrong)?;
        let version = build(&self.engine, &project, source).await?;
        let (revision, last) = self.newest().await?;
        let id = records::next_id(last.as_ref().map(|last| last.id));
        let manifest = Manifest::new(id, &project, &bytes, clock::now_ms());
        if let Some(reason) = last.and_then(|last| last.contradicted_by(&manifest)) {
            return Err(ReleaseError::Contradiction(reason));
        }
        self.write(vec![], vec![put(records::pending_name(id), records::encode(&manifest))]).await?;
        for (number, chunk) in (0..).zip(bytes.chunks(records::CHUNK_BYTES)) {
            let chunk = bytes.slice_ref(chunk);
            self.write(vec![], vec![put(records::chunk_name(id, number), chunk)]).await?;
        }
        *self.compiled.lock() = Some(version.identified(id));
        let warnings = warnings.iter().map(ToString::to_string).collect();
        self.switch(revision, manifest, warnings).await
    }

    async fn roll_back(&self, id: Uuid) -> Result<Released, ReleaseError> {
        let _turn = self.turn.lock().await;
        let (revision, last) = self.newest().await?;
        let old = self.manifest(id).await?.ok_or(ReleaseError::NoSuchVersion(id))?;
        let next =
            Manifest { id: records::next_id(last.as_ref().map(|last| last.id)), created_at_ms: clock::now_ms(), ..old };
        if let Some(reason) = last.and_then(|last| last.contradicted_by(&next)) {
            return Err(ReleaseError::Contradiction(reason));
        }
        self.switch(revision, next, Vec::new()).await
    }

    /// Makes a version whose chunks are there the current one, and waits until it is so everywhere.
    async fn switch(
        &self,
        revision: Option<u64>,
        manifest: Manifest,
        warnings: Vec<String>,
    ) -> Result<Released, ReleaseError> {
        let id = manifest.id;
        let mut ops = vec![
            put(records::CURRENT.to_owned(), records::encode(&Current { version: id })),
            put(records::version_name(id), records::encode(&manifest)),
            delete(records::pending_name(id)),
        ];
        ops.extend(self.outdated(&manifest).await?);
        let expect = Expect { key: Bytes::from_static(records::CURRENT.as_bytes()), revision };
        let revision = self.write(vec![expect], ops).await?;
        self.cluster.everywhere(revision).await;
        tracing::info!(worker = manifest.name, version = %id, revision, "a new version serves on all nodes");
        Ok(Released { manifest, revision, warnings })
    }

    /// What is deleted with the next version: versions beyond those that are kept, chunks that no kept version has, and
    /// what deploys left that were broken off. A deploy that is still under way elsewhere loses the race anyhow.
    async fn outdated(&self, next: &Manifest) -> Result<Vec<RegistryOp>, ReleaseError> {
        let versions = self.manifests(records::VERSIONS).await?;
        let (kept, old) = versions.split_at(versions.len().min(VERSIONS_KEPT - 1));
        let pending = self.manifests(records::PENDING).await?;
        let in_use = |source: Uuid| source == next.source || kept.iter().any(|kept| kept.source == source);
        let mut ops: Vec<_> = old.iter().map(|old| delete(records::version_name(old.id))).collect();
        let broken = pending.iter().filter(|pending| pending.id != next.id);
        ops.extend(broken.clone().map(|pending| delete(records::pending_name(pending.id))));
        for gone in old.iter().chain(broken).filter(|gone| !in_use(gone.source)) {
            ops.extend((0..gone.chunks).map(|number| delete(records::chunk_name(gone.source, number))));
        }
        Ok(ops)
    }

    /// The version that serves and the revision that says so, as of now.
    async fn newest(&self) -> Result<(Option<u64>, Option<Manifest>), ReleaseError> {
        let deadline = std::time::Instant::now() + CONFIRM;
        let confirmed = self.cluster.registry().confirm(deadline).await;
        confirmed.map_err(|error| ReleaseError::Unavailable(error.to_string()))?;
        let Some((revision, current)) = self.current().await? else { return Ok((None, None)) };
        let missing = || ReleaseError::Unavailable("the registry does not know the version that serves".to_owned());
        let manifest = self.manifest(current.version).await?.ok_or_else(missing)?;
        Ok((Some(revision), Some(manifest)))
    }

    async fn current(&self) -> Result<Option<(u64, Current)>, ReleaseError> {
        let found = self.cluster.registry().get(records::CURRENT).await.map_err(unavailable)?;
        let read = |(revision, value): (u64, Bytes)| {
            let current = records::decode(records::CURRENT, &value).map_err(ReleaseError::Unavailable)?;
            Ok((revision, current))
        };
        found.map(read).transpose()
    }

    pub(super) async fn manifest(&self, id: Uuid) -> Result<Option<Manifest>, ReleaseError> {
        let name = records::version_name(id);
        let found = self.cluster.registry().get(&name).await.map_err(unavailable)?;
        found.map(|(_, value)| records::decode(&name, &value).map_err(ReleaseError::Unavailable)).transpose()
    }

    /// Manifests under a prefix, the newest first.
    async fn manifests(&self, prefix: &str) -> Result<Vec<Manifest>, ReleaseError> {
        let (_, entries) = self.cluster.registry().range(prefix).await.map_err(unavailable)?;
        let read = |entry: &cluster::Entry| records::decode(prefix, &entry.value).map_err(ReleaseError::Unavailable);
        let mut manifests: Vec<Manifest> = entries.iter().map(read).collect::<Result<_, _>>()?;
        manifests.sort_by_key(|manifest| std::cmp::Reverse(manifest.id));
        Ok(manifests)
    }

    /// The package of a version, whole.
    pub(super) async fn package(&self, manifest: &Manifest) -> Result<Bytes, ReleaseError> {
        let mut bytes = Vec::new();
        for number in 0..manifest.chunks {
            let name = records::chunk_name(manifest.source, number);
            let chunk = self.cluster.registry().get(&name).await.map_err(unavailable)?;
            let missing = || ReleaseError::Unavailable(format!("the registry lacks `{name}`"));
            bytes.extend_from_slice(&chunk.ok_or_else(missing)?.1);
        }
        match records::digest(&bytes) == manifest.digest {
            true => Ok(bytes.into()),
            false => Err(ReleaseError::Unavailable(format!("the package of version {} is damaged", manifest.id))),
        }
    }

    async fn write(&self, expect: Vec<Expect>, ops: Vec<RegistryOp>) -> Result<u64, ReleaseError> {
        self.cluster.registry().write(expect, ops).await.map_err(|error| match error {
            WriteError::Conflict(_) => ReleaseError::Race,
            WriteError::Refused(reason) => ReleaseError::Unavailable(format!("the registry refuses it: {reason}")),
            WriteError::NotDone(reason) => ReleaseError::Unavailable(reason),
            WriteError::Unknown(reason) => ReleaseError::Unknown(reason),
        })
    }
}

fn unavailable(error: cluster::Error) -> ReleaseError {
    ReleaseError::Unavailable(error.to_string())
}

fn put(name: String, value: Bytes) -> RegistryOp {
    RegistryOp::Put { key: name.into(), value }
}

fn delete(name: String) -> RegistryOp {
    RegistryOp::Delete { key: name.into() }
}
