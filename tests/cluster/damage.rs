//! Files of a node that rot or vanish while it is down: rebuilt, or refused with a clear error, and never served.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use lethe_tests::{HEALTHY_MAX, damage};

use crate::bed::{Bed, setup};

const END_MAX: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_state_is_deleted_rebuilds_it_and_one_whose_log_rots_refuses_to_start() -> Result<()> {
    let mut bed = Bed::make(setup("")).await?;
    let hurt = bed.leads_most().await?;

    bed.cluster.node(hurt).kill().await?;
    fs::remove_dir_all(bed.cluster.node(hurt).data().join("state")).context("the state store")?;
    bed.all_answer().await?;
    bed.cluster.node(hurt).start().await?;
    bed.cluster.healthy(HEALTHY_MAX).await?;

    bed.cluster.node(hurt).kill().await?;
    let logs = damage::log_files(&bed.cluster.node(hurt).data())?;
    let log = logs.last().context("a log")?;
    let middle = damage::content_bytes(log)? / 2;
    damage::flip(log, middle)?;
    bed.cluster.node(hurt).launch()?;
    let status = bed.cluster.node(hurt).process()?.ended(END_MAX).await?;
    let said = bed.cluster.node(hurt).log();
    ensure!(!status.success(), "it started on a rotten log");
    ensure!(said.contains(".wal"), "it does not say which file is damaged:\n{said}");
    bed.cluster.node(hurt).end().await?;
    bed.all_answer().await?;

    damage::flip(log, middle)?;
    bed.cluster.node(hurt).start().await?;
    bed.finish().await?;
    Ok(())
}
