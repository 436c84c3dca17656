//! The `Cluster` service through the client: status, changes, refusals.

use lethe_client::{Client, Code, NodeState, Outcome};
use lethe_server::grpc::Change;

use crate::fake::start;

#[tokio::test]
async fn an_operator_changes_the_cluster_and_sees_it() {
    let (fake, address, _server) = start(|_| {}).await;
    let client = Client::connect(&address).await.unwrap();
    assert_eq!(client.drain_node("n1").await.unwrap(), "id-of-n1");
    assert_eq!(client.cluster_status().await.unwrap().nodes[0].state(), NodeState::Draining);
    assert_eq!(client.undrain_node("n1").await.unwrap(), "id-of-n1");
    assert_eq!(client.transfer_group(7, "n1").await.unwrap(), "id-of-n1");
    assert_eq!(client.cluster_status().await.unwrap().groups[0].problem, "it moves");
    assert_eq!(client.remove_node("n1").await.unwrap(), "id-of-n1");
    assert_eq!(client.cluster_status().await.unwrap().nodes[0].state(), NodeState::Removed);
    let node = || "n1".to_owned();
    let expected = [
        Change::Drain { node: node() },
        Change::Undrain { node: node() },
        Change::Transfer { group: 7, node: node() },
        Change::Remove { node: node() },
    ];
    assert_eq!(*fake.changes.lock().unwrap(), expected);
}

#[tokio::test]
async fn a_node_that_is_not_named_or_not_known_is_refused_and_nothing_is_done() {
    let (fake, address, _server) = start(|_| {}).await;
    let client = Client::connect(&address).await.unwrap();
    for (node, code) in
        [("", Code::InvalidRequest), (&*"n".repeat(257), Code::InvalidRequest), ("n2", Code::InvalidTarget)]
    {
        let error = client.drain_node(node).await.unwrap_err();
        assert_eq!((error.code, error.outcome), (code, Outcome::NotDone), "{node:?}");
    }
    assert_eq!(*fake.changes.lock().unwrap(), []);
}
