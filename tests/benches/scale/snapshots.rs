//! Snapshots of all groups of one node, one after the other, while the other nodes rest.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use lethe_tests::Usage;

use crate::{Args, bed::Bed, bytes, secs};

/// The node that takes snapshots.
const NODE: usize = 0;
/// A node that takes longer does not take them.
const TAKEN_MAX: Duration = Duration::from_secs(600);
/// Names of files begin with that of their group, like `group-0000002a`.
const GROUP_CHARS: usize = 14;
const POLL: Duration = Duration::from_millis(20);

/// Restarts one node such that every group is due, and waits until each has a new snapshot.
pub async fn measure(bed: &mut Bed, args: &Args, have: u64, settings: &str) -> Result<()> {
    let dir = bed.cluster.nodes()[NODE].data().join("snapshots");
    bed.cluster.configure(&format!("{settings}\n[raft]\nsnapshot_entries = 1\n"))?;
    bed.cluster.node(NODE).stop().await?;
    let before = files(&dir)?;
    let (ready, healthy) = bed.start(NODE).await?;
    let began = Instant::now() - (healthy - ready);
    let groups = usize::from(args.groups) + 1;
    let new = loop {
        let mut new = files(&dir)?;
        new.retain(|name, _| !before.contains_key(name));
        let of: BTreeSet<&str> = new.keys().filter_map(|name| name.get(..GROUP_CHARS)).collect();
        if of.len() >= groups {
            break new;
        }
        anyhow::ensure!(began.elapsed() < TAKEN_MAX, "{} of {groups} groups took a snapshot", of.len());
        tokio::time::sleep(POLL).await;
    };
    let took = began.elapsed();
    let pid = bed.cluster.nodes()[NODE].pid().context("the node does not run")?;
    let cpu = Usage::of(pid)?.cpu;
    let size: u64 = new.values().sum();
    println!(
        "{have:<9} snapshots of one node: {} files with {} ({} per actor), at most {} after it was ready; {} of CPU since its start",
        new.len(),
        bytes(size as f64),
        bytes(size as f64 / have as f64),
        secs(took),
        secs(cpu)
    );
    bed.cluster.configure(settings)?;
    bed.cluster.node(NODE).stop().await?;
    bed.start(NODE).await?;
    bed.healthy().await
}

/// Finished snapshots and their sizes.
fn files(dir: &Path) -> Result<BTreeMap<String, u64>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("{}", dir.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // One may be removed while they are looked at.
        if let Ok(meta) = entry.metadata()
            && !name.ends_with(".tmp")
        {
            files.insert(name, meta.len());
        }
    }
    Ok(files)
}
