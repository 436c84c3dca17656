//! Connections that are too many, silent, or not HTTP/2.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::atomic::Ordering,
    time::Duration,
};

use lethe_client::{Client, Code, Id, Outcome};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    proxy::Proxy,
    server::{Server, serve, serve_with},
};

fn raw(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Waits until the server has closed the connection.
async fn closed(mut stream: TcpStream) {
    let end = tokio::task::spawn_blocking(move || stream.read_to_end(&mut Vec::new()));
    match end.await.unwrap() {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_over_the_limit_is_closed_and_its_place_can_be_taken_later() {
    let server = serve_with(|config| config.connections_max = 1).await;
    let first = server.client().await;
    first.actor("chat/Room", Id::name("a")).call_json("echo", &json!([])).await.unwrap();
    closed(raw(&server)).await;
    drop(first);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        if let Ok(client) = Client::connect(&server.address).await
            && client.actor("chat/Room", Id::name("a")).call_json("echo", &json!([])).await.is_ok()
        {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "the place was never given back");
    }
    assert_eq!(server.fake.calls.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_says_nothing_or_too_little_is_closed_in_time() {
    let server = serve_with(|config| config.preface_timeout_ms = 100).await;
    closed(raw(&server)).await;
    let mut hesitant = raw(&server);
    hesitant.write_all(b"PRI * HTTP/2").unwrap();
    closed(hesitant).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rubbish_closes_its_own_connection_and_no_other() {
    let server = serve_with(|_| {}).await;
    let room = server.client().await.actor("chat/Room", Id::name("a"));
    for rubbish in
        [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], &[0xff; 100], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nrubbish rubbish"]
    {
        let mut stream = raw(&server);
        stream.write_all(rubbish).unwrap();
        closed(stream).await;
        room.call_json("echo", &json!([])).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_over_the_limit_of_one_connection_waits_for_a_place() {
    let server = serve_with(|config| config.connection_calls_max = 1).await;
    let client = server.client().await;
    let room = client.actor("chat/Room", Id::name("a"));
    // The limit reaches the client with its first answer.
    room.call_json("echo", &json!([0])).await.unwrap();
    let waiting = {
        let room = room.clone();
        tokio::spawn(async move { room.call_json("wait", &json!([1])).await })
    };
    while server.fake.calls.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    let mut queued = tokio::spawn(async move { room.call_json("echo", &json!([2])).await });
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut queued).await.is_err(), "it did not wait");
    server.fake.go.notify_one();
    assert_eq!(waiting.await.unwrap(), Ok(json!([1])));
    assert_eq!(queued.await.unwrap(), Ok(json!([2])));
}

fn get() -> http::Request<bytes::Bytes> {
    http::Request::get("http://room/").body(bytes::Bytes::new()).unwrap()
}

/// Takes one connection, waits for the head of a request, and closes with a GOAWAY that names `last` as the last stream.
async fn goes_away(listener: tokio::net::TcpListener, last: u32) {
    const HEADERS: u8 = 1;
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.read_exact(&mut [0; b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len()]).await.unwrap();
    // An empty SETTINGS, and the acknowledgement of the client's.
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    stream.write_all(&[0, 0, 0, 4, 1, 0, 0, 0, 0]).await.unwrap();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        stream.read_exact(&mut vec![0; length as usize]).await.unwrap();
        if head[3] == HEADERS {
            break;
        }
    }
    stream.write_all(&[0, 0, 8, 7, 0, 0, 0, 0, 0]).await.unwrap();
    stream.write_all(&last.to_be_bytes()).await.unwrap();
    stream.write_all(&[0; 4]).await.unwrap();
    stream.shutdown().await.unwrap();
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

/// The address of a server that does so, and its task.
async fn going_away(last: u32) -> (String, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    (address, tokio::spawn(goes_away(listener, last)))
}

#[tokio::test]
async fn a_request_that_crosses_the_end_of_its_connection_was_not_done_if_the_server_says_so() {
    // The first request of a client is stream 1.
    for (last, outcome) in [(0, Outcome::NotDone), (1, Outcome::Unknown)] {
        let (address, server) = going_away(last).await;
        let client = Client::connect(&address).await.unwrap();
        let error = client.actor("chat/Room", Id::name("a")).fetch(get()).await.unwrap_err();
        assert_eq!(error.outcome, outcome, "{error}");
        server.abort();
    }
}

/// Calls share a stream, and none is sent before the server opened it.
#[tokio::test]
async fn a_call_on_a_connection_that_ends_before_its_stream_is_open_was_not_done() {
    for last in [0, 1] {
        let (address, server) = going_away(last).await;
        let client = Client::connect(&address).await.unwrap();
        let error = client.actor("chat/Room", Id::name("a")).call_json("echo", &json!([])).await.unwrap_err();
        assert_eq!(error.outcome, Outcome::NotDone, "{error}");
        server.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_lost_during_a_call_leaves_it_unknown_and_the_next_call_connects_anew() {
    let server = serve().await;
    let proxy = Proxy::start(&server.address).await;
    let client = Client::connect(&proxy.address).await.unwrap();
    let room = client.actor("chat/Room", Id::name("a"));
    let lost = {
        let room = room.clone();
        tokio::spawn(async move { room.call_json("hang", &json!([])).await })
    };
    while server.fake.calls.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    proxy.cut();
    let error = lost.await.unwrap().unwrap_err();
    assert_eq!((error.code, error.outcome), (Code::Unavailable, Outcome::Unknown), "{error}");
    // A call that comes before the loss is noticed was surely not sent.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while let Err(error) = room.call_json("echo", &json!([1])).await {
        assert_eq!((error.code, error.outcome), (Code::Unavailable, Outcome::NotDone), "{error}");
        assert!(tokio::time::Instant::now() < deadline, "it never connects anew");
    }
    assert_eq!(proxy.connections.load(Ordering::SeqCst), 2);
    assert_eq!(server.fake.calls.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_arrives_too_slowly_ends_at_its_deadline_and_gives_its_place_back() {
    let server = serve_with(|config| config.calls_max = 1).await;
    let proxy = Proxy::start(&server.address).await;
    let slow = Client::connect(&proxy.address).await.unwrap().with_deadline(Duration::from_secs(4));
    let room = server.client().await.actor("chat/Room", Id::name("b"));
    // HTTP/2 lets a client send 1 MiB unread; more passes only once the call has its place and is being read.
    proxy.hold_after(4 << 20);
    let call =
        tokio::spawn(
            async move { slow.actor("chat/Room", Id::name("a")).call_v8("echo", vec![0; 8 << 20].into()).await },
        );
    proxy.held().await;
    let refused = room.call_json("echo", &json!([])).await.unwrap_err();
    assert_eq!((refused.code, refused.outcome), (Code::Overloaded, Outcome::NotDone), "{refused}");
    let error = call.await.unwrap().unwrap_err();
    assert_eq!((error.code, error.outcome), (Code::Deadline, Outcome::Unknown), "{error}");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while let Err(error) = room.call_json("echo", &json!([])).await {
        assert_eq!((error.code, error.outcome), (Code::Overloaded, Outcome::NotDone), "{error}");
        assert!(tokio::time::Instant::now() < deadline, "the place was never given back");
    }
    assert_eq!(server.fake.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wire_that_swallows_everything_is_given_up_at_the_deadline() {
    let server = serve().await;
    let proxy = Proxy::start(&server.address).await;
    let client = Client::connect(&proxy.address).await.unwrap().with_deadline(Duration::from_millis(300));
    let room = client.actor("chat/Room", Id::name("a"));
    proxy.hold_after(0);
    let began = std::time::Instant::now();
    // The stream of calls never opens, so nothing was sent on it.
    let error = room.call_json("echo", &json!([])).await.unwrap_err();
    assert_eq!((error.code, error.outcome, error.name.as_str()), (Code::Deadline, Outcome::NotDone, "TimeoutError"));
    let error = room.fetch(get()).await.unwrap_err();
    assert_eq!((error.code, error.outcome), (Code::Deadline, Outcome::Unknown));
    assert!(began.elapsed() < Duration::from_secs(20));
}
