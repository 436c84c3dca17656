//! Follows the registry: the version it names is read, compiled, and made the current one.

use std::{sync::Arc, time::Duration};

use uuid::Uuid;

use super::{
    Package, build,
    records::{self, Current},
    releases::{Inner, ReleaseError},
};
use crate::cluster::Follower;

/// Pause before what failed is tried again, and before it is looked again for a registry.
const AGAIN: Duration = Duration::from_millis(200);

/// Follows until the node stops.
pub(super) async fn run(inner: Arc<Inner>, follower: Follower) {
    let stop = inner.stop.clone();
    stop.run_until_cancelled(follow(&inner, follower)).await;
}

async fn follow(inner: &Inner, follower: Follower) {
    let mut changed = loop {
        match inner.cluster.registry().changed() {
            Ok(changed) => break changed,
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    };
    let mut said = String::new();
    loop {
        changed.mark_unchanged();
        match catch_up(inner).await {
            Ok(revision) => follower.reached(revision),
            Err(error) => {
                // The node's lease runs out by itself: it starts nothing on a version that is not the newest.
                let text = error.to_string();
                if text != said {
                    tracing::error!(reason = text, "the version that is deployed cannot be served by this node");
                    said = text;
                }
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        }
        if changed.changed().await.is_err() {
            return;
        }
    }
}

/// Makes what the registry says now the current version. Gives the revision at which it said so.
async fn catch_up(inner: &Inner) -> Result<u64, ReleaseError> {
    let unavailable = |error: crate::cluster::Error| ReleaseError::Unavailable(error.to_string());
    let (revision, entries) = inner.cluster.registry().range(records::CURRENT).await.map_err(unavailable)?;
    if let Some(entry) = entries.first() {
        let Current { version } = records::decode(records::CURRENT, &entry.value).map_err(ReleaseError::Unavailable)?;
        if inner.deployments.current().id() != version {
            load(inner, version).await?;
        }
    }
    Ok(revision)
}

async fn load(inner: &Inner, id: Uuid) -> Result<(), ReleaseError> {
    let compiled = inner.compiled.lock().take().filter(|compiled| compiled.id() == id);
    let version = match compiled {
        Some(version) => version,
        None => {
            let manifest = inner.manifest(id).await?.ok_or(ReleaseError::NoSuchVersion(id))?;
            let wrong = |error| ReleaseError::Build(super::BuildError::Project(error));
            let package = inner.package(&manifest).await?;
            let (project, source, _) = Package::decode(&package).and_then(Package::open).map_err(wrong)?;
            build(&inner.engine, &project, source).await?.identified(id)
        }
    };
    tracing::info!(worker = version.name(), version = %id, "a deployed version serves on this node");
    inner.deployments.replace(version);
    Ok(())
}
