//! Versions that change under live and starting actors.

use lethe_runtime::host::{CallErrorKind, Outcome};
use serde_json::{Value, json};

use super::{
    super::Config,
    rig::{Rig, eventually},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_takes_over_with_the_same_storage_after_calls_in_flight() {
    let rig = Rig::start(Config::default()).await;
    rig.call("a", "put", json!(["k", 1])).await.unwrap();
    let held = rig.spawn("a", "wait", json!([300]));
    rig.until_marked("waiting", 1).await;
    rig.deploy("two").await;
    assert_eq!(rig.call("a", "version", json!([])).await.unwrap(), json!("two"));
    assert_eq!(held.await.unwrap().unwrap(), json!("one"), "the call in flight ends on its own version");
    assert_eq!(rig.call("a", "get", json!(["k"])).await.unwrap(), json!(1));
}

/// A start asks twice whether it may go on: before it does anything, and before the constructor runs.
const ASKED_BY_A_START: u64 = 2;

/// What a call of `name` is answered that came after the deploy of version two, while the constructor of one ran. That takes
/// a second; on a machine that stands still for so long there is nothing to find.
async fn after_a_deploy_during_the_constructor_of(name: &str) -> Value {
    let rig = Rig::start(Config::default()).await;
    let two = rig.compiled("two").await;
    let wanted = rig.asked() + ASKED_BY_A_START;
    let early = rig.spawn(name, "version", json!([]));
    eventually("the start to have its version", || rig.asked() >= wanted).await;
    rig.replace(two);
    let late = rig.call(name, "version", json!([])).await.unwrap();
    // It came before the deploy: either version may answer it.
    let _ = early.await.unwrap();
    late
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_comes_after_a_deploy_is_not_answered_by_an_older_instance_that_was_starting() {
    assert_eq!(after_a_deploy_during_the_constructor_of("slow").await, json!("two"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_comes_after_a_deploy_does_not_hear_why_older_code_could_not_start() {
    assert_eq!(after_a_deploy_during_the_constructor_of("slow and broken").await, json!("two"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_may_not_know_the_newest_deploy_starts_no_instance_and_those_it_has_go_on() {
    let rig = Rig::start(Config::default()).await;
    rig.call("a", "put", json!(["k", 1])).await.unwrap();
    rig.set_stale(true);
    assert_eq!(rig.call("a", "get", json!(["k"])).await.unwrap(), json!(1));
    let refused = rig.call("b", "version", json!([])).await.unwrap_err();
    assert_eq!((refused.kind, refused.outcome), (CallErrorKind::Unavailable, Outcome::NotDone));
    rig.set_stale(false);
    rig.deploy("two").await;
    assert_eq!(rig.call("b", "version", json!([])).await.unwrap(), json!("two"));
    assert_eq!(rig.activation("b").await, 1, "what was refused was not activated");
}
