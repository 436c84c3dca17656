//! Responses that are being sent when their actor is destroyed.

use std::time::Duration;

use http_body_util::BodyExt;
use lethe_runtime::{body::Body, host::CallErrorKind};
use serde_json::json;

use super::rig::Rig;
use crate::actor::Config;

const LINES: &str = "1\n2\n3\n4\n5\n";
const HOUR: Duration = Duration::from_secs(3_600);

fn farewell(farewell: Duration) -> Config {
    Config { farewell, ..Config::default() }
}

/// All that can be read, and whether it ended well.
async fn read(mut body: Body) -> (String, bool) {
    let mut text = Vec::new();
    loop {
        match tokio::time::timeout(Duration::from_secs(20), body.frame()).await.expect("the body ends") {
            Some(Ok(frame)) => text.extend_from_slice(&frame.into_data().unwrap()),
            end => return (String::from_utf8(text).unwrap(), end.is_none()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_to_a_response_before_a_destruction_arrives_whole_and_only_what_ended_looks_ended() {
    let rig = Rig::start(farewell(HOUR)).await;
    let (ended, open) = (rig.fetch("a", "/ended").await, rig.fetch("a", "/open").await);
    let lingers = rig.spawn("a", "hold", json!([]));
    rig.until_marked("held", 1).await;
    let ending = rig.begin_to_destroy("a").await;
    assert!(!ending.is_finished(), "nobody has read anything");
    assert_eq!([read(ended).await, read(open).await], [(LINES.to_owned(), true), (LINES.to_owned(), false)]);
    // It does not wait for what is left of its hour.
    ending.await.unwrap().unwrap();
    assert_eq!(lingers.await.unwrap().unwrap_err().kind, CallErrorKind::Destroyed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destruction_waits_for_a_reader_who_does_not_read_no_longer_than_it_may() {
    let rig = Rig::start(farewell(Duration::from_millis(50))).await;
    let unread = rig.fetch("a", "/ended").await;
    rig.destroy("a").await.unwrap();
    assert_eq!(read(unread).await, (String::new(), false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destruction_waits_for_no_call_and_for_no_response_that_was_whole_at_once() {
    let rig = Rig::start(farewell(HOUR)).await;
    let held = rig.spawn("a", "hold", json!([]));
    rig.until_marked("held", 1).await;
    let whole = rig.fetch("a", "/whole").await;
    tokio::time::timeout(Duration::from_secs(20), rig.destroy("a")).await.expect("at once").unwrap();
    assert_eq!(held.await.unwrap().unwrap_err().kind, CallErrorKind::Destroyed);
    assert_eq!(read(whole).await, ("whole".to_owned(), true));
}
