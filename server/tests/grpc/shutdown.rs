//! The end of a server: calls under way are finished, or cut off with a word.

use std::{
    net::TcpListener,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use lethe_client::{Client, Code, Id, Outcome};
use lethe_server::grpc;
use serde_json::json;

use crate::server::{Server, serve, serve_with};

/// Starts a call and returns once it has arrived.
async fn under_way(
    server: &Server,
    method: &'static str,
) -> tokio::task::JoinHandle<Result<serde_json::Value, lethe_client::Error>> {
    let room = server.client().await.actor("chat/Room", Id::name("lobby"));
    let call = tokio::spawn(async move { room.call_json(method, &json!([1])).await });
    while server.fake.calls.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    call
}

#[tokio::test]
async fn drain_waits_for_a_call_under_way_and_takes_no_new_one() {
    let server = serve().await;
    let call = under_way(&server, "wait").await;
    let (fake, address) = (server.fake, server.address);
    let drain = tokio::spawn(server.handle.drain());
    let refused_by = Instant::now() + Duration::from_secs(10);
    while Client::connect(&address).await.is_ok() {
        assert!(Instant::now() < refused_by, "new connections are still taken");
        tokio::task::yield_now().await;
    }
    assert!(!drain.is_finished());
    fake.go.notify_one();
    assert_eq!(call.await.unwrap(), Ok(json!([1])));
    drain.await.unwrap();
}

#[tokio::test]
async fn drain_cuts_off_what_takes_too_long_and_says_the_outcome_is_unknown() {
    let server = serve_with(|config| config.drain_timeout_ms = 50).await;
    let call = under_way(&server, "hang").await;
    server.handle.drain().await;
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(
        (error.code, error.outcome, error.message.as_str()),
        (Code::Unavailable, Outcome::Unknown, "the node is stopping")
    );
}

#[tokio::test]
async fn a_port_in_use_is_named_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = grpc::bind(grpc::Config::new(address)).await.err().unwrap();
    let expected = format!(
        "port {} on 127.0.0.1 is in use (gRPC); choose another with --grpc-port or as [grpc] listen",
        address.port()
    );
    assert_eq!(error.to_string(), expected);
}
