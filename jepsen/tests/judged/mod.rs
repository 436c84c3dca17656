//! The end of every test that runs a workload: the verdict must be valid.

use lethe_jepsen::{
    check::Verdict,
    run::{Config, run},
};
use tempfile::TempDir;

/// Runs it, into a folder that outlives the test if the verdict is anything but valid: it is the evidence.
pub async fn assert_valid(config: &Config, dir: TempDir) {
    let judgement = match run(config).await {
        Ok(judgement) => judgement,
        Err(error) => panic!("the harness failed: {error:#}"),
    };
    println!("{judgement}");
    if judgement.verdict != Verdict::Valid {
        panic!("{:?}\neverything is in {}", judgement.verdict, dir.keep().display());
    }
}
