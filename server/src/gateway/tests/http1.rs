//! HTTP/1.1 as raw bytes.

use http::Response;
use lethe_runtime::body;

use super::rig::*;
use crate::gateway::Limits;

#[tokio::test]
async fn a_request_reaches_the_handler_with_an_absolute_url() {
    let rig = start(Limits::default(), Handler(describe)).await;
    let answer = Raw::connect(rig.addr)
        .await
        .ask("POST /a?b=c HTTP/1.1\r\nHost: w.example\r\nContent-Length: 2\r\n\r\nhi")
        .await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "POST http://w.example/a?b=c hi"));
    assert!(answer.head.contains("x-lethe-request-id: "), "{}", answer.head);
    assert!(answer.head.contains("\r\ndate: "), "{}", answer.head);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_on_one_connection() {
    let rig = start(Limits::default(), Handler(describe)).await;
    let mut client = Raw::connect(rig.addr).await;
    let requests: String = (0..20).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    client.send(requests).await;
    for n in 0..20 {
        assert_eq!(client.answer().await.body, format!("GET http://a/{n} "));
    }
    assert_eq!(rig.handle.connections(), 1);
}

#[tokio::test]
async fn connection_close_and_http_1_0_end_after_one_answer() {
    let rig = start(Limits::default(), Handler(describe)).await;
    for request in ["GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "GET / HTTP/1.0\r\nHost: a\r\n\r\n"] {
        let mut client = Raw::connect(rig.addr).await;
        assert_eq!(client.ask(request).await.body, "GET http://a/ ");
        assert_eq!(client.rest().await, "");
    }
}

#[tokio::test]
async fn head_is_answered_without_a_body_and_with_its_length() {
    let rig = start(Limits::default(), Handler(describe)).await;
    let mut client = Raw::connect(rig.addr).await;
    client.send("HEAD /x HTTP/1.1\r\nHost: a\r\n\r\nGET /y HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let head = client.until("\r\n\r\n").await;
    assert!(head.contains("content-length: 16\r\n"), "{head}");
    assert_eq!(client.answer().await.body, "GET http://a/y ");
}

#[tokio::test]
async fn continue_is_said_only_when_the_handler_wants_the_body() {
    let rig = start(
        Limits::default(),
        Handler(|request: http::Request<body::Body>, peer| async move {
            match request.uri().path() {
                "/no" => Response::builder().status(401).body(body::full("no")).unwrap(),
                _ => describe(request, peer).await,
            }
        }),
    )
    .await;
    let ask = |path| format!("PUT {path} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");

    let mut client = Raw::connect(rig.addr).await;
    client.send(ask("/yes")).await;
    assert_eq!(client.until("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(client.ask("abc").await.body, "PUT http://a/yes abc");

    let mut client = Raw::connect(rig.addr).await;
    assert_eq!(client.ask(ask("/no")).await.status, 401);
}

#[tokio::test]
async fn hop_by_hop_headers_pass_in_neither_direction() {
    let rig = start(
        Limits::default(),
        Handler(|request: http::Request<body::Body>, _| async move {
            let names: Vec<_> = request.headers().keys().map(|name| name.as_str().to_owned()).collect();
            Response::builder()
                .header("connection", "x-hop")
                .header("x-hop", "1")
                .header("keep-alive", "timeout=9")
                .header("transfer-encoding", "gzip")
                .body(body::full(names.join(" ")))
                .unwrap()
        }),
    )
    .await;
    let mut client = Raw::connect(rig.addr).await;
    let answer = client.ask("GET / HTTP/1.1\r\nHost: a\r\nConnection: x-in\r\nX-In: 1\r\nTE: trailers\r\n\r\n").await;
    let mut seen: Vec<_> = answer.body.split(' ').collect();
    seen.sort_unstable();
    let expected =
        ["cf-connecting-ip", "host", "x-forwarded-for", "x-forwarded-proto", "x-lethe-request-id", "x-real-ip"];
    assert_eq!(seen, expected);
    for name in ["x-hop", "keep-alive", "transfer-encoding"] {
        assert!(!answer.head.contains(name), "{name}: {}", answer.head);
    }
}
