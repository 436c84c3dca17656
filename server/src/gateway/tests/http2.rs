//! HTTP/2 without TLS: a hyper client that knows it beforehand, and raw frames.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use http::{Request, Response, Version};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use lethe_runtime::body::{self, Body};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::rig::*;
use crate::gateway::{Limits, Peer};

struct Client {
    send: SendRequest<Body>,
    connection: AbortOnDropHandle<Result<(), hyper::Error>>,
}

async fn connect_with(rig: &Rig, window_bytes: u32) -> Client {
    let tcp = TcpStream::connect(rig.addr).await.unwrap();
    let (send, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(window_bytes)
        .initial_connection_window_size(1 << 20)
        .handshake(TokioIo::new(tcp))
        .await
        .unwrap();
    Client { send, connection: AbortOnDropHandle::new(tokio::spawn(connection)) }
}

async fn connect(rig: &Rig) -> Client {
    connect_with(rig, 64 << 10).await
}

fn request(path: &str) -> Request<Body> {
    Request::get(format!("http://w.example{path}")).body(body::empty()).unwrap()
}

async fn text(response: Response<hyper::body::Incoming>) -> String {
    String::from_utf8(soon("the body", response.into_body().collect()).await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn prior_knowledge_is_understood_and_streams_share_a_connection() {
    let rig = start(Limits::default(), Handler(describe)).await;
    let mut client = connect(&rig).await;
    let asked: Vec<_> = (0..50).map(|n| client.send.send_request(request(&format!("/{n}")))).collect();
    for (n, response) in asked.into_iter().enumerate() {
        let response = soon("a response", response).await.unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (200, Version::HTTP_2));
        assert_eq!(text(response).await, format!("GET http://w.example/{n} "));
    }
    assert_eq!(rig.handle.connections(), 1);
}

#[tokio::test]
async fn head_has_a_length_and_no_body() {
    let rig = start(Limits::default(), Handler(describe)).await;
    let head = Request::head("http://w.example/").body(body::empty()).unwrap();
    let response = soon("a response", connect(&rig).await.send.send_request(head)).await.unwrap();
    assert_eq!(response.headers()["content-length"], "23");
    assert_eq!(text(response).await, "");
}

#[tokio::test]
async fn an_echo_flows_both_ways_at_once() {
    let rig = start(Limits::default(), Handler(echo)).await;
    let mut client = connect(&rig).await;
    let (sender, body) = channel();
    let request = Request::post("http://w.example/").body(body).unwrap();
    let mut response = soon("a response", client.send.send_request(request)).await.unwrap().into_body();
    for n in 0..50 {
        sender.send(Bytes::from(format!("{n:03}"))).await.unwrap();
        let frame = soon("an echo", response.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), format!("{n:03}"));
    }
    drop(sender);
    assert_eq!(soon("the end", response.collect()).await.unwrap().to_bytes(), "");
}

#[tokio::test]
async fn the_handler_is_dropped_when_its_stream_is_reset_or_its_connection_ends() {
    let (began, dropped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let signals = (began.clone(), dropped.clone());
    let handler = move |_, _| {
        let tell = Tell(signals.1.clone());
        signals.0.notify_one();
        async move {
            let _tell = tell;
            std::future::pending().await
        }
    };
    let rig = start(Limits::default(), Handler(handler)).await;
    let mut client = connect(&rig).await;
    let response = tokio::spawn(client.send.send_request(request("/")));
    soon("the request", began.notified()).await;
    response.abort();
    soon("the handler's end", dropped.notified()).await;
    assert!(!client.send.is_closed(), "the connection lives on");

    let mut raw = Raw::connect(rig.addr).await;
    raw.send([PREFACE, &frame(1, 0x05, 1, GET)].concat()).await;
    soon("the request", began.notified()).await;
    drop(raw);
    soon("the handler's end with its connection", dropped.notified()).await;
}

#[tokio::test]
async fn a_stream_whose_reader_stalls_is_cut_off_and_its_neighbours_are_not() {
    let endless = Arc::new(Endless::new());
    let source = endless.clone();
    let handler = move |request: Request<Body>, peer: Peer| {
        let source = source.clone();
        async move {
            match request.uri().path() {
                "/endless" => Response::new(source.body()),
                _ => describe(request, peer).await,
            }
        }
    };
    for window_bytes in [64 << 10, 0] {
        let rig = start(quick(), Handler(handler.clone())).await;
        let mut client = connect_with(&rig, window_bytes).await;
        let stalled = soon("a response", client.send.send_request(request("/endless"))).await.unwrap();
        soon("the cut", endless.dropped.notified()).await;
        assert!(endless.bytes_taken() < 2 << 20, "{} bytes were taken", endless.bytes_taken());
        assert!(soon("the reset", stalled.into_body().collect()).await.is_err());
        // A window of 0 lets no body through, so only the head can be checked.
        let neighbour = soon("a response", client.send.send_request(request("/"))).await.unwrap();
        assert_eq!(neighbour.status(), 200);
    }
}

#[tokio::test]
async fn a_slow_writer_is_not_taken_for_a_stalled_reader() {
    let limits = quick();
    let pause = std::time::Duration::from_millis(limits.body_stall_timeout_ms * 5 / 2);
    let handler = move |_, _| async move {
        let frames = futures::stream::iter(["abc", "def"]).then(move |text| async move {
            tokio::time::sleep(pause).await;
            Ok(Frame::data(Bytes::from_static(text.as_bytes())))
        });
        Response::new(StreamBody::new(frames).boxed_unsync())
    };
    let rig = start(limits, Handler(handler)).await;
    let mut client = connect(&rig).await;
    let response = soon("a response", client.send.send_request(request("/"))).await.unwrap();
    assert_eq!(text(response).await, "abcdef");
    assert_eq!(get(rig.addr, "/").await.body, "abcdef", "nor over HTTP/1.1");
}

#[tokio::test]
async fn a_body_is_held_to_its_length() {
    let handler = |request: Request<Body>, _| async move {
        let frames = futures::stream::iter([Ok(Frame::data(Bytes::from_static(b"abc")))]);
        let response = Response::builder().header("content-length", &request.uri().path()[1..]);
        response.body(StreamBody::new(frames).boxed_unsync()).unwrap()
    };
    let rig = start(Limits::default(), Handler(handler)).await;
    let mut client = connect(&rig).await;
    for (declared, whole) in [("2", false), ("3", true), ("4", false)] {
        // A broken body may reset the stream before its head was written out.
        let body = match soon("a response", client.send.send_request(request(&format!("/{declared}")))).await {
            Ok(response) => soon("the body", response.into_body().collect()).await,
            Err(error) => Err(error),
        };
        assert_eq!(body.is_ok_and(|body| body.to_bytes() == "abc"), whole, "{declared} declared, 3 sent");
    }
}

#[tokio::test]
async fn headers_over_their_bound_are_431() {
    let limits = Limits { header_bytes_max: 16 << 10, ..Limits::default() };
    let rig = start(limits, Handler(describe)).await;
    let mut client = connect(&rig).await;
    let mut large = request("/");
    for n in 0..5 {
        large
            .headers_mut()
            .insert(http::HeaderName::try_from(format!("x-{n}")).unwrap(), "y".repeat(4 << 10).parse().unwrap());
    }
    assert_eq!(soon("a response", client.send.send_request(large)).await.unwrap().status(), 431);
    assert_eq!(soon("a response", client.send.send_request(request("/"))).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_body_over_its_bound_is_413() {
    let rig = start(Limits { request_body_bytes_max: 10, ..Limits::default() }, Handler(describe)).await;
    let mut client = connect(&rig).await;
    let (sender, body) = channel();
    let post = Request::post("http://w.example/").body(body).unwrap();
    let response = tokio::spawn(client.send.send_request(post));
    sender.send(Bytes::from_static(b"more than ten bytes")).await.unwrap();
    assert_eq!(soon("a response", response).await.unwrap().unwrap().status(), 413);
}

#[tokio::test]
async fn an_idle_connection_is_told_goodbye() {
    let rig = start(quick(), Handler(describe)).await;
    let mut client = connect(&rig).await;
    let response = soon("a response", client.send.send_request(request("/"))).await.unwrap();
    assert_eq!(text(response).await, "GET http://w.example/ ");
    soon("the goodbye", client.connection).await.unwrap().unwrap();
    assert!(client.send.is_closed());
}

#[tokio::test]
async fn a_drain_finishes_the_stream_under_way() {
    let (began, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let gates = (began.clone(), go.clone());
    let handler = move |_: Request<Body>, _: Peer| {
        let (began, go) = gates.clone();
        async move {
            began.notify_one();
            go.notified().await;
            Response::new(body::full("finished"))
        }
    };
    let rig = start(Limits::default(), Handler(handler)).await;
    let mut client = connect(&rig).await;
    let response = tokio::spawn(client.send.send_request(request("/")));
    soon("the request", began.notified()).await;
    let drain = tokio::spawn(rig.handle.drain());
    go.notify_one();
    assert_eq!(text(soon("a response", response).await.unwrap().unwrap()).await, "finished");
    assert_eq!(soon("drain", drain).await.unwrap().cut, 0);
}

/// How a client begins: the preface and empty settings.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// GET http://a/ by HPACK's static table.
pub const GET: &[u8] = b"\x82\x84\x86\x41\x01a";

/// One HTTP/2 frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

#[tokio::test]
async fn a_client_that_opens_and_resets_streams_without_end_is_hung_up_on() {
    let rig = start(
        Limits::default(),
        Handler(|request: Request<Body>, peer| async move {
            if request.uri().path() == "/" { std::future::pending().await } else { describe(request, peer).await }
        }),
    )
    .await;
    let mut client = Raw::connect(rig.addr).await;
    client.send(PREFACE).await;
    let mut attack = Vec::new();
    for n in 0..20_000u32 {
        // A request, and RST_STREAM with CANCEL.
        attack.extend(frame(1, 0x05, 2 * n + 1, GET));
        attack.extend(frame(3, 0, 2 * n + 1, &8u32.to_be_bytes()));
    }
    // The server may hang up in the middle.
    drop(soon("the attack", tokio::io::AsyncWriteExt::write_all(&mut client.tcp, &attack)).await);
    client.rest().await;
    let mut other = connect(&rig).await;
    assert_eq!(soon("a response", other.send.send_request(request("/others"))).await.unwrap().status(), 200);
}

#[tokio::test]
async fn broken_frames_end_their_connection_only() {
    let rig = start(quick(), Handler(describe)).await;
    let table: [Vec<u8>; 7] = [
        frame(0, 0, 1, b"data on an idle stream"),
        frame(1, 0x04, 2, b"\x82\x84\x86"),
        frame(1, 0x04, 1, b"\xff\xff\xff\xff\xff\xff"),
        frame(9, 0x04, 1, b"continuation of nothing"),
        frame(4, 0, 0, b"odd"),
        frame(8, 0, 0, &[0, 0, 0, 0]),
        vec![0xff; 4096],
    ];
    for bytes in table {
        let mut client = Raw::connect(rig.addr).await;
        client.send([PREFACE, &bytes].concat()).await;
        client.rest().await;
    }
    let mut client = connect(&rig).await;
    assert_eq!(soon("a response", client.send.send_request(request("/"))).await.unwrap().status(), 200);
}

#[tokio::test]
async fn half_a_preface_is_not_waited_for() {
    let rig = start(quick(), Handler(describe)).await;
    let mut client = Raw::connect(rig.addr).await;
    client.send("PRI * HT").await;
    client.rest().await;
}
