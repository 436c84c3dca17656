//! Forming a cluster of real nodes and changing who is in it, with the commands an operator has.

use std::{
    collections::BTreeSet,
    fs,
    time::{Duration, Instant},
};

use http::StatusCode;
use lethe_client::{ClusterStatus, NodeState};
use lethe_tests::{Cluster, HEALTHY_MAX, Node, Setup, get, leaders, wait_up_to};

/// Last resort of conditions that come within a second or two.
const WAIT: Duration = Duration::from_secs(120);

/// Runs a command of an operator until it succeeds. On a very busy machine nodes may lose touch for a moment, and an
/// operator would try again, too.
async fn until_done(node: &Node, args: &[&str]) -> String {
    let mut last = String::new();
    let deadline = Instant::now() + WAIT;
    while Instant::now() < deadline {
        match node.lethe(args) {
            Ok(said) => return said,
            Err(error) => last = format!("{error:#}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{args:?} never succeeded: {last}\n{}", node.log());
}

fn state_of(status: &ClusterStatus, name: &str) -> NodeState {
    status.nodes.iter().find(|node| node.name == name).expect("a member").state()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_form_a_cluster_that_each_of_them_shows_and_serves() {
    let cluster = Cluster::form(Setup::patient()).await.unwrap();
    let mut seen = BTreeSet::new();
    for (number, node) in cluster.nodes().iter().enumerate() {
        let status = cluster.status(number).await.unwrap();
        assert_eq!((status.data_groups, status.replication, status.groups.len()), (8, 3, 9));
        seen.insert(status.cluster.clone());
        let voters = status.groups.iter().map(|group| group.replicas.len()).collect::<Vec<_>>();
        assert_eq!(voters, [3; 9], "each group is on all three");
        // On a busy machine a node may be out of touch for a moment, and refuses with another text then.
        let reply = wait_up_to(WAIT, "the node to say what to do", async || {
            let reply = get(&node.http(), "/").await.ok()?;
            reply.text().contains("lethe deploy DIR").then_some(reply)
        })
        .await;
        assert_eq!(reply.status(), StatusCode::SERVICE_UNAVAILABLE);
        let table = until_done(node, &["cluster", "status", "--api", &node.grpc(), "--check"]).await;
        assert!(table.ends_with("\nAll 9 groups are healthy.\n"), "{table}");
    }
    assert_eq!(seen.len(), 1, "one cluster: {seen:?}");
    cluster.digests_agree(HEALTHY_MAX).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_founder_that_is_killed_while_it_makes_its_groups_makes_the_rest_at_the_next_start() {
    let mut cluster = Cluster::prepare(Setup { nodes: 1, ..Setup::patient() }).unwrap();
    let roster = cluster.node(0).data().join("replicas");
    // The roster has a line for each replica, between its head and its checksum.
    for replicas in [1, 2, 3, 6, 9] {
        cluster.node(0).launch().unwrap();
        let deadline = Instant::now() + WAIT;
        while fs::read_to_string(&roster).map_or(0, |text| text.lines().count()) < replicas + 2 {
            assert!(Instant::now() < deadline, "it never made {replicas} replicas\n{}", cluster.node(0).log());
            tokio::task::yield_now().await;
        }
        cluster.node(0).kill().await.unwrap();
    }
    cluster.node(0).start().await.unwrap();
    cluster.healthy(HEALTHY_MAX).await.unwrap();
    assert_eq!(cluster.status(0).await.unwrap().groups.len(), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clusters_that_are_told_of_each_other_refuse_and_both_say_so() {
    let mut ours = Cluster::prepare(Setup { nodes: 1, ..Setup::patient() }).unwrap();
    let mut theirs = Cluster::prepare(Setup { nodes: 2, ..Setup::patient() }).unwrap();
    let (here, wrong) = (ours.node(0).peer(), theirs.node(0).peer());
    let path = theirs.node(1).config();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(&wrong), "{text}");
    fs::write(&path, text.replace(&wrong, &here)).unwrap();
    ours.node(0).start().await.unwrap();
    theirs.node(1).launch().unwrap();
    let said = |node: &Node, words: &[&str]| {
        let log = node.log();
        log.lines().any(|line| line.contains(" WARN ") && words.iter().all(|word| line.contains(word))).then_some(())
    };
    let refused = ["refused at the peer port", "UnknownCA"];
    wait_up_to(WAIT, "the node to say whom it refuses", async || said(&ours.nodes()[0], &refused)).await;
    let outside = ["this node cannot enter the cluster yet", &here, "certificate"];
    wait_up_to(WAIT, "the other node to say why it cannot enter", async || said(&theirs.nodes()[1], &outside)).await;
    assert!(ours.status(0).await.unwrap().nodes.len() == 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_drained_comes_back_and_is_removed_for_good() {
    let mut cluster = Cluster::form(Setup::patient()).await.unwrap();
    let (first, api) = (cluster.nodes()[0].name.clone(), cluster.nodes()[1].grpc());
    let lethe = async |cluster: &Cluster, args: &[&str]| {
        let args = [&["cluster"], args, &["--api", &api]].concat();
        until_done(&cluster.nodes()[1], &args).await
    };

    lethe(&cluster, &["drain", &first]).await;
    // On a busy machine a node may lead once more before it hands that over, too.
    let drained = async || {
        let status = cluster.status(1).await.ok()?;
        (!leaders(&status).contains_key(&first)).then_some(status)
    };
    let status = wait_up_to(WAIT, "the node to lead nothing", drained).await;
    assert_eq!(state_of(&status, &first), NodeState::Draining);
    lethe(&cluster, &["undrain", &first]).await;
    assert_eq!(state_of(&cluster.status(1).await.unwrap(), &first), NodeState::Active);

    lethe(&cluster, &["transfer", "3", &first]).await;

    // A stop hands leadership over before it ends, and the exit is a clean one.
    cluster.node(0).stop().await.unwrap();
    let id = |status: &ClusterStatus| status.nodes.iter().find(|node| node.name == first).map(|node| node.id.clone());
    let status = wait_up_to(WAIT, "others to lead all groups", async || {
        let status = cluster.status(1).await.ok()?;
        let gone = id(&status);
        status.groups.iter().all(|group| group.leader.is_some() && group.leader != gone).then_some(status)
    })
    .await;
    assert_eq!(status.groups.len(), 9);
    cluster.node(0).start().await.unwrap();
    cluster.healthy(HEALTHY_MAX).await.unwrap();

    // Removed: its process ends by itself with a reason, and its disk does not bring it back.
    lethe(&cluster, &["remove", &first]).await;
    let died = wait_up_to(WAIT, "the removed node to end", async || cluster.node(0).died().unwrap()).await;
    assert!(died.contains("removed"), "{died}");
    let refused = cluster.node(0).start().await.unwrap_err();
    assert!(format!("{refused:#}").contains("removed"), "{refused:#}");
    cluster.healthy(HEALTHY_MAX).await.unwrap();
    let status = cluster.status(1).await.unwrap();
    let removed = id(&status).expect("it is still listed");
    assert!(status.groups.iter().all(|group| group.replicas.iter().all(|replica| replica.node != removed)));
}
