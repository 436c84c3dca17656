//! Egress and gateway back to back: what goes out through one comes in through the other.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt;
use lethe_runtime::body::{self, Body};
use tokio::sync::Notify;

use super::rig::*;
use super::tls::Files;
use crate::egress::{self, Fetcher, Policy, Resolve};
use crate::gateway::{Config, Limits, Peer};

/// Every name is this machine.
struct Here;

impl Resolve for Here {
    fn resolve(&self, _host: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
        Box::pin(async { Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]) })
    }
}

fn open() -> Policy {
    Policy { allow_private: true, allow: vec![] }
}

fn fetcher(extra_roots_pem: Option<String>) -> Fetcher {
    let config = egress::Config { extra_roots_pem, body_stall_timeout_ms: 200, ..egress::Config::default() };
    Fetcher::with_resolver(config, Arc::new(Here)).unwrap()
}

fn get(url: String) -> Request<Body> {
    Request::get(url).body(body::empty()).unwrap()
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(soon("the body", response.into_body().collect()).await.unwrap().to_bytes().to_vec()).unwrap()
}

/// Answers with the protocol and the URL.
async fn protocol(request: Request<Body>, _: Peer) -> Response<Body> {
    Response::new(body::full(format!("{:?} {}", request.version(), request.uri())))
}

async fn start_tls(files: &Files) -> Rig {
    start_with(Config { tls: Some(files.tls()), ..Config::new(loopback()) }, Handler(protocol)).await
}

#[tokio::test]
async fn https_speaks_http_2_on_one_connection_to_who_is_trusted() {
    let files = Files::new();
    let rig = start_tls(&files).await;
    let fetcher = fetcher(Some(files.certificate.cert.pem()));
    for n in 0..5 {
        let url = format!("https://w.example:{}/{n}", rig.addr.port());
        let response = soon("fetch", fetcher.fetch(get(url.clone()), &open())).await.unwrap();
        assert_eq!(text(response).await, format!("HTTP/2.0 {url}"));
    }
    assert_eq!(rig.handle.connections(), 1);
}

#[tokio::test]
async fn who_is_not_trusted_or_has_another_name_is_an_error_that_says_so() {
    let files = Files::new();
    let rig = start_tls(&files).await;
    let ask = async |fetcher: Fetcher, host: &str| {
        let request = get(format!("https://{host}:{}/", rig.addr.port()));
        soon("fetch", fetcher.fetch(request, &open())).await.err().map(|error| error.to_string()).unwrap_or_default()
    };
    let untrusted = ask(fetcher(None), "w.example").await;
    let expected = "no secure connection to w.example: invalid peer certificate: ";
    assert!(untrusted.starts_with(expected), "{untrusted}");
    let misnamed = ask(fetcher(Some(files.certificate.cert.pem())), "other.example").await;
    let expected = "no secure connection to other.example: invalid peer certificate: certificate not valid for name";
    assert!(misnamed.starts_with(expected), "{misnamed}");
    let plain = start(Limits::default(), Handler(protocol)).await;
    let request = get(format!("https://w.example:{}/", plain.addr.port()));
    let error = soon("fetch", fetcher(None).fetch(request, &open())).await.err().unwrap().to_string();
    assert!(error.starts_with("no secure connection to w.example: "), "{error}");
}

fn url(addr: SocketAddr) -> String {
    format!("http://{addr}/")
}

#[tokio::test]
async fn bodies_flow_both_ways_at_once() {
    let rig = start(Limits::default(), Handler(echo)).await;
    let (sender, body) = channel();
    let request = Request::post(url(rig.addr)).body(body).unwrap();
    let fetcher = fetcher(None);
    let mut response = soon("fetch", fetcher.fetch(request, &open())).await.unwrap().into_body();
    for n in 0..50 {
        sender.send(Bytes::from(format!("{n:03}"))).await.unwrap();
        let frame = soon("an echo", response.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), format!("{n:03}"));
    }
    drop(sender);
    assert_eq!(soon("the end", response.collect()).await.unwrap().to_bytes(), "");
}

#[tokio::test]
async fn a_response_nobody_reads_stops_its_sender_and_dropping_it_ends_it() {
    let endless = Arc::new(Endless::new());
    let source = endless.clone();
    let rig = start(Limits::default(), Handler(move |_, _| std::future::ready(Response::new(source.body())))).await;
    let mut response = soon("fetch", fetcher(None).fetch(get(url(rig.addr)), &open())).await.unwrap().into_body();
    for _ in 0..10 {
        soon("a frame", response.frame()).await.unwrap().unwrap();
    }
    drop(response);
    soon("the sender's end", endless.dropped.notified()).await;
    assert!(endless.bytes_taken() < 24 << 20, "{} bytes were taken", endless.bytes_taken());
}

#[tokio::test]
async fn dropping_the_fetch_ends_the_request() {
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
    let fetch = tokio::spawn(async move { fetcher(None).fetch(get(url(rig.addr)), &open()).await.is_ok() });
    soon("the request", began.notified()).await;
    fetch.abort();
    soon("the handler's end", dropped.notified()).await;
}

#[tokio::test]
async fn a_request_body_that_fails_is_not_sent_as_if_whole() {
    let rig = start(Limits::default(), Handler(describe)).await;
    for declared in [None, Some("6")] {
        let frames =
            futures::stream::iter([Ok(http_body::Frame::data(Bytes::from_static(b"abc"))), Err("lost".into())]);
        let mut request = Request::post(url(rig.addr));
        if let Some(length) = declared {
            request = request.header("content-length", length);
        }
        let request = request.body(http_body_util::StreamBody::new(frames).boxed_unsync()).unwrap();
        match soon("fetch", fetcher(None).fetch(request, &open())).await {
            Ok(response) => assert_eq!(response.status(), 400, "the other side saw that it broke"),
            Err(error) => {
                let expected =
                    "127.0.0.1 gave no valid response: the request's body failed or has another length than declared";
                assert_eq!(error.to_string(), expected);
            }
        }
    }
}
