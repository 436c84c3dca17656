//! Messages and connections that are not what they claim to be.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use lethe_proto::{
    ClusterId, NodeId,
    peer::v1::{self, peer_client::PeerClient},
};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::rig::*;
use crate::peer::{Error, Refusal, Topic, Transport, config::Me, link::Ready, wire};

/// Sends an envelope as it is over a connection of `one`'s.
async fn forge(one: &Served, two: &Served, envelope: v1::Head) -> Error {
    let address = two.address.to_string();
    let closed = one.peers.shared.cut.child_token();
    let dial = one.peers.shared.dialer.clone().dial(address.clone(), Some(two.node), closed);
    let dialed = soon("a connection", dial).await.unwrap_or_else(|why| panic!("{why}"));
    let request = v1::CallRequest { head: Some(envelope), message: Bytes::new() };
    let answer = soon("an answer", PeerClient::new(Ready::once(dialed.send, address)).call(request)).await;
    wire::error(&answer.expect_err("a forged message was taken"))
}

fn envelope(cluster: ClusterId, from: NodeId, to: NodeId) -> v1::Head {
    wire::head(Me { cluster, node: from }, to, head(Topic::Vote), Duration::from_secs(1))
}

#[tokio::test]
async fn a_message_for_another_cluster_is_refused_with_both_names() {
    let (one, two) = two(Echo).await;
    let other = ClusterId(Uuid::from_u128(0xBAD));
    let refusal = Refusal::OtherCluster { theirs: other.to_string(), ours: CLUSTER.to_string() };
    assert_eq!(forge(&one, &two, envelope(other, one.node, two.node)).await, Error::Refused(refusal));
}

#[tokio::test]
async fn a_message_for_another_node_is_refused_with_both_names() {
    let (one, two) = two(Echo).await;
    let refusal = Refusal::OtherNode { meant: NodeId::from(3).to_string(), here: two.node.to_string() };
    assert_eq!(forge(&one, &two, envelope(CLUSTER, one.node, NodeId::from(3))).await, Error::Refused(refusal));
}

#[tokio::test]
async fn a_message_in_the_name_of_another_node_is_refused() {
    let (one, two) = two(Echo).await;
    let told = forge(&one, &two, envelope(CLUSTER, NodeId::from(3), two.node)).await;
    assert!(matches!(told, Error::Refused(Refusal::Sender(_))), "{told:?}");
}

#[tokio::test]
async fn a_banned_node_is_refused_and_not_called_any_more() {
    let (one, two) = two(Echo).await;
    two.peers.learn(one.node, &one.address.to_string());
    two.peers.ban(one.node);
    let expected = Refusal::Sender(format!("node {} was removed from the cluster", one.node));
    assert_eq!(one.say(two.node, "").await, Err(Error::Refused(expected)));
    assert!(matches!(two.say(one.node, "").await, Err(Error::Unreachable(_))));
}

#[tokio::test]
async fn a_node_that_is_banned_while_its_stream_is_open_is_not_heard_any_more() {
    let heard = Arc::new(AtomicU64::new(0));
    let counted = heard.clone();
    let (one, two) = two(streams(move |messages: Incoming| {
        let counted = counted.clone();
        messages
            .map(move |message| {
                counted.fetch_add(u64::from(message.is_ok()), Ordering::SeqCst);
                message.map_err(|error| Refusal::Unavailable(error.to_string()))
            })
            .boxed()
    }))
    .await;
    let (say, said) = mpsc::unbounded_channel();
    let said = stream::unfold(said, |mut said| async move { Some((said.recv().await?, said)) });
    let opened = one.peers.stream(two.node, head(Topic::AppendStream), said.boxed());
    let mut answers = soon("the stream", opened).await.unwrap();
    say.send(Bytes::from_static(b"before")).unwrap();
    assert_eq!(soon("an answer", answers.next()).await, Some(Ok(Bytes::from_static(b"before"))));

    two.peers.ban(one.node);
    // The stream may have ended already.
    say.send(Bytes::from_static(b"after")).ok();
    let refusal = Refusal::Sender(format!("node {} was removed from the cluster", one.node));
    assert_eq!(soon("a refusal", answers.next()).await, Some(Err(Error::Refused(refusal))));
    assert_eq!(heard.load(Ordering::SeqCst), 1, "what it said after it was removed was heard");
}

#[tokio::test]
async fn a_node_that_is_banned_keeps_no_place_with_a_stream_on_which_it_says_nothing() {
    let (one, two) = two(streams(|messages: Incoming| messages.map(|_| Ok(Bytes::new())).boxed())).await;
    let places = || two.peers.shared.places.available_permits();
    let all = places();
    let opened = one.peers.stream(two.node, head(Topic::AppendStream), stream::pending().boxed());
    let mut answers = soon("the stream", opened).await.unwrap();
    assert_eq!(places(), all - 1);
    two.peers.ban(one.node);
    let refusal = Refusal::Sender(format!("node {} was removed from the cluster", one.node));
    assert_eq!(soon("a refusal", answers.next()).await, Some(Err(Error::Refused(refusal))));
    let given_back = async {
        while places() < all {
            tokio::task::yield_now().await;
        }
    };
    soon("the place", given_back).await;
}

/// Says something to node 2 of `theirs` with what `ours` has; nothing may arrive.
async fn refused(ours: crate::peer::Config, theirs: crate::peer::Config) -> String {
    let one = serve(ours, 1, Arc::new(Nobody)).await;
    let taken = calls(|_| async { panic!("it was delivered") });
    let two = serve(theirs, 2, Arc::new(taken)).await;
    one.peers.learn(two.node, &two.address.to_string());
    match one.say(two.node, "").await {
        Err(Error::Unreachable(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_node_of_another_authority_is_not_talked_to() {
    let (ours, theirs) = (Certificates::new(), Certificates::new());
    let ours = config(Some(ours.of(NodeId::from(1))));
    let theirs = config(Some(theirs.of(NodeId::from(2))));
    let why = refused(ours, theirs).await;
    assert!(why.contains("certificate"), "{why}");
}

#[tokio::test]
async fn a_client_of_another_authority_is_turned_away() {
    let (ours, theirs) = (Certificates::new(), Certificates::new());
    let (one, two) = (NodeId::from(1), NodeId::from(2));
    // It trusts the other side, so that only the other side can refuse.
    let mut files = ours.of(one);
    files.ca_pem_path = both(&ours, &theirs);
    let why = refused(config(Some(files)), config(Some(theirs.of(two)))).await;
    assert!(
        why.contains("alert") || why.contains("closed") || why.contains("reset") || why.contains("broken"),
        "{why}"
    );
}

fn both(ours: &Certificates, theirs: &Certificates) -> std::path::PathBuf {
    let (one, two) = (ours.of(NodeId::from(1)).ca_pem_path, theirs.of(NodeId::from(2)).ca_pem_path);
    let path = one.with_file_name("both.pem");
    let text = [one, two].map(|path| std::fs::read_to_string(path).unwrap()).concat();
    std::fs::write(&path, text).unwrap();
    path
}

#[tokio::test]
async fn another_node_at_the_address_is_not_talked_to() {
    let certificates = Certificates::new();
    let one = serve(config(Some(certificates.of(NodeId::from(1)))), 1, Arc::new(Nobody)).await;
    let taken = calls(|_| async { panic!("it was delivered") });
    let three = serve(config(Some(certificates.of(NodeId::from(3)))), 3, Arc::new(taken)).await;
    one.peers.learn(NodeId::from(2), &three.address.to_string());
    let told = one.say(NodeId::from(2), "").await;
    assert!(matches!(&told, Err(Error::Unreachable(why)) if why.contains("certificate")), "{told:?}");
}

#[tokio::test]
async fn plain_text_and_tls_do_not_mix() {
    let certificates = Certificates::new();
    refused(config(None), config(Some(certificates.of(NodeId::from(2))))).await;
    refused(config(Some(certificates.of(NodeId::from(1)))), config(None)).await;
}

#[tokio::test]
async fn plain_text_finds_a_wrong_node_too() {
    let one = serve(config(None), 1, Arc::new(Nobody)).await;
    let three = serve(config(None), 3, Arc::new(Echo)).await;
    one.peers.learn(NodeId::from(2), &three.address.to_string());
    let told = one.say(NodeId::from(2), "").await;
    assert!(matches!(&told, Err(Error::Unreachable(why)) if why.contains("answers there, not")), "{told:?}");
    one.peers.learn(three.node, &three.address.to_string());
    assert!(one.say(three.node, "").await.is_ok());
}

#[tokio::test]
async fn who_is_asked_by_address_must_be_of_the_cluster() {
    let (ours, theirs) = (Certificates::new(), Certificates::new());
    let one = serve(config(Some(ours.of(NodeId::from(1)))), 1, Arc::new(Nobody)).await;
    let taken = calls(|_| async { panic!("it was delivered") });
    let two = serve(config(Some(theirs.of(NodeId::from(2)))), 2, Arc::new(taken)).await;
    let asked = one.peers.ask(&two.address.to_string(), Topic::Join, Bytes::new(), later());
    let told = soon("an answer", asked).await;
    assert!(matches!(&told, Err(Error::Unreachable(why)) if why.contains("certificate")), "{told:?}");
}
