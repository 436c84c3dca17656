//! HTTP to actors: heads, bodies streaming both ways, bodies that break.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use lethe_client::{Code, Id, Outcome};
use lethe_runtime::{
    body,
    host::{ActorCall, ActorReply},
};
use lethe_server::{
    actor::{ActorRef, Call},
    grpc::Remote,
};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    fake::ids,
    server::{serve, serve_with},
};

fn post(url: &str) -> http::request::Builder {
    http::Request::post(url).header("x-a", "1").header("x-a", "2")
}

#[tokio::test]
async fn a_request_arrives_whole_and_its_response_comes_back() {
    let server = serve().await;
    let room = server.client().await.actor("chat/Room", Id::name("lobby"));
    let body = Bytes::from(vec![b'x'; 1 << 20]);
    let response = room.fetch(post("http://room/say?a=1").body(body.clone()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 202);
    assert_eq!(response.headers()["x-line"], "POST http://room/say?a=1");
    assert_eq!(response.headers().get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(response.into_body().collect(2 << 20).await.unwrap(), body);
}

#[tokio::test]
async fn bodies_stream_both_ways_at_the_same_time() {
    let server = serve().await;
    let room = server.client().await.actor("chat/Room", Id::name("lobby"));
    let (send, receive) = mpsc::channel(1);
    let request = post("http://room/").body(ReceiverStream::new(receive)).unwrap();
    let mut body = room.fetch_streaming(request).await.unwrap().into_body();
    for n in 0..100 {
        let chunk = Bytes::from(format!("chunk {n}"));
        send.send(chunk.clone()).await.unwrap();
        assert_eq!(body.chunk().await.unwrap(), Some(chunk));
    }
    drop(send);
    assert_eq!(body.chunk().await.unwrap(), None);
}

#[tokio::test]
async fn a_body_may_go_on_after_the_deadline_of_its_head() {
    let server = serve().await;
    let deadline = Duration::from_secs(2);
    let client = server.client().await.with_deadline(deadline);
    let (send, receive) = mpsc::channel(1);
    let request = post("http://room/").body(ReceiverStream::new(receive)).unwrap();
    let room = client.actor("chat/Room", Id::name("lobby"));
    let mut body = room.fetch_streaming(request).await.unwrap().into_body();
    assert!(tokio::time::timeout(deadline, body.chunk()).await.is_err(), "the body ended");
    send.send("late".into()).await.unwrap();
    assert_eq!(body.chunk().await.unwrap(), Some("late".into()));
}

#[tokio::test]
async fn a_body_under_way_keeps_its_place_among_the_calls_until_it_ends() {
    let server = serve_with(|config| config.calls_max = 1).await;
    let client = server.client().await;
    let (send, receive) = mpsc::channel::<Bytes>(1);
    let request = post("http://room/").body(ReceiverStream::new(receive)).unwrap();
    let room = client.actor("chat/Room", Id::name("lobby"));
    let mut body = room.fetch_streaming(request).await.unwrap().into_body();
    let refused = room.call_json("echo", &json!([])).await.unwrap_err();
    assert_eq!((refused.code, refused.outcome), (Code::Overloaded, Outcome::NotDone));
    drop(send);
    assert_eq!(body.chunk().await, Ok(None));
    let deadline = Instant::now() + Duration::from_secs(20);
    while room.call_json("echo", &json!([])).await.is_err() {
        assert!(Instant::now() < deadline, "the place was never given back");
    }
}

#[tokio::test]
async fn a_response_larger_than_wanted_is_refused_by_collect() {
    let server = serve().await;
    let room = server.client().await.actor("chat/Room", Id::name("lobby"));
    let response = room.fetch(post("http://room/").body(vec![1; 101].into()).unwrap()).await.unwrap();
    assert_eq!(response.into_body().collect(100).await.unwrap_err().code, Code::ExceededLimit);
}

#[tokio::test]
async fn a_response_body_that_breaks_is_an_error_not_an_end() {
    let server = serve().await;
    let room = server.client().await.actor("chat/Room", Id::name("lobby"));
    let response = room.fetch(post("http://room/break").body(Bytes::new()).unwrap()).await.unwrap();
    let error = response.into_body().collect(100).await.unwrap_err();
    assert_eq!((error.code, error.outcome), (Code::Exception, Outcome::Unknown));
    assert_eq!(error.message, "the response's body failed: snap");
}

#[tokio::test]
async fn a_url_that_is_not_http_is_refused() {
    let server = serve().await;
    let room = server.client().await.actor("chat/Room", Id::name("lobby"));
    for url in ["/path", "ftp://room/", "*"] {
        let error = room.fetch(post(url).body(Bytes::new()).unwrap()).await.unwrap_err();
        assert_eq!((error.code, error.outcome), (Code::InvalidRequest, Outcome::NotDone), "{url}");
    }
}

#[tokio::test]
async fn another_node_streams_bodies_and_its_broken_request_body_breaks_there_too() {
    let server = serve().await;
    let remote: Arc<dyn Call> = Arc::new(Remote::new(&server.address).unwrap());
    let to = ActorRef { namespace: "chat/Room".into(), id: ids().from_name("lobby").unwrap(), name: None };
    let frames = [Ok(Bytes::from("one")), Ok("two".into()), Err(body::BodyError::from("snap"))];
    let frames = frames.map(|frame| frame.map(http_body::Frame::data));
    let body = StreamBody::new(futures::stream::iter(frames)).boxed_unsync();
    let request = post("http://room/").body(body).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    let reply = remote.call(to, ActorCall::Fetch(request), deadline).await.unwrap();
    let ActorReply::Response(response) = reply else { panic!("no response") };
    assert_eq!(response.status(), 202);
    let mut body = response.into_body();
    let mut seen = Vec::new();
    let broken = loop {
        match body.frame().await.expect("the body ended as if nothing were wrong") {
            Ok(frame) => seen.extend_from_slice(&frame.into_data().unwrap()),
            Err(error) => break error.to_string(),
        }
    };
    assert_eq!((seen.as_slice(), broken.as_str()), (&b"onetwo"[..], "the response's body failed: snap"));
}

#[tokio::test]
async fn a_head_over_a_limit_is_refused_and_one_at_it_is_taken() {
    let server = serve().await;
    let room = server.client().await.actor("chat/Room", Id::name("lobby"));
    let url = |bytes: usize| format!("http://room/{}", "x".repeat(bytes - "http://room/".len()));
    let headers = |count: usize, bytes: usize| {
        let mut request = http::Request::get("http://room/").body(Bytes::new()).unwrap();
        for n in 0..count {
            let value = "v".repeat(bytes / count - 5);
            let name = http::HeaderName::from_bytes(format!("h{n:04}").as_bytes()).unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        request
    };
    let get = |url: String| http::Request::get(url).body(Bytes::new()).unwrap();
    for good in [get(url(16 << 10)), headers(256, 256 * 6), headers(2, 16 << 10)] {
        room.fetch(good).await.unwrap();
    }
    let table = [
        (get(url((16 << 10) + 1)), "a URL has at most 16384 bytes"),
        (headers(257, 257 * 6), "a request has at most 256 headers of 131072 bytes together"),
        (headers(2, (128 << 10) + 2), "a request has at most 256 headers of 131072 bytes together"),
    ];
    for (bad, message) in table {
        let error = room.fetch(bad).await.unwrap_err();
        assert_eq!(
            (error.code, error.outcome, error.message.as_str()),
            (Code::InvalidRequest, Outcome::NotDone, message)
        );
    }
}

#[tokio::test]
async fn a_get_has_no_body_even_if_one_is_sent() {
    let server = serve().await;
    let room = server.client().await.actor("chat/Room", Id::name("lobby"));
    let request = http::Request::get("http://room/").body(Bytes::from("odd")).unwrap();
    assert_eq!(room.fetch(request).await.unwrap().into_body().collect(9).await.unwrap(), Bytes::new());
}
