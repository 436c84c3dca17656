//! A cluster forms by the commands a user types.

use anyhow::{Result, ensure};
use lethe_tests::Cluster;

use crate::bed::setup;

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_form_a_cluster_and_each_of_them_tells_the_same() -> Result<()> {
    let cluster = Cluster::form(setup("")).await?;
    let mut seen = Vec::new();
    for number in 0..3 {
        let status = cluster.status(number).await?;
        let nodes: Vec<_> = status.nodes.iter().map(|node| (node.name.clone(), node.replicas)).collect();
        seen.push((status.cluster, status.data_groups, status.replication, nodes));
    }
    ensure!(seen.iter().all(|found| *found == seen[0]), "nodes disagree: {seen:?}");
    Ok(())
}
