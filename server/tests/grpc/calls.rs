//! Calls that arrive: arguments, results, ids, listings.

use std::sync::{Arc, atomic::Ordering};
use std::time::{Duration, Instant};

use lethe_client::{ActorState, Client, Code, Id, Outcome};
use lethe_proto::{
    PAYLOAD_BYTES_MAX,
    v1::{self, actors_client::ActorsClient},
};
use lethe_runtime::host::{ActorCall, ActorReply, Payload};
use lethe_server::{
    actor::{ActorRef, Call},
    grpc::Remote,
};
use serde_json::json;
use tonic::transport::Endpoint;

use crate::{fake::ids, server::serve};

#[tokio::test]
async fn a_json_call_gets_its_result_and_the_actors_id() {
    let server = serve().await;
    let room = server.client().await.actor("chat/Room", Id::name("lobby"));
    let reply = room.call("echo", &json!(["hi", 1, null])).await.unwrap();
    assert_eq!(reply.value, json!(["hi", 1, null]));
    assert_eq!(reply.id, ids().from_name("lobby").unwrap().to_string());
}

#[tokio::test]
async fn a_v8_call_gets_its_result_byte_for_byte() {
    let server = serve().await;
    let room = server.client().await.actor("chat/Room", Id::name("lobby"));
    let bytes: Vec<u8> = (0..=255).collect();
    assert_eq!(room.call_v8("echo", bytes.clone().into()).await.unwrap().value, bytes);
}

#[tokio::test]
async fn the_actor_learns_its_full_namespace_and_its_name() {
    let server = serve().await;
    let room = server.client().await.actor("chat/Room", Id::name("lobby"));
    assert_eq!(room.call_json("whoami", &json!([])).await.unwrap(), json!(["chat/Room", "lobby"]));
}

#[tokio::test]
async fn every_call_on_a_unique_id_makes_another_actor() {
    let server = serve().await;
    let new = server.client().await.actor("chat/Room", Id::unique());
    let first = new.call("echo", &json!([])).await.unwrap().id;
    let second = new.call("echo", &json!([])).await.unwrap().id;
    assert_ne!(first, second);
    assert!(ids().from_hex(&first).is_ok() && ids().from_hex(&second).is_ok());
}

#[tokio::test]
async fn one_call_is_one_attempt_whether_it_succeeds_or_fails() {
    let server = serve().await;
    let room = server.client().await.actor("chat/Room", Id::name("lobby"));
    room.call_json("echo", &json!([])).await.unwrap();
    room.call_json("fail", &json!([6, 1])).await.unwrap_err();
    assert_eq!(server.fake.calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_client_of_several_nodes_calls_an_actor_where_it_was_told_that_it_lives() {
    let (near, home) = (serve().await, serve().await);
    let calls = || (near.fake.calls.load(Ordering::SeqCst), home.fake.calls.load(Ordering::SeqCst));
    let client = Client::connect_any(&[&near.address, &home.address]).await.unwrap();
    let room = client.actor("chat/Room", Id::name("lobby"));
    *near.fake.elsewhere.lock().unwrap() = Some(home.address.trim_start_matches("http://").to_owned());
    room.call_json("echo", &json!([])).await.unwrap();
    assert_eq!(calls(), (1, 0));
    room.call_json("echo", &json!([])).await.unwrap();
    room.call_json("echo", &json!([])).await.unwrap();
    assert_eq!(calls(), (1, 2));

    // A node that the client was not given is not gone to.
    *home.fake.elsewhere.lock().unwrap() = Some("127.0.0.1:1".to_owned());
    room.call_json("echo", &json!([])).await.unwrap();
    room.call_json("echo", &json!([])).await.unwrap();
    assert_eq!(calls(), (1, 4));
}

#[tokio::test]
async fn a_client_of_several_nodes_goes_to_another_one_after_a_node_could_not_help() {
    let (first, second) = (serve().await, serve().await);
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = Client::connect_any(&[&format!("http://{unused}"), &first.address, &second.address]).await.unwrap();
    let room = client.actor("chat/Room", Id::name("lobby"));
    // The seventh kind is "unavailable"; nothing is tried again by itself.
    let error = room.call_json("fail", &json!([6, 1])).await.unwrap_err();
    assert_eq!((error.code, error.outcome), (Code::Unavailable, Outcome::NotDone));
    room.call_json("echo", &json!([])).await.unwrap();
    let calls = [&first, &second].map(|server| server.fake.calls.load(Ordering::SeqCst));
    assert_eq!(calls, [1, 1]);
}

#[tokio::test]
async fn a_call_that_cannot_be_sent_to_a_node_is_made_at_another_one_of_the_clients() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = serve().await;
    let address = format!("http://{}", gone.local_addr().unwrap());
    let (alone, both) = (Client::connect(&address).await, Client::connect_any(&[&address, &server.address]).await);
    // It never answers, and closes the connections that it had.
    drop(gone);
    let room = |client: Result<Client, _>| client.unwrap().actor("chat/Room", Id::name("lobby"));
    let error = room(alone).call_json("echo", &json!([])).await.unwrap_err();
    assert_eq!((error.code, error.outcome), (Code::Unavailable, Outcome::NotDone));
    room(both).call_json("echo", &json!([])).await.unwrap();
    assert_eq!(server.fake.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_payload_at_the_limit_passes_and_one_over_it_is_refused_unsent() {
    let server = serve().await;
    let room = server.client().await.actor("chat/Room", Id::name("lobby"));
    let largest = vec![7_u8; PAYLOAD_BYTES_MAX];
    assert_eq!(room.call_v8("echo", largest.clone().into()).await.unwrap().value, largest);
    let error = room.call_v8("echo", [largest, vec![7]].concat().into()).await.unwrap_err();
    assert_eq!((error.code, error.outcome), (Code::ExceededLimit, Outcome::NotDone));
    assert_eq!(server.fake.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_result_over_the_limit_is_an_error_of_a_call_that_was_done() {
    let server = serve().await;
    let room = server.client().await.actor("chat/Room", Id::name("lobby"));
    let error = room.call_json("big", &json!([PAYLOAD_BYTES_MAX + 1])).await.unwrap_err();
    assert_eq!((error.code, error.outcome, error.name.as_str()), (Code::ExceededLimit, Outcome::Done, "RangeError"));
}

#[tokio::test]
async fn destroy_answers_with_the_id() {
    let server = serve().await;
    let room = server.client().await.actor("chat/Room", Id::name("lobby"));
    assert_eq!(room.destroy().await.unwrap(), ids().from_name("lobby").unwrap().to_string());
}

#[tokio::test]
async fn a_listing_goes_page_by_page_and_ends() {
    let server = serve().await;
    let client = server.client().await;
    let (mut after, mut pages) = (None, Vec::new());
    loop {
        let page = client.list("chat/Room", after.as_deref(), 2).await.unwrap();
        pages.push(page.actors.iter().map(|actor| actor.id[..2].to_owned()).collect::<Vec<_>>());
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(pages, [vec!["00", "01"], vec!["02", "03"], vec!["04"]]);
}

#[tokio::test]
async fn a_page_has_a_hundred_actors_unless_asked_and_a_thousand_at_most() {
    let server = serve().await;
    let client = server.client().await;
    let mut sizes = Vec::new();
    for limit in [0, 1, 999, 1000, 1001, u32::MAX] {
        let page = client.list("chat/Crowd", None, limit).await.unwrap();
        assert_eq!(page.next.as_ref(), page.actors.last().map(|last| &last.id));
        sizes.push(page.actors.len());
    }
    assert_eq!(sizes, [100, 1, 999, 1000, 1000, 1000]);
    let error = client.list("chat/Crowd", Some("zz"), 1).await.unwrap_err();
    assert_eq!((error.code, error.outcome), (Code::InvalidId, Outcome::NotDone));
}

#[tokio::test]
async fn a_list_of_more_groups_than_any_cluster_has_is_refused() {
    let server = serve().await;
    let mut stub = ActorsClient::new(Endpoint::from_shared(server.address.clone()).unwrap().connect_lazy());
    let mut list = async |count: u32| {
        let groups = (0..count).collect();
        stub.list(v1::ListRequest { namespace: "chat/Room".into(), groups, ..Default::default() }).await
    };
    list(4096).await.unwrap();
    assert_eq!(list(4097).await.unwrap_err().code(), tonic::Code::InvalidArgument);
}

#[tokio::test]
async fn show_tells_what_is_known_of_an_actor() {
    let server = serve().await;
    let info = server.client().await.actor("chat/Room", Id::name("lobby")).show().await.unwrap();
    assert_eq!(info.state(), ActorState::Destroyed);
    assert_eq!((info.created_at_ms, info.destroyed_at_ms, info.group), (1, Some(2), 3));
    assert_eq!(info.id, ids().from_name("lobby").unwrap().to_string());
}

#[tokio::test]
async fn another_node_calls_with_id_and_name_in_both_encodings() {
    let server = serve().await;
    let remote: Arc<dyn Call> = Arc::new(Remote::new(&server.address).unwrap());
    let to =
        ActorRef { namespace: "chat/Room".into(), id: ids().from_name("lobby").unwrap(), name: Some("lobby".into()) };
    let deadline = Instant::now() + Duration::from_secs(10);
    let call = |method: &str, args| ActorCall::Method { method: method.into(), args };
    let reply = remote.call(to.clone(), call("whoami", Payload::Json("[]".into())), deadline).await.unwrap();
    let ActorReply::Value(Payload::Json(text)) = reply else { panic!("no JSON") };
    assert_eq!(text, r#"["chat/Room","lobby"]"#);
    let reply = remote.call(to.clone(), call("echo", Payload::V8(vec![0, 255].into())), deadline).await.unwrap();
    let ActorReply::Value(Payload::V8(bytes)) = reply else { panic!("no V8") };
    assert_eq!(bytes, [0, 255][..]);
    for by_operator in [false, true] {
        let reply = remote.call(to.clone(), ActorCall::Destroy { by_operator }, deadline).await.unwrap();
        assert!(matches!(reply, ActorReply::Destroyed));
    }
    assert_eq!(*server.fake.by_operator.lock().unwrap(), [false, true]);
}

#[tokio::test]
async fn the_callers_deadline_reaches_the_actor_with_a_margin() {
    let server = serve().await;
    let check = |began: Instant| {
        let deadline = server.fake.deadline.lock().unwrap().take().unwrap();
        let (earliest, latest) = (began + Duration::from_secs(119), Instant::now() + Duration::from_secs(120));
        assert!((earliest..latest).contains(&deadline), "{:?}", deadline - began);
    };
    let began = Instant::now();
    let client = server.client().await.with_deadline(Duration::from_secs(120));
    client.actor("chat/Room", Id::name("lobby")).call_json("echo", &json!([])).await.unwrap();
    check(began);

    let began = Instant::now();
    let remote = Remote::new(&server.address).unwrap();
    let to = ActorRef { namespace: "chat/Room".into(), id: ids().from_name("lobby").unwrap(), name: None };
    remote.call(to, ActorCall::Destroy { by_operator: false }, began + Duration::from_secs(120)).await.unwrap();
    check(began);
}
