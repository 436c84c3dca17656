//! Bodies that actors write while they are read, and what callers are told of it.

use http_body_util::BodyExt;
use lethe_runtime::{
    body::Body,
    host::{CallErrorKind, Outcome},
};
use serde_json::json;

use super::rig::Rig;
use crate::actor::{Config, error};

/// The next piece of a body; none at its end.
async fn next(body: &mut Body) -> Option<String> {
    let piece = body.frame().await?.expect("it goes on");
    Some(String::from_utf8(piece.into_data().expect("data").to_vec()).expect("text"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_words_left_through_an_open_reply_is_not_called_undone() {
    let rig = Rig::start(Config::default()).await;
    let mut reply = rig.open("a").await;
    let said = rig.spawn("a", "say", json!(["one"]));
    assert_eq!(next(&mut reply).await.as_deref(), Some("one"));
    rig.live_actor("a").end(error::unavailable("on purpose", Outcome::Unknown));
    let told = said.await.unwrap().unwrap_err();
    assert_eq!((told.kind, told.outcome), (CallErrorKind::Unavailable, Outcome::Unknown));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_words_left_through_an_open_request_is_not_called_undone() {
    let rig = Rig::start(Config::default()).await;
    let _posted = rig.spawn("a", "post", json!(["b"]));
    rig.until_marked("posted", 1).await;
    let said = rig.spawn("a", "say", json!(["one"]));
    rig.until_marked("one", 1).await;
    rig.live_actor("a").end(error::unavailable("on purpose", Outcome::Unknown));
    let told = said.await.unwrap().unwrap_err();
    assert_eq!((told.kind, told.outcome), (CallErrorKind::Unavailable, Outcome::Unknown));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_does_not_end_before_what_its_last_turn_wrote_is_committed() {
    let rig = Rig::start(Config::default()).await;
    let mut reply = rig.open("a").await;
    let before = rig.header("a").await.seq;
    let closing = rig.spawn("a", "putAndClose", json!(["k", 1, 200]));
    assert_eq!(next(&mut reply).await, None);
    assert_eq!(rig.header("a").await.seq, before + 1, "what the turn wrote");
    assert_eq!(closing.await.unwrap(), Ok(json!(null)));
}
