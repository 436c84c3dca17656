//! The `lethe` command. It only picks the exit code; `cli` parses, the rooms act.

use std::process::ExitCode;

use anyhow::bail;
use lethe_server::{
    cli::{self, DevArgs},
    deploy::Project,
};

fn main() -> ExitCode {
    cli::run(dev)
}

async fn dev(args: DevArgs) -> anyhow::Result<()> {
    let (project, warnings) = Project::load(&args.dir)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    project.source()?;
    bail!("the project is fine, but this build has no node to serve it")
}
