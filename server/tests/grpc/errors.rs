//! Calls that fail: every error keeps its code, its outcome and its JavaScript error on the way.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use lethe_client::{Client, Code, Error, Id, Outcome};
use lethe_proto::{
    PAYLOAD_BYTES_MAX,
    v1::{self, actors_client::ActorsClient},
};
use lethe_runtime::host::{ActorCall, CallErrorKind, Payload};
use lethe_server::{
    actor::{ActorRef, Call},
    deploy::Ids,
    grpc::Remote,
};
use serde_json::json;
use tonic::transport::Endpoint;

use crate::{
    fake::{KINDS, OUTCOMES, error, ids},
    server::{serve, serve_with},
};

#[tokio::test]
async fn every_kind_of_failure_reaches_the_client_with_its_outcome() {
    let server = serve().await;
    let room = server.client().await.actor("chat/Room", Id::name("lobby"));
    let codes = [
        Code::Exception,
        Code::ActorDestroyed,
        Code::Overloaded,
        Code::ExceededLimit,
        Code::InvalidTarget,
        Code::Reset,
        Code::Unavailable,
        Code::Deadline,
        Code::Internal,
    ];
    let outcomes = [Outcome::Done, Outcome::NotDone, Outcome::Unknown];
    for (i, code) in codes.into_iter().enumerate() {
        for (j, outcome) in outcomes.into_iter().enumerate() {
            let expected = Error {
                code,
                outcome,
                name: "Oops".into(),
                message: format!("{:?}", KINDS[i]),
                stack: "at room.js:1:1".into(),
            };
            assert_eq!(room.call_json("fail", &json!([i, j])).await, Err(expected));
        }
    }
}

#[tokio::test]
async fn every_kind_of_failure_reaches_another_node_unchanged() {
    let server = serve().await;
    let remote = Remote::new(&server.address).unwrap();
    let to = ActorRef { namespace: "chat/Room".into(), id: ids().from_name("lobby").unwrap(), name: None };
    let deadline = Instant::now() + Duration::from_secs(30);
    for (i, kind) in KINDS.into_iter().enumerate() {
        for (j, outcome) in OUTCOMES.into_iter().enumerate() {
            let args = Payload::Json(json!([i, j]).to_string());
            let call = ActorCall::Method { method: "fail".into(), args };
            let failed = remote.call(to.clone(), call, deadline).await.err();
            assert_eq!(failed, Some(error(kind, outcome)));
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said_and_nothing_runs() {
    let server = serve().await;
    let client = server.client().await;
    let foreign = Ids::new("chat-Other").from_name("lobby").unwrap().to_string();
    let long = "x".repeat(1025);
    let table = [
        ("Other", Id::name("a"), "echo", Code::InvalidTarget, "no namespace \"Other\"".to_owned()),
        ("chat/Later", Id::name("a"), "echo", Code::Unavailable, "what is deployed is not known yet".to_owned()),
        (
            "chat/Room",
            Id::hex(&foreign),
            "echo",
            Code::InvalidId,
            format!("actor id {foreign} does not belong to this namespace"),
        ),
        ("chat/Room", Id::hex("abc"), "echo", Code::InvalidId, "an actor id is 64 hex digits, got \"abc\"".into()),
        (
            "chat/Room",
            Id::name(&long),
            "echo",
            Code::InvalidId,
            "an actor's name is at most 1024 bytes, this one has 1025".into(),
        ),
        ("chat/Room", Id::name("a"), "", Code::InvalidRequest, "a method's name has 1 to 1024 bytes, not 0".into()),
    ];
    for (namespace, id, method, code, message) in table {
        let error = client.actor(namespace, id).call_json(method, &json!([])).await.unwrap_err();
        assert_eq!((error.code, error.outcome, error.message), (code, Outcome::NotDone, message));
    }
    assert_eq!(server.fake.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn raw_requests_with_missing_or_wrong_parts_are_refused_with_an_error_trailer() {
    let server = serve().await;
    let mut stub = ActorsClient::new(Endpoint::from_shared(server.address.clone()).unwrap().connect_lazy());
    let actor = |id| Some(v1::Actor { namespace: "chat/Room".into(), id, known_name: Some("other".into()) });
    let name = || actor(Some(v1::actor::Id::Name("a".into())));
    let hex = v1::actor::Id::Hex(ids().from_name("lobby").unwrap().to_string());
    let json = |text: &str| Some(v1::call_request::Args::Json(text.into()));
    let table = [
        (None, None, Code::InvalidRequest),
        (actor(None), None, Code::InvalidRequest),
        (name(), json("{}"), Code::InvalidRequest),
        (name(), json("[1"), Code::InvalidRequest),
        (name(), json(""), Code::InvalidRequest),
        (actor(Some(hex)), None, Code::InvalidId),
    ];
    for (actor, args, code) in table {
        let shown = format!("{actor:?} {args:?}");
        let request = v1::CallRequest { actor, method: "echo".into(), args, without_id: false };
        let status = stub.call(request).await.unwrap_err();
        let trailer = status.metadata().get_bin(lethe_proto::ERROR_TRAILER).expect("no trailer").to_bytes().unwrap();
        let detail: v1::Error = prost::Message::decode(trailer).unwrap();
        assert_eq!((detail.code(), detail.outcome()), (code, v1::Outcome::NotDone), "{shown}");
    }
}

#[tokio::test]
async fn arguments_that_are_not_an_array_are_refused_before_anything_is_sent() {
    let server = serve().await;
    let room = server.client().await.actor("chat/Room", Id::name("lobby"));
    let error = room.call_json("echo", &json!({"a": 1})).await.unwrap_err();
    assert_eq!((error.code, error.outcome), (Code::InvalidRequest, Outcome::NotDone));
    assert_eq!(server.fake.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_actor_that_never_answers_is_given_up_at_the_deadline_with_unknown_outcome() {
    let server = serve().await;
    let client = server.client().await.with_deadline(Duration::from_millis(300));
    let began = Instant::now();
    let error = client.actor("chat/Room", Id::name("lobby")).call_json("hang", &json!([])).await.unwrap_err();
    // The message is the server's or the client's: both watch the deadline, and either may be first on a busy machine.
    assert_eq!((error.code, error.outcome, error.name.as_str()), (Code::Deadline, Outcome::Unknown, "TimeoutError"));
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn another_node_that_never_answers_is_given_up_at_the_deadline() {
    let server = serve().await;
    let remote = Remote::new(&server.address).unwrap();
    let to = ActorRef { namespace: "chat/Room".into(), id: ids().from_name("a").unwrap(), name: None };
    let began = Instant::now();
    let call = ActorCall::Method { method: "hang".into(), args: Payload::Json("[]".into()) };
    let error = remote.call(to, call, began + Duration::from_millis(300)).await.err().unwrap();
    assert_eq!((error.kind, error.outcome), (CallErrorKind::Deadline, lethe_runtime::host::Outcome::Unknown));
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn arguments_over_the_limit_are_not_sent_to_another_node() {
    let server = serve().await;
    let remote = Remote::new(&server.address).unwrap();
    let to = ActorRef { namespace: "chat/Room".into(), id: ids().from_name("a").unwrap(), name: None };
    let args = Payload::V8(vec![0; PAYLOAD_BYTES_MAX + 1].into());
    let call = ActorCall::Method { method: "echo".into(), args };
    let error = remote.call(to, call, Instant::now() + Duration::from_secs(30)).await.err().unwrap();
    assert_eq!((error.kind, error.outcome), (CallErrorKind::Limit, lethe_runtime::host::Outcome::NotDone));
    assert_eq!(error.error.name, "RangeError");
    assert_eq!(server.fake.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn what_another_node_refuses_keeps_that_it_was_not_done() {
    let server = serve().await;
    let remote = Remote::new(&server.address).unwrap();
    let foreign = Ids::new("chat-Other").from_name("a").unwrap();
    let table = [("chat/Other", ids().from_name("a").unwrap()), ("chat/Room", foreign)];
    for (namespace, id) in table {
        let to = ActorRef { namespace: namespace.into(), id, name: None };
        let error = remote
            .call(to, ActorCall::Destroy { by_operator: false }, Instant::now() + Duration::from_secs(30))
            .await
            .err()
            .unwrap();
        let expected = (CallErrorKind::InvalidTarget, lethe_runtime::host::Outcome::NotDone);
        assert_eq!((error.kind, error.outcome), expected, "{namespace}");
        assert_eq!(error.error.name, "TypeError");
    }
}

#[tokio::test]
async fn a_call_over_the_limit_of_calls_is_refused_at_once() {
    let server = serve_with(|config| config.calls_max = 1).await;
    let client = server.client().await;
    let waiting = {
        let room = client.actor("chat/Room", Id::name("lobby"));
        tokio::spawn(async move { room.call_json("wait", &json!([])).await })
    };
    while server.fake.calls.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let room = client.actor("chat/Room", Id::name("other"));
    let error = room.call_json("echo", &json!([])).await.unwrap_err();
    assert_eq!((error.code, error.outcome), (Code::Overloaded, Outcome::NotDone));
    server.fake.go.notify_one();
    waiting.await.unwrap().unwrap();
    room.call_json("echo", &json!([])).await.unwrap();
}

#[tokio::test]
async fn showing_an_actor_that_never_was_says_so() {
    let server = serve().await;
    let error = server.client().await.actor("chat/Room", Id::name("nobody")).show().await.unwrap_err();
    assert_eq!((error.code, error.outcome), (Code::NoSuchActor, Outcome::NotDone));
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_unavailable_and_not_done() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = Client::connect(&format!("http://{unused}")).await.unwrap_err();
    assert_eq!((error.code, error.outcome), (Code::Unavailable, Outcome::NotDone));
    let error = Client::connect_any(&[]).await.unwrap_err();
    assert_eq!((error.code, error.outcome), (Code::InvalidRequest, Outcome::NotDone));

    let remote = Remote::new(&format!("http://{unused}")).unwrap();
    let to = ActorRef { namespace: "chat/Room".into(), id: ids().from_name("a").unwrap(), name: None };
    let error = remote
        .call(to, ActorCall::Destroy { by_operator: false }, Instant::now() + Duration::from_secs(5))
        .await
        .err()
        .unwrap();
    assert_eq!((error.kind, error.outcome), (CallErrorKind::Unavailable, lethe_runtime::host::Outcome::NotDone));
}

#[tokio::test]
async fn an_endpoint_that_is_not_one_is_refused() {
    for endpoint in ["", "127.0.0.1:7070", "https://127.0.0.1:7070", "http://", "http://a b"] {
        let error = Client::connect(endpoint).await.unwrap_err();
        assert_eq!((error.code, error.outcome), (Code::InvalidRequest, Outcome::NotDone), "{endpoint:?}: {error}");
    }
}
