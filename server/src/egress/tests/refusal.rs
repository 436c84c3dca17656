//! What a worker may not reach, however it asks.

use std::sync::atomic::Ordering;

use super::rig::*;
use crate::egress::{Error, Fetcher, Policy};

const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

async fn refused(fetcher: &Fetcher, url: &str) -> Error {
    match soon(url, fetcher.fetch(get(url), &Policy::default())).await {
        Ok(_) => panic!("{url} was fetched"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn loopback_is_refused_in_every_spelling() {
    let server = canned(HELLO).await;
    let port = server.addr.port();
    let hosts = [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "0",
        "0.0.0.0",
        "localhost",
        "LOCALHOST",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
    ];
    for host in hosts {
        let error = refused(&fetcher(), &format!("http://{host}:{port}/")).await;
        assert!(matches!(error, Error::Refused { .. }), "{host}: {error:?}");
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 0, "not even a connection was made");
}

#[tokio::test]
async fn the_error_names_the_host_and_the_reason_and_nothing_else() {
    let dns = Dns::saying(&[&["10.77.0.3"]]);
    let fetcher = Fetcher::with_resolver(quick(), dns).unwrap();
    let error = refused(&fetcher, "http://db.example/").await.to_string();
    let text = "fetching db.example is not allowed: it is a private address; the worker's configuration can allow it";
    assert_eq!(error, text);
}

#[tokio::test]
async fn a_name_that_turns_private_later_is_refused_then() {
    let server = canned(HELLO).await;
    // The first answer is an allowed address where nobody listens; the second is the server, which is not allowed.
    let dns = Dns::saying(&[&["127.0.0.2"], &["127.0.0.1"]]);
    let fetcher = Fetcher::with_resolver(quick(), dns.clone()).unwrap();
    let url = format!("http://rebind.example:{}/", server.addr.port());
    let policy = Policy { allow: vec!["127.0.0.2".parse().unwrap()], ..Policy::default() };
    let error = fetcher.fetch(get(&url), &policy).await.err();
    assert!(matches!(error, Some(Error::Connect { .. })), "{error:?}");
    let error = fetcher.fetch(get(&url), &policy).await.err();
    assert_eq!(error, Some(Error::Refused { host: "rebind.example".into(), kind: "a loopback address" }));
    assert_eq!(dns.asked.load(Ordering::SeqCst), 2, "every connection asks anew");
    assert_eq!(server.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn of_several_addresses_only_the_allowed_ones_are_tried() {
    let server = canned(HELLO).await;
    let dns = Dns::saying(&[&["169.254.169.254", "10.0.0.1", "127.0.0.1"]]);
    let fetcher = Fetcher::with_resolver(quick(), dns).unwrap();
    let policy = Policy { allow: vec!["127.0.0.0/8".parse().unwrap()], ..Policy::default() };
    let url = format!("http://many.example:{}/", server.addr.port());
    let response = soon("fetch", fetcher.fetch(get(url), &policy)).await.unwrap();
    assert_eq!(text(response.into_body()).await.unwrap(), "hello");
}

#[tokio::test]
async fn an_allowed_address_that_does_not_answer_is_no_way_to_one_that_is_not_allowed() {
    let server = canned(HELLO).await;
    // Nobody listens at the first, which is allowed; the server listens at the second.
    let dns = Dns::saying(&[&["127.0.0.2", "127.0.0.1"]]);
    let fetcher = Fetcher::with_resolver(quick(), dns).unwrap();
    let policy = Policy { allow: vec!["127.0.0.2".parse().unwrap()], ..Policy::default() };
    let url = format!("http://many.example:{}/", server.addr.port());
    let error = soon("fetch", fetcher.fetch(get(url), &policy)).await.err();
    assert!(matches!(error, Some(Error::Connect { .. })), "{error:?}");
    assert_eq!(server.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_connection_made_under_an_open_policy_is_no_way_around_a_closed_one() {
    let server = canned(HELLO).await;
    let fetcher = fetcher();
    let url = format!("http://{}/", server.addr);
    let response = soon("fetch", fetcher.fetch(get(&url), &open())).await.unwrap();
    assert_eq!(text(response.into_body()).await.unwrap(), "hello");
    assert!(matches!(refused(&fetcher, &url).await, Error::Refused { .. }), "an idle connection to it is pooled");
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn only_http_and_https_to_a_host_without_a_user_are_sent() {
    let fetcher = fetcher();
    for url in ["ftp://a.example/", "file://a/etc/passwd", "ws://a.example/"] {
        assert_eq!(refused(&fetcher, url).await, Error::Scheme, "{url}");
    }
    assert_eq!(refused(&fetcher, "/relative").await, Error::Scheme);
    assert!(matches!(refused(&fetcher, "http://user:pass@a.example/").await, Error::Request(_)));
}
