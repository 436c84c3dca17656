//! Allowed fetches: heads, bodies, bounds and errors.

use std::sync::atomic::Ordering;

use http::Request;
use lethe_runtime::body;
use tokio::net::TcpListener;

use super::rig::*;
use crate::egress::{Config, Error, Fetcher, Policy};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn host_comes_from_the_url_and_hop_by_hop_headers_stay_home() {
    let mut server =
        canned("HTTP/1.1 201 Created\r\ncontent-length: 2\r\nconnection: x-hop\r\nx-hop: 1\r\nx-a: b\r\n\r\nok").await;
    let url = format!("http://{}/p?q=1", server.addr);
    let request = Request::post(&url)
        .header("host", "evil.example")
        .header("connection", "x-mine")
        .header("x-mine", "1")
        .header("transfer-encoding", "chunked")
        .header("content-length", "99")
        .header("x-kept", "1")
        .body(body::full("body"))
        .unwrap();
    let response = soon("fetch", fetcher().fetch(request, &open())).await.unwrap();
    assert_eq!(response.status(), 201);
    let names: Vec<_> = response.headers().keys().map(|name| name.as_str()).collect();
    assert_eq!(names, ["content-length", "x-a"]);
    assert_eq!(text(response.into_body()).await.unwrap(), "ok");

    let head = soon("the head", server.heads.recv()).await.unwrap();
    let head = head.split("\r\n\r\n").next().unwrap().to_ascii_lowercase();
    let mut lines: Vec<_> = head.split("\r\n").collect();
    lines[1..].sort_unstable();
    let host = format!("host: {}", server.addr);
    assert_eq!(lines, ["post /p?q=1 http/1.1", "accept-encoding: gzip", "content-length: 4", &host, "x-kept: 1"]);
}

#[tokio::test]
async fn one_connection_carries_many_requests() {
    let server = canned("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n.").await;
    let fetcher = fetcher();
    for _ in 0..10 {
        let response = soon("fetch", fetcher.fetch(get(format!("http://{}/", server.addr)), &open())).await.unwrap();
        assert_eq!(text(response.into_body()).await.unwrap(), ".");
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn redirects_are_handed_over_not_followed() {
    let server = canned("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n").await;
    let response = soon("fetch", fetcher().fetch(get(format!("http://{}/", server.addr)), &open())).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), response.headers()["location"].to_str().unwrap()),
        (302, "http://127.0.0.1:1/")
    );
}

async fn error(config: Config, answer: &'static str) -> String {
    let server = canned(answer).await;
    let fetcher = Fetcher::new(config).unwrap();
    let error = match soon("fetch", fetcher.fetch(get(format!("http://{}/", server.addr)), &open())).await {
        Ok(response) => text(response.into_body()).await.unwrap_err(),
        Err(error) => error.to_string(),
    };
    error.replace(&server.addr.to_string(), "ADDR")
}

#[tokio::test]
async fn bad_answers_are_errors_that_say_what_was_wrong() {
    let table = [
        ("", "127.0.0.1 did not answer within 300 ms"),
        ("SSH-2.0-OpenSSH_9.9\r\n\r\n", "127.0.0.1 gave no valid response: it does not speak HTTP as it should"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", "the server stopped sending the response's body"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n", "the server broke off the response's body"),
    ];
    for (answer, expected) in table {
        assert_eq!(error(quick(), answer).await, expected, "{answer:?}");
    }
}

#[tokio::test]
async fn a_response_head_over_its_bound_is_refused() {
    let big: &'static str = Box::leak(format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(20_000)).into_boxed_str());
    let config = Config { header_bytes_max: 8 << 10, ..quick() };
    assert_eq!(error(config, big).await, "127.0.0.1 gave no valid response: its headers are too large");
    let lines: String = (0..300).map(|n| format!("x-{n}: 1\r\n")).collect();
    let many: &'static str = Box::leak(format!("HTTP/1.1 200 OK\r\n{lines}\r\n").into_boxed_str());
    assert_eq!(error(quick(), many).await, "127.0.0.1 gave no valid response: its headers are too large");
}

#[tokio::test]
async fn nobody_at_the_address_is_an_error_that_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let error = soon("fetch", fetcher().fetch(get(format!("http://{addr}/")), &open())).await.err().unwrap();
    assert_eq!(error.to_string(), "could not connect to 127.0.0.1: connection refused");
    let nowhere = Fetcher::with_resolver(quick(), Dns::saying(&[&[]])).unwrap();
    let error = soon("fetch", nowhere.fetch(get("http://no.example/"), &Policy::default())).await.err();
    assert_eq!(error, Some(Error::Resolve { host: "no.example".into() }));
}

#[tokio::test]
async fn one_request_over_the_bound_waits_and_is_then_refused() {
    let server = canned("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
    let fetcher = Fetcher::new(Config { requests_max: 1, ..quick() }).unwrap();
    let url = format!("http://{}/", server.addr);
    let held = soon("fetch", fetcher.fetch(get(&url), &open())).await.unwrap();
    assert_eq!(soon("fetch", fetcher.fetch(get(&url), &open())).await.err(), Some(Error::Busy));
    drop(held);
    assert!(soon("fetch", fetcher.fetch(get(&url), &open())).await.is_ok());
}

#[tokio::test]
async fn an_idle_connection_gives_up_its_socket_when_another_needs_one() {
    let (first, second) = (canned(OK).await, canned(OK).await);
    let fetcher = Fetcher::new(Config { connections_max: 1, connect_timeout_ms: 10_000, ..quick() }).unwrap();
    for addr in [first.addr, second.addr, first.addr] {
        let response = soon("fetch", fetcher.fetch(get(format!("http://{addr}/")), &open())).await.unwrap();
        assert_eq!(text(response.into_body()).await.unwrap(), "ok");
    }
    assert_eq!(first.connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn connections_in_use_are_never_more_than_the_bound() {
    let server = canned("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
    let fetcher = Fetcher::new(Config { connections_max: 1, ..quick() }).unwrap();
    let url = format!("http://{}/", server.addr);
    let held = soon("fetch", fetcher.fetch(get(&url), &open())).await.unwrap();
    let error = soon("fetch", fetcher.fetch(get(&url), &open())).await.err();
    assert_eq!(error, Some(Error::ConnectTimeout { host: "127.0.0.1".into(), ms: 300 }));
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    drop(held);
    assert!(soon("fetch", fetcher.fetch(get(&url), &open())).await.is_ok());
}

#[tokio::test]
async fn a_connection_that_the_server_closed_while_idle_is_not_an_error() {
    let server = canned("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok").await;
    let fetcher = fetcher();
    for _ in 0..5 {
        let response = soon("fetch", fetcher.fetch(get(format!("http://{}/", server.addr)), &open())).await.unwrap();
        assert_eq!(text(response.into_body()).await.unwrap(), "ok");
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 5);
}
