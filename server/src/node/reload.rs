//! Reloading: a change of the project becomes a new version, or a message and the old version stays.

use std::path::Path;

use anyhow::Result;
use lethe_runtime::engine::Engine;

use crate::deploy::{self, Project, Version};

/// Reads the project in `dir` again and builds it.
pub(super) async fn load(engine: &Engine, dir: &Path) -> Result<Version> {
    let dir = dir.to_owned();
    let (project, warnings) = tokio::task::spawn_blocking(move || Project::load(&dir)).await??;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    build(engine, &project).await
}

/// Reads, compiles and checks a project.
pub(super) async fn build(engine: &Engine, project: &Project) -> Result<Version> {
    let source = {
        let project = project.clone();
        tokio::task::spawn_blocking(move || project.source()).await??
    };
    Ok(deploy::build(engine, project, source).await?)
}
