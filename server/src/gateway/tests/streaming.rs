//! Bodies that flow: both ways at once, no faster than the slower end, and broken off where they break.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use lethe_runtime::body::{self, Body, BodyError};
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

use super::rig::*;
use crate::gateway::Limits;

/// More than the kernel will hold for one loopback connection, and far less than a leak would show.
const KERNEL_BYTES_MAX: usize = 24 << 20;

#[tokio::test]
async fn an_echo_flows_both_ways_at_once() {
    let rig = start(Limits::default(), Handler(echo)).await;
    let mut client = Raw::connect(rig.addr).await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    assert!(client.until("\r\n\r\n").await.starts_with("HTTP/1.1 200"));
    for n in 0..50 {
        client.send(format!("3\r\n{n:03}\r\n")).await;
        assert_eq!(client.until(&format!("3\r\n{n:03}\r\n")).await.len(), 8);
    }
    client.send("0\r\n\r\n").await;
    client.until("0\r\n\r\n").await;
}

#[tokio::test]
async fn a_reader_that_stalls_stops_the_writer_and_is_cut_off() {
    let endless = Arc::new(Endless::new());
    let source = endless.clone();
    let rig = start(quick(), Handler(move |_, _| std::future::ready(Response::new(source.body())))).await;
    let mut client = Raw::connect(rig.addr).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    soon("the cut", endless.dropped.notified()).await;
    assert!(endless.bytes_taken() < KERNEL_BYTES_MAX, "{} bytes were taken", endless.bytes_taken());
}

/// The bytes 0 to 250.
fn pattern() -> Vec<u8> {
    (0..251).collect()
}

#[tokio::test]
async fn a_handler_that_does_not_read_stops_its_client() {
    let go = Arc::new(Notify::new());
    let gate = go.clone();
    let handler = move |request: http::Request<Body>, peer| {
        let gate = gate.clone();
        async move {
            gate.notified().await;
            let bytes = request.into_body().collect().await.map_or_else(|_| Bytes::new(), |body| body.to_bytes());
            let whole = bytes.chunks(251).all(|piece| piece == &pattern()[..piece.len()]);
            describe(http::Request::new(body::full(format!("{whole} {}", bytes.len()))), peer).await
        }
    };
    let rig = start(Limits::default(), Handler(handler)).await;
    let mut client = Raw::connect(rig.addr).await;
    let total = 64 << 20;
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {total}\r\n\r\n")).await;
    // Each byte says where it belongs.
    let bytes = pattern().repeat(FRAME_BYTES / 251 + 2);
    let next = |sent: usize| &bytes[sent % 251..][..FRAME_BYTES.min(total - sent)];
    let mut sent = 0;
    // Until the socket has taken nothing for a while.
    let patience = std::time::Duration::from_millis(300);
    while let Ok(written) = tokio::time::timeout(patience, client.tcp.write(next(sent))).await {
        sent += written.unwrap();
        assert!(sent < KERNEL_BYTES_MAX, "{sent} bytes were taken from the client");
    }
    go.notify_one();
    while sent < total {
        sent += soon("the rest", client.tcp.write(next(sent))).await.unwrap();
    }
    assert!(client.answer().await.body.ends_with(&format!(" true {total}")));
}

#[tokio::test]
async fn the_body_is_dropped_when_its_client_leaves() {
    let endless = Arc::new(Endless::new());
    let source = endless.clone();
    let rig = start(Limits::default(), Handler(move |_, _| std::future::ready(Response::new(source.body())))).await;
    let mut client = Raw::connect(rig.addr).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.until("\r\n\r\n").await;
    drop(client);
    soon("the body's end", endless.dropped.notified()).await;
}

#[tokio::test]
async fn a_body_that_says_nothing_for_long_is_dropped_too_when_its_client_leaves() {
    let dropped = Arc::new(Notify::new());
    let signal = dropped.clone();
    let handler = move |_, _| {
        let tell = Tell(signal.clone());
        let events = futures::stream::once(async { Ok(Frame::data(Bytes::from_static(b"data: 1\n\n"))) });
        let silence = futures::stream::once(async move {
            let _tell = tell;
            std::future::pending().await
        });
        std::future::ready(Response::new(StreamBody::new(events.chain(silence)).boxed_unsync()))
    };
    let rig = start(Limits::default(), Handler(handler)).await;
    for request in ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf"]
    {
        let mut client = Raw::connect(rig.addr).await;
        client.send(request).await;
        client.until("data: 1").await;
        drop(client);
        soon("the body's end", dropped.notified()).await;
    }
}

fn frames(frames: Vec<Result<&'static str, BodyError>>) -> Body {
    let frames = frames.into_iter().map(|frame| frame.map(|text| Frame::data(Bytes::from_static(text.as_bytes()))));
    StreamBody::new(futures::stream::iter(frames)).boxed_unsync()
}

/// What a client sees of a body, with a content-length of 6 or none.
async fn seen(body: fn() -> Body, declared: bool) -> String {
    let handler = move |_, _| {
        let response = Response::builder();
        let response = if declared { response.header("content-length", "6") } else { response };
        std::future::ready(response.body(body()).unwrap())
    };
    let rig = start(Limits::default(), Handler(handler)).await;
    let mut client = Raw::connect(rig.addr).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    let whole = client.rest().await;
    whole.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or(whole)
}

#[tokio::test]
async fn a_body_that_breaks_never_looks_whole() {
    let broken = || frames(vec![Ok("abc"), Err("lost".into())]);
    assert!(!seen(broken, false).await.ends_with("0\r\n\r\n"), "no last chunk");
    let short = seen(|| frames(vec![Ok("abc")]), true).await;
    assert!(short.len() < 6, "shorter than declared: {short:?}");
    let long = seen(|| frames(vec![Ok("abc"), Ok("defg")]), true).await;
    assert!(long.len() < 6, "longer than declared: {long:?}");
    assert_eq!(seen(|| frames(vec![Ok("abc"), Ok("def")]), true).await, "abcdef");
    assert_eq!(seen(|| frames(vec![Ok("abc"), Ok("def")]), false).await, "3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n");
}

#[tokio::test]
async fn a_body_that_panics_ends_its_connection_and_no_other() {
    let rig = start(
        Limits::default(),
        Handler(|request: http::Request<Body>, _| async move {
            let panics = request.uri().path() == "/panic";
            let frames = futures::stream::iter(["abc", "def"]).map(move |text| {
                assert!(!panics || text == "abc", "on purpose");
                Ok(Frame::data(Bytes::from_static(text.as_bytes())))
            });
            Response::new(StreamBody::new(frames).boxed_unsync())
        }),
    )
    .await;
    let mut broken = Raw::connect(rig.addr).await;
    broken.send("GET /panic HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(!broken.rest().await.ends_with("0\r\n\r\n"));
    assert_eq!(get(rig.addr, "/").await.body, "abcdef");
}
