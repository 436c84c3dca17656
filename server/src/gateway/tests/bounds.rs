//! Every bound has a client that goes over it, and an answer that says which one it was.

use std::sync::Arc;
use std::time::Duration;

use http::Response;
use lethe_runtime::body::{self, Body};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::rig::*;
use crate::gateway::{Limits, Peer};

const SLOW_HEAD: &str = "408 Request Timeout: the request's headers did not arrive in time\n";

#[tokio::test]
async fn half_a_head_is_answered_408_and_closed() {
    let rig = start(quick(), Handler(describe)).await;
    let mut client = Raw::connect(rig.addr).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.body.as_str()), (408, SLOW_HEAD));
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn a_trickle_of_header_bytes_buys_no_time() {
    let rig = start(quick(), Handler(describe)).await;
    let mut client = Raw::connect(rig.addr).await;
    let began = Instant::now();
    client.send("GET / HTTP/1.1\r\nX-Slow: ").await;
    let mut first = [0u8; 1];
    // A byte every 10 ms, until the server has had enough.
    while tokio::time::timeout(Duration::from_millis(10), client.tcp.read(&mut first)).await.is_err() {
        assert!(began.elapsed() < DEADLINE, "still listening");
        client.send("x").await;
    }
    assert_eq!(&first, b"H");
    assert!(client.rest().await.ends_with(SLOW_HEAD));
}

#[tokio::test]
async fn an_idle_connection_is_closed_without_a_word() {
    let rig = start(quick(), Handler(describe)).await;
    let mut fresh = Raw::connect(rig.addr).await;
    let mut used = Raw::connect(rig.addr).await;
    assert_eq!(used.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.status, 200);
    assert_eq!(fresh.rest().await, "");
    assert_eq!(used.rest().await, "");
}

#[tokio::test]
async fn a_slow_handler_is_not_taken_for_an_idle_connection() {
    let limits = quick();
    let work = Duration::from_millis(limits.idle_timeout_ms + limits.header_timeout_ms);
    let handler = move |_, _| async move {
        tokio::time::sleep(work).await;
        Response::new(body::full("late"))
    };
    let rig = start(limits, Handler(handler)).await;
    let mut client = Raw::connect(rig.addr).await;
    assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.body, "late");
    assert_eq!(client.rest().await, "", "and is one afterwards");
}

#[tokio::test]
async fn heads_over_their_bounds_are_refused_by_name() {
    let limits = Limits { header_bytes_max: 16 << 10, url_bytes_max: 1 << 10, headers_max: 20, ..Limits::default() };
    let rig = start(limits, Handler(describe)).await;
    let too_large = "431 Request Header Fields Too Large: the request has too many or too large headers\n";
    let too_long = "414 URI Too Long: the URL is too long\n";
    let many: String = (0..21).map(|n| format!("x-{n}: 1\r\n")).collect();
    let table = [
        (format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "u".repeat(1 << 10)), too_long),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nx: {}\r\n\r\n", "y".repeat(16 << 10)), too_large),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nx: {}\r\n\r\n", "y".repeat(1 << 20)), too_large),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), too_large),
    ];
    for (request, expected) in table {
        let mut client = Raw::connect(rig.addr).await;
        // The server may stop reading in the middle.
        drop(tokio::io::AsyncWriteExt::write_all(&mut client.tcp, request.as_bytes()).await);
        let answer = client.answer().await;
        assert_eq!(answer.body, expected);
        assert_eq!(answer.status.to_string(), expected[..3]);
    }
}

#[tokio::test]
async fn what_is_not_http_is_answered_400_with_a_text() {
    let rig = start(Limits::default(), Handler(describe)).await;
    let malformed = "400 Bad Request: this is not a valid HTTP request\n";
    for request in ["\0\0\0\0\r\n\r\n", "GET / HTTP/1.1\r\nbad header\r\n\r\n", "GET / HTTP/9.9\r\n\r\n"] {
        let answer = Raw::connect(rig.addr).await.ask(request).await;
        assert_eq!((answer.status, answer.body.as_str()), (400, malformed), "{request:?}");
    }
    let answer = Raw::connect(rig.addr).await.ask("GET / HTTP/1.1\r\nHost: a b\r\n\r\n").await;
    assert_eq!(answer.body, "400 Bad Request: the Host header is missing, repeated or not a host name\n");
}

#[tokio::test]
async fn a_body_over_its_bound_is_413_declared_or_not() {
    let rig = start(Limits { request_body_bytes_max: 1000, ..Limits::default() }, Handler(describe)).await;
    let too_large = "413 Payload Too Large: the request's body is too large\n";
    let chunk = format!("1f4\r\n{}\r\n", "x".repeat(500));
    let chunked = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{}", chunk.repeat(3));
    for request in ["POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n", &chunked] {
        let answer = Raw::connect(rig.addr).await.ask(request).await;
        assert_eq!((answer.status, answer.body.as_str()), (413, too_large));
    }
    let exact = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk.repeat(2));
    assert_eq!(Raw::connect(rig.addr).await.ask(exact).await.status, 200);
}

#[tokio::test]
async fn a_client_that_still_sends_sees_the_early_answer() {
    let rig = start(Limits { request_body_bytes_max: 1000, ..Limits::default() }, Handler(describe)).await;
    let mut client = Raw::connect(rig.addr).await;
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 4 << 20)).await;
    // Everything is sent before anything is read: without lingering the answer would be lost to a reset.
    client.send(vec![b'x'; 4 << 20]).await;
    assert_eq!(client.answer().await.status, 413);
}

#[tokio::test]
async fn a_body_that_stops_arriving_is_408() {
    let rig = start(quick(), Handler(describe)).await;
    let answer = Raw::connect(rig.addr).await.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf").await;
    let stalled = "408 Request Timeout: the request's body stopped arriving\n";
    assert_eq!((answer.status, answer.body.as_str()), (408, stalled));
}

/// Says when it was called, and then waits to be told to answer.
async fn waiting(limits: Limits) -> (Rig, Arc<Notify>, Arc<Notify>) {
    let (began, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let gates = (began.clone(), go.clone());
    let handler = move |_: http::Request<Body>, _: Peer| {
        let (began, go) = gates.clone();
        async move {
            began.notify_one();
            go.notified().await;
            Response::new(body::full("done"))
        }
    };
    (start(limits, Handler(handler)).await, began, go)
}

#[tokio::test]
async fn one_connection_too_many_is_told_so_and_closed() {
    let (rig, began, go) = waiting(Limits { connections_max: 1, ..Limits::default() }).await;
    let mut first = Raw::connect(rig.addr).await;
    first.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    soon("the request", began.notified()).await;
    let mut second = Raw::connect(rig.addr).await;
    // Everything is sent before anything is read: without lingering the sending would fail.
    second.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 16 << 20)).await;
    second.send(vec![b'x'; 16 << 20]).await;
    let answer = second.answer().await;
    let full = "503 Service Unavailable: too many connections are open, try again\n";
    assert_eq!((answer.status, answer.body.as_str()), (503, full));
    assert!(answer.head.contains("retry-after: 1\r\n"), "{}", answer.head);
    second.tcp.shutdown().await.unwrap();
    assert_eq!(second.rest().await, "");
    go.notify_one();
    assert_eq!(first.answer().await.body, "done");
}

#[tokio::test]
async fn one_request_too_many_is_told_so_and_may_try_again_on_the_same_connection() {
    let (rig, began, go) = waiting(Limits { requests_max: 1, ..Limits::default() }).await;
    let mut first = Raw::connect(rig.addr).await;
    first.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    soon("the request", began.notified()).await;
    let mut second = Raw::connect(rig.addr).await;
    let answer = second.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let full = "503 Service Unavailable: too many requests are under way, try again\n";
    assert_eq!((answer.status, answer.body.as_str()), (503, full));
    go.notify_one();
    assert_eq!(first.answer().await.body, "done");
    go.notify_one();
    assert_eq!(second.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.body, "done");
}
