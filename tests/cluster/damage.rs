//! Files of a node that rot or vanish while it is down: rebuilt, cut, or refused with a clear error, and never served.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use lethe_tests::damage;

use crate::bed::{Bed, setup};

const END_MAX: Duration = Duration::from_secs(60);

/// A byte of this log is wrong: the node, which is down, does not start, says why, and is not missed.
async fn refuses_rot(bed: &mut Bed, hurt: usize, log: &Path, at: u64) -> Result<()> {
    damage::flip(log, at)?;
    let node = bed.cluster.node(hurt);
    let heard = node.log().len();
    node.launch()?;
    let status = node.process()?.ended(END_MAX).await;
    let said = node.log().split_off(heard);
    let status = status.with_context(|| format!("with rot at {at} it said:\n{said}"))?;
    ensure!(!status.success(), "it started on a log that is rotten at {at}");
    ensure!(said.contains(".wal"), "it does not say which file is damaged:\n{said}");
    node.end().await?;
    bed.all_answer().await?;
    damage::flip(log, at)
}

/// Inverts a byte in the middle of each file of a node's state.
fn rot_state(data: &Path) -> Result<()> {
    let files = damage::state_files(data)?;
    ensure!(!files.is_empty(), "there is no state on disk");
    for file in files {
        let bytes = fs::metadata(&file).context("a file of the state")?.len();
        if bytes > 0 {
            damage::flip(&file, bytes / 2)?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_or_rotten_state_is_rebuilt_a_torn_end_of_a_log_is_cut_and_rot_in_it_is_refused() -> Result<()> {
    let mut bed = Bed::make(setup("")).await?;
    let hurt = bed.leads_most().await?;

    bed.cluster.node(hurt).kill().await?;
    fs::remove_dir_all(bed.cluster.node(hurt).data().join("state")).context("its state")?;
    bed.all_answer().await?;
    bed.come_back("lost state", &[hurt]).await?;
    bed.check("lost state").await?;

    // All of it was written out when the node stopped.
    bed.cluster.node(hurt).stop().await?;
    rot_state(&bed.cluster.node(hurt).data())?;
    let heard = bed.cluster.node(hurt).log().len();
    bed.come_back("rotten state", &[hurt]).await?;
    let said = bed.cluster.node(hurt).log().split_off(heard);
    ensure!(said.contains("wiped and rebuilt"), "it did not notice that its state is rotten:\n{said}");
    bed.check("rotten state").await?;

    // It stands still before it is killed: no write is cut short, and the last one was whole.
    bed.cluster.node(hurt).pause().await?;
    bed.cluster.node(hurt).kill().await?;
    let logs = damage::log_files(&bed.cluster.node(hurt).data())?;
    let log = logs.last().context("a log")?;
    let end = damage::content_bytes(log)?;
    // What is last may have been acknowledged, too.
    for place in [end / 2, end] {
        let at = damage::content_before(log, place)?.context("content")?;
        refuses_rot(&mut bed, hurt, log, at).await?;
    }

    // What a write leaves behind whose first sector never reached the disk.
    damage::leave_behind(log, end)?;
    let heard = bed.cluster.node(hurt).log().len();
    bed.come_back("a torn end of the log", &[hurt]).await?;
    let said = bed.cluster.node(hurt).log().split_off(heard);
    ensure!(said.contains("a torn end was cut"), "it did not say that it cut the end:\n{said}");
    bed.finish().await?;
    Ok(())
}
