//! From a project to a version: compiled, and checked.

use lethe_runtime::{
    engine::{CompileError, Engine},
    program::Source,
};

use super::{Error, Project, Version};
use crate::egress::{PatternError, Policy};

/// Why a project is no version.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The project is wrong.
    #[error(transparent)]
    Project(#[from] Error),
    /// Its code does not compile.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// Its outbound policy is wrong.
    #[error("lethe.egress.allow: {0}")]
    Egress(#[from] PatternError),
}

/// Compiles what a project consists of, and checks that its classes are there.
pub async fn build(engine: &Engine, project: &Project, source: Source) -> Result<Version, BuildError> {
    let program = engine.compile(source).await?;
    project.check_classes(&program.actor_classes())?;
    let Project { config, namespaces, .. } = project;
    let allow = config.egress.allow.iter().map(|pattern| pattern.parse()).collect::<Result<_, PatternError>>()?;
    let policy = Policy { allow_private: config.egress.allow_private, allow };
    Ok(Version::new(config.name.clone(), program, namespaces.clone(), policy))
}
