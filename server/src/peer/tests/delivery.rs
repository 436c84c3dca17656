//! What is delivered, and how it is refused.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use lethe_proto::NodeId;

use super::rig::*;
use crate::peer::{Error, Head, Lane, MESSAGE_BYTES_MAX, Refusal, Topic, Transport};

#[tokio::test]
async fn a_message_arrives_with_its_head_and_its_sender() {
    let (one, two) = two(Echo).await;
    let head = Head { lane: Lane::Log, topic: Topic::Append, group: 7, incarnation: 9 };
    let answer = soon("an answer", one.peers.call(two.node, head, Bytes::from_static(b"hi"), later())).await;
    assert_eq!(answer.unwrap(), format!("{} Log Append 7 9 hi", one.node));
}

#[tokio::test]
async fn every_refusal_reaches_the_sender() {
    let refusals = [
        Refusal::Sender("s".into()),
        Refusal::NoReplica { group: 7, incarnation: 9 },
        Refusal::Malformed("m".into()),
        Refusal::Unavailable("u".into()),
    ];
    for refusal in refusals {
        let said = refusal.clone();
        let (one, two) = two(calls(move |_| {
            let said = said.clone();
            async move { Err(said) }
        }))
        .await;
        assert_eq!(one.say(two.node, "").await, Err(Error::Refused(refusal)));
    }
}

#[tokio::test]
async fn a_topic_nobody_handles_yet_is_refused_until_somebody_does() {
    let certificates = Certificates::new();
    let one = serve(config(Some(certificates.of(NodeId::from(1)))), 1, Arc::new(Nobody)).await;
    let starting = bound(config(Some(certificates.of(NodeId::from(2)))), 2).await;
    let (two, address) = (NodeId::from(2), starting.local_addr().to_string());
    one.peers.learn(two, &address);
    let handle = starting.serve(Vec::new());
    let expected = Error::Refused(Refusal::Unavailable("the node is starting".into()));
    assert_eq!(one.say(two, "").await, Err(expected));
    handle.add(vec![(Topic::Status, Arc::new(Echo))]);
    assert!(one.say(two, "").await.is_ok());
}

#[tokio::test]
async fn a_big_message_passes_and_one_over_the_bound_is_refused_unsent() {
    let (one, two) = two(calls(|message| async move { Ok(message) })).await;
    let big = Bytes::from(vec![7; MESSAGE_BYTES_MAX]);
    let answer = soon("an answer", one.peers.call(two.node, head(Topic::Append), big.clone(), later())).await;
    assert!(answer.unwrap() == big);
    let bigger = Bytes::from(vec![7; MESSAGE_BYTES_MAX + 1]);
    let refused = soon("an answer", one.peers.call(two.node, head(Topic::Append), bigger, later())).await;
    assert!(matches!(refused, Err(Error::Refused(Refusal::Malformed(_)))), "{refused:?}");
}

#[tokio::test]
async fn what_is_over_the_bound_of_calls_under_way_is_refused_at_once() {
    let certificates = Certificates::new();
    let one = serve(config(Some(certificates.of(NodeId::from(1)))), 1, Arc::new(Nobody)).await;
    let mut tight = config(Some(certificates.of(NodeId::from(2))));
    tight.limits.calls_max = 1;
    let (entered, mut enters) = tokio::sync::mpsc::unbounded_channel();
    let never = calls(move |_| {
        entered.send(()).unwrap();
        std::future::pending()
    });
    let two = serve(tight, 2, Arc::new(never)).await;
    one.peers.learn(two.node, &two.address.to_string());
    let first = tokio::spawn(one.peers.call(two.node, head(Topic::Status), Bytes::new(), later()));
    soon("the first call", enters.recv()).await.unwrap();
    let Err(Error::Refused(Refusal::Unavailable(why))) = one.say(two.node, "").await else { panic!("it was taken") };
    assert_eq!(why, "the node has as many calls under way as it takes");
    first.abort();
}

#[tokio::test]
async fn a_node_is_asked_by_its_address_alone_and_says_who_it_is() {
    let (one, two) = two(Echo).await;
    one.peers.forget(two.node);
    let address = two.address.to_string();
    let asked = one.peers.ask(&address, Topic::Join, Bytes::from_static(b"who"), later());
    let (node, answer) = soon("an answer", asked).await.unwrap();
    assert_eq!((node, answer), (two.node, format!("{} Control Join 0 0 who", one.node).into()));
}

#[tokio::test]
async fn a_call_whose_deadline_passed_already_is_not_sent() {
    let (one, two) = two(Echo).await;
    let late = one.peers.call(two.node, head(Topic::Status), Bytes::new(), Instant::now()).await;
    assert!(matches!(late, Err(Error::Unreachable(_))), "{late:?}");
}

#[tokio::test]
async fn a_call_without_an_answer_ends_at_its_deadline_and_its_handler_with_it() {
    let (ended, mut ends) = tokio::sync::mpsc::unbounded_channel::<()>();
    let (entered, mut enters) = tokio::sync::mpsc::unbounded_channel();
    let (one, two) = two(calls(move |_| {
        let (held, entered) = (ended.clone(), entered.clone());
        async move {
            let _dropped_with_it = Last(held);
            entered.send(()).unwrap();
            std::future::pending().await
        }
    }))
    .await;
    // The connection is made first, so that the deadline is the handler's alone.
    let deadline = || Instant::now() + std::time::Duration::from_millis(100);
    let peers = one.peers.clone();
    let told = soon("the handler to be entered and left", async move {
        loop {
            let told = peers.call(two.node, head(Topic::Status), Bytes::new(), deadline()).await;
            if enters.try_recv().is_ok() {
                return told;
            }
        }
    })
    .await;
    assert_eq!(told, Err(Error::Deadline));
    soon("the handler's end", ends.recv()).await.unwrap();
}

struct Last(tokio::sync::mpsc::UnboundedSender<()>);

impl Drop for Last {
    fn drop(&mut self) {
        self.0.send(()).ok();
    }
}
