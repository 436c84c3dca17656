//! How a load program runs and ends.

use std::future::Future;
use std::process::ExitCode;

use anyhow::Result;

/// Runs a load program's work and says on stderr why it failed: exit code 0 or 1.
pub fn run_bench(program: &str, work: impl Future<Output = Result<()>>) -> ExitCode {
    match tokio::runtime::Runtime::new().map_err(Into::into).and_then(|runtime| runtime.block_on(work)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{program}: {error:#}");
            ExitCode::from(1)
        }
    }
}
