//! Start, drain, panics, and clients that leave.

use std::sync::Arc;

use http::Response;
use lethe_runtime::body;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::rig::*;
use crate::gateway::{Config, Error, Gateway, Limits};

#[tokio::test]
async fn a_port_in_use_is_an_error_that_names_it_and_says_what_to_do() {
    let first = Gateway::bind(Config::new(loopback())).await.unwrap();
    let addr = first.local_addr();
    let Err(error) = Gateway::bind(Config::new(addr)).await else { panic!("bound twice") };
    assert!(matches!(error, Error::AddressInUse { .. }), "{error:?}");
    let text = format!("{addr} is already in use: stop the program that listens there, or choose another port");
    assert_eq!(error.to_string(), text);
}

#[tokio::test]
async fn a_limit_that_cannot_work_is_named() {
    let limits = Limits { idle_timeout_ms: 0, ..Limits::default() };
    let Err(error) = Gateway::bind(Config { limits, ..Config::new(loopback()) }).await else { panic!("bound") };
    assert_eq!(error.to_string(), "gateway limit idle_timeout_ms: must be above 0");
}

#[tokio::test]
async fn a_drain_finishes_the_request_under_way_and_frees_the_port() {
    let (began, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let handler = {
        let (began, go) = (began.clone(), go.clone());
        move |_, _| {
            let (began, go) = (began.clone(), go.clone());
            async move {
                began.notify_one();
                go.notified().await;
                Response::new(body::full("finished"))
            }
        }
    };
    let rig = start(Limits::default(), Handler(handler)).await;
    let addr = rig.addr;
    let mut idle = Raw::connect(addr).await;
    let mut busy = Raw::connect(addr).await;
    busy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    soon("the request", began.notified()).await;

    let drain = tokio::spawn(rig.handle.drain());
    assert_eq!(idle.rest().await, "", "an idle connection is closed after a moment");
    go.notify_one();
    let answer = busy.answer().await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "finished"));
    assert_eq!(busy.rest().await, "");
    assert_eq!(soon("drain", drain).await.unwrap().cut, 0);
    assert!(TcpStream::connect(addr).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_request_on_its_way_to_a_gateway_that_drains_is_answered_and_its_answer_is_the_last() {
    let limits = Limits { drain_idle_ms: 60_000, ..Limits::default() };
    let rig = start(limits, Handler(|_, _| async { Response::new(body::full("answered")) })).await;
    let addr = rig.addr;
    let (mut used, mut unused) = (Raw::connect(addr).await, Raw::connect(addr).await);
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    assert!(!used.ask(get).await.head.contains("connection: close"));
    let drain = tokio::spawn(rig.handle.drain());
    soon("the port is closed", async { while TcpStream::connect(addr).await.is_ok() {} }).await;
    for connection in [&mut used, &mut unused] {
        let answer = connection.ask(get).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "answered"));
        assert!(answer.head.contains("connection: close"), "{}", answer.head);
        assert_eq!(connection.rest().await, "");
    }
    assert_eq!(soon("drain", drain).await.unwrap().cut, 0);
}

#[tokio::test]
async fn a_connection_that_waits_in_the_queue_of_a_gateway_that_drains_is_served() {
    let limits = Limits { drain_idle_ms: 60_000, ..Limits::default() };
    let rig = start(limits, Handler(|_, _| async { Response::new(body::full("answered")) })).await;
    // Nobody runs between these three, so it waits in the queue.
    let waiting = std::net::TcpStream::connect(rig.addr).unwrap();
    let drain = tokio::spawn(rig.handle.drain());
    let mut waiting = Raw::over(waiting);
    let answer = waiting.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "answered"));
    assert_eq!(soon("drain", drain).await.unwrap().cut, 0);
}

#[tokio::test]
async fn a_drain_cuts_off_what_does_not_finish_in_time() {
    let began = Arc::new(Notify::new());
    let handler = {
        let began = began.clone();
        move |_, _| {
            began.notify_one();
            std::future::pending()
        }
    };
    let rig = start(Limits { drain_timeout_ms: 50, ..Limits::default() }, Handler(handler)).await;
    let mut client = Raw::connect(rig.addr).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    soon("the request", began.notified()).await;
    assert_eq!(soon("drain", rig.handle.drain()).await.cut, 1);
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn a_panicking_handler_is_a_500_and_the_connection_lives_on() {
    let rig = start(
        Limits::default(),
        Handler(|request: http::Request<body::Body>, _| async move {
            assert!(request.uri().path() != "/panic", "on purpose");
            Response::new(body::full("fine"))
        }),
    )
    .await;
    let mut client = Raw::connect(rig.addr).await;
    let answer = client.ask("GET /panic HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!((answer.status, answer.body.as_str()), (500, "500 Internal Server Error: internal error\n"));
    assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.body, "fine");
}

#[tokio::test]
async fn the_handler_is_dropped_when_its_client_leaves_whether_or_not_it_reads_the_body() {
    let (began, dropped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let signals = (began.clone(), dropped.clone());
    let handler = move |request: http::Request<body::Body>, _| {
        let tell = Tell(signals.1.clone());
        signals.0.notify_one();
        async move {
            let (_tell, _unread) = (tell, request);
            std::future::pending().await
        }
    };
    let rig = start(Limits::default(), Handler(handler)).await;
    let requests = [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nha",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /pipelined HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    for request in requests {
        let mut client = Raw::connect(rig.addr).await;
        client.send(request).await;
        soon("the request", began.notified()).await;
        drop(client);
        soon(&format!("the handler's end after {request:?}"), dropped.notified()).await;
    }
}
