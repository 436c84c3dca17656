//! Nodes that are not there, go away and come back.

use std::sync::Arc;

use bytes::Bytes;
use lethe_proto::NodeId;
use tokio::sync::{Notify, mpsc};

use super::rig::*;
use crate::peer::{Config, Error, Head, Lane, Topic, Transport};

/// Never answers, and says when it is asked.
fn never() -> (impl crate::peer::Handler, mpsc::UnboundedReceiver<()>) {
    let (entered, enters) = mpsc::unbounded_channel();
    let handler = calls(move |_: Bytes| {
        entered.send(()).unwrap();
        std::future::pending()
    });
    (handler, enters)
}

/// An address where nobody listens.
fn nowhere() -> String {
    let listener = std::net::TcpListener::bind((own_address(), 0)).unwrap();
    listener.local_addr().unwrap().to_string()
}

#[tokio::test]
async fn a_node_that_is_not_known_or_not_there_is_unreachable() {
    let one = serve(config(None), 1, Arc::new(Nobody)).await;
    let two = NodeId::from(2);
    let told = one.say(two, "").await;
    assert_eq!(told, Err(Error::Unreachable(format!("node {two} is not known"))));
    one.peers.learn(two, &nowhere());
    let told = one.say(two, "").await;
    assert!(matches!(&told, Err(Error::Unreachable(why)) if why.contains("refused")), "{told:?}");
}

#[tokio::test]
async fn after_a_failure_nobody_dials_before_the_pause_is_over() {
    let mut patient = config(None);
    (patient.limits.redial_min_ms, patient.limits.redial_max_ms) = (3_600_000, 3_600_000);
    let one = serve(patient, 1, Arc::new(Nobody)).await;
    let address = nowhere();
    one.peers.learn(NodeId::from(2), &address);
    let first = one.say(NodeId::from(2), "").await;
    let mut there = config(None);
    there.listen = address.parse().unwrap();
    let two = serve(there, 2, Arc::new(Echo)).await;
    assert_eq!(one.say(two.node, "").await, first);
    one.peers.forget(two.node);
    one.peers.learn(two.node, &address);
    assert!(one.say(two.node, "").await.is_ok());
}

/// A node that dials no address twice within an hour, and what another one is made of that is not there yet: the first has
/// found nobody on this lane.
async fn missed(certificates: &Certificates, lane: Lane) -> (Served, Config, NodeId) {
    let (me, there) = (NodeId::from(1), NodeId::from(2));
    let mut patient = config(Some(certificates.of(me)));
    (patient.limits.redial_min_ms, patient.limits.redial_max_ms) = (3_600_000, 3_600_000);
    let one = serve(patient, 1, Arc::new(Echo)).await;
    let mut other = config(Some(certificates.of(there)));
    other.listen = nowhere().parse().unwrap();
    one.peers.learn(there, &other.listen.to_string());
    assert!(matches!(on(&one, lane, there).await, Err(Error::Unreachable(_))));
    (one, other, there)
}

async fn on(one: &Served, lane: Lane, to: NodeId) -> Result<Bytes, Error> {
    let head = Head { lane, ..head(Topic::Status) };
    soon("an answer", one.peers.call(to, head, Bytes::new(), later())).await
}

#[tokio::test]
async fn a_node_that_one_connection_found_again_is_tried_at_once_by_the_others() {
    let certificates = Certificates::new();
    let (one, other, there) = missed(&certificates, Lane::Log).await;
    let _two = serve(other, 2, Arc::new(Echo)).await;
    assert!(matches!(on(&one, Lane::Log, there).await, Err(Error::Unreachable(_))), "it is not known to be back");
    on(&one, Lane::Control, there).await.unwrap();
    on(&one, Lane::Log, there).await.unwrap();
}

#[tokio::test]
async fn a_node_that_comes_by_itself_is_tried_at_once() {
    let certificates = Certificates::new();
    let (one, other, there) = missed(&certificates, Lane::Log).await;
    let two = serve(other, 2, Arc::new(Echo)).await;
    two.peers.learn(one.node, &one.address.to_string());
    on(&two, Lane::Control, one.node).await.unwrap();
    on(&one, Lane::Log, there).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_breaks_under_a_call_leaves_its_fate_unknown() {
    let (handler, mut enters) = never();
    let (one, two) = two(handler).await;
    let call = tokio::spawn(one.peers.call(two.node, head(Topic::Status), Bytes::new(), later()));
    soon("the call", enters.recv()).await.unwrap();
    drop(two.handle);
    let told = soon("the end", call).await.unwrap();
    assert!(matches!(told, Err(Error::Lost(_))), "{told:?}");
}

#[tokio::test]
async fn a_forgotten_node_loses_its_calls_and_is_not_known() {
    let (handler, mut enters) = never();
    let (one, two) = two(handler).await;
    let call = tokio::spawn(one.peers.call(two.node, head(Topic::Status), Bytes::new(), later()));
    soon("the call", enters.recv()).await.unwrap();
    one.peers.forget(two.node);
    let told = soon("the end", call).await.unwrap();
    assert!(matches!(told, Err(Error::Lost(_))), "{told:?}");
    assert!(matches!(one.say(two.node, "").await, Err(Error::Unreachable(_))));
}

#[tokio::test]
async fn a_node_that_moved_is_called_at_its_new_address() {
    let certificates = Certificates::new();
    let one = serve(config(Some(certificates.of(NodeId::from(1)))), 1, Arc::new(Nobody)).await;
    let old = serve(config(Some(certificates.of(NodeId::from(2)))), 2, Arc::new(Nobody)).await;
    let new = serve(config(Some(certificates.of(NodeId::from(2)))), 2, Arc::new(Echo)).await;
    one.peers.learn(old.node, &old.address.to_string());
    assert!(matches!(one.say(old.node, "").await, Err(Error::Refused(_))));
    one.peers.learn(new.node, &new.address.to_string());
    assert!(one.say(new.node, "").await.is_ok());
    assert_eq!(one.peers.address(new.node), Some(new.address.to_string()));
}

#[tokio::test]
async fn a_node_that_restarted_is_reached_again_without_being_learnt_again() {
    let certificates = Certificates::new();
    let one = serve(config(Some(certificates.of(NodeId::from(1)))), 1, Arc::new(Nobody)).await;
    let two = serve(config(Some(certificates.of(NodeId::from(2)))), 2, Arc::new(Echo)).await;
    one.peers.learn(two.node, &two.address.to_string());
    assert!(one.say(two.node, "").await.is_ok());
    let (node, address) = (two.node, two.address);
    soon("the drain", two.handle.drain()).await;
    let told = one.say(node, "").await;
    assert!(matches!(told, Err(Error::Unreachable(_))), "{told:?}");
    let mut again = config(Some(certificates.of(node)));
    again.listen = address;
    let _two = serve(again, 2, Arc::new(Echo)).await;
    soon("an answer", async {
        while one.say(node, "").await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_drain_lets_a_call_under_way_finish_and_takes_no_other() {
    let (entered, mut enters) = mpsc::unbounded_channel();
    let go = Arc::new(Notify::new());
    let gate = go.clone();
    let (one, two) = two(calls(move |_: Bytes| {
        let (entered, gate) = (entered.clone(), gate.clone());
        async move {
            entered.send(()).unwrap();
            gate.notified().await;
            Ok(Bytes::from_static(b"done"))
        }
    }))
    .await;
    let (node, stop) = (two.node, two.peers.shared.stop.clone());
    let call = tokio::spawn(one.peers.call(node, head(Topic::Status), Bytes::new(), later()));
    soon("the call", enters.recv()).await.unwrap();
    let drain = tokio::spawn(two.handle.drain());
    soon("the drain to begin", stop.cancelled()).await;
    go.notify_one();
    assert_eq!(soon("the answer", call).await.unwrap(), Ok(Bytes::from_static(b"done")));
    soon("the drain's end", drain).await.unwrap();
    let told = one.say(node, "").await;
    assert!(matches!(told, Err(Error::Unreachable(_))), "{told:?}");
}
