//! Groups that are handed over.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http_body_util::BodyExt;
use lethe_runtime::host::{CallErrorKind, Outcome};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::Semaphore;

use super::rig::{GROUP, Rig, eventually};
use crate::{
    actor::Config,
    cluster::{Patience, Wish},
};

/// Longer than any call of these tests takes.
const LONG: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_released_group_refuses_calls_until_it_is_taken_back() {
    let leader_timeout = Duration::from_millis(1);
    let rig = Rig::start(Config { release_wait: LONG, leader_timeout, ..Config::default() }).await;
    rig.call("a", "put", json!(["k", 7])).await.unwrap();
    let released = rig.release().await;
    assert!(!rig.actors.is_live(rig.id("a")));
    for name in ["a", "never seen before"] {
        let refused = rig.call(name, "get", json!(["k"])).await.unwrap_err();
        assert_eq!((refused.kind, refused.outcome), (CallErrorKind::Unavailable, Outcome::NotDone), "{name}");
    }
    let refused = rig.destroy("a").await.unwrap_err();
    assert_eq!((refused.kind, refused.outcome), (CallErrorKind::Unavailable, Outcome::NotDone));
    drop(released);
    assert_eq!(rig.call("a", "get", json!(["k"])).await.unwrap(), json!(7));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_while_a_group_is_handed_over_goes_on_as_soon_as_that_is_given_up() {
    let rig = Rig::start(Config { release_wait: LONG, leader_timeout: LONG, ..Config::default() }).await;
    rig.call("a", "put", json!(["k", 7])).await.unwrap();
    let released = rig.release().await;
    let (lived, new) = (rig.spawn("a", "get", json!(["k"])), rig.spawn("b", "get", json!(["k"])));
    for name in ["a", "b"] {
        eventually("its start waits", || rig.actors.is_live(rig.id(name))).await;
    }
    drop(released);
    assert_eq!((lived.await.unwrap(), new.await.unwrap()), (Ok(json!(7)), Ok(json!(null))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_under_way_finishes_before_its_group_is_released() {
    let rig = Rig::start(Config { release_wait: LONG, ..Config::default() }).await;
    let call = rig.spawn("a", "wait", json!([300]));
    rig.until_marked("waiting", 1).await;
    let released = rig.release().await;
    assert_eq!(call.await.unwrap(), Ok(json!("one")));
    drop(released);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_whose_calls_take_long_is_served_on_although_another_has_the_turn() {
    let rig = Rig::start(Config { release_wait: LONG, ..Config::default() }).await;
    rig.call("b", "put", json!(["k", 7])).await.unwrap();
    let turns = Arc::new(Semaphore::new(1));
    let turn = turns.clone().acquire_owned().await.unwrap();
    let mut release = Box::pin(rig.actors.release(GROUP, turns, Arc::new(|| Wish::Go(Patience::Planned))));
    assert!(futures::poll!(&mut release).is_pending(), "there is no turn");
    assert_eq!(rig.call("b", "get", json!(["k"])).await.unwrap(), json!(7));
    drop(turn);
    let _released = release.await;
    assert!(!rig.actors.is_live(rig.id("b")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_never_ends_is_cut_off_and_its_caller_knows_what_to_believe() {
    let rig = Rig::start(Config { release_wait: Duration::from_millis(10), ..Config::default() }).await;
    // It has called another actor.
    let told = rig.spawn("a", "hold", json!([]));
    rig.until_marked("held", 1).await;
    // This one has done nothing that anybody could see.
    let silent = rig.spawn("b", "linger", json!([]));
    eventually("the actor to be there", || rig.actors.is_live(rig.id("b"))).await;
    let _released = rig.release().await;
    let told = told.await.unwrap().unwrap_err();
    assert_eq!((told.kind, told.outcome), (CallErrorKind::Unavailable, Outcome::Unknown));
    let silent = silent.await.unwrap().unwrap_err();
    assert_eq!((silent.kind, silent.outcome), (CallErrorKind::Unavailable, Outcome::NotDone));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_never_ends_is_ended_with_its_group_and_calls_of_the_group_are_answered_until_then() {
    // The stream is waited for in the first sixth of it.
    let rig = Rig::start(Config { release_wait: Duration::from_secs(6), ..Config::default() }).await;
    let stream = rig.open("a").await;
    let released = async {
        let released = rig.release().await;
        (released, rig.actors.is_live(rig.id("a")))
    };
    let mut released = std::pin::pin!(released);
    assert!(futures::poll!(&mut released).is_pending(), "it is waited for");
    assert_eq!(rig.call("b", "get", json!(["k"])).await.unwrap(), json!(null));
    let (_released, is_live) = released.await;
    assert!(!is_live);
    assert!(stream.collect().await.is_err(), "what was not said to the end does not look whole");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_long_for_a_call_or_a_stream_where_no_more_calls_are_taken() {
    let rig = Rig::start(Config { release_wait: Duration::from_secs(3600), ..Config::default() }).await;
    let stream = rig.open("a").await;
    let call = rig.spawn("b", "linger", json!([]));
    eventually("the call is in its actor", || rig.is_busy("b")).await;
    let _released = tokio::time::timeout(LONG, rig.release_as(Patience::Urgent)).await.expect("it is urgent");
    assert!(stream.collect().await.is_err());
    assert_eq!(call.await.unwrap().unwrap_err().kind, CallErrorKind::Unavailable);
}

/// A hand-over is asked so often before it is believed that nothing comes of it.
const ASKED_OFTEN: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn no_call_is_cut_off_for_a_hand_over_that_cannot_be_done_or_is_not_wanted_any_more() {
    let rig = Rig::start(Config { release_wait: Duration::from_millis(10), ..Config::default() }).await;
    let call = rig.spawn("a", "wait", json!([1_000]));
    rig.until_marked("waiting", 1).await;
    let (wish, times) = (Arc::new(Mutex::new(Wish::Hold)), Arc::new(AtomicUsize::new(0)));
    let (asked, count) = (wish.clone(), times.clone());
    let asked = Arc::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
        *asked.lock()
    });
    let actors = rig.actors.clone();
    let release =
        tokio::spawn(async move { actors.release(GROUP, Arc::new(Semaphore::new(1)), asked).await.is_some() });
    eventually("it is asked often", || times.load(Ordering::SeqCst) >= ASKED_OFTEN).await;
    *wish.lock() = Wish::GiveUp;
    assert!(!release.await.unwrap(), "nothing is released");
    assert_eq!(call.await.unwrap(), Ok(json!("one")));
}

/// No call of an older version is ended because it takes long.
fn endless() -> Config {
    Config { release_wait: Duration::from_millis(10), drain: 60 * LONG, leader_timeout: 60 * LONG, ..Config::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_whose_code_was_replaced_is_released_with_its_group_too() {
    let rig = Rig::start(endless()).await;
    let old = rig.spawn("a", "linger", json!([]));
    eventually("the call is in its actor", || rig.is_busy("a")).await;
    rig.deploy("two").await;
    // Takes the slot, and waits until the old instance has ended.
    let new = rig.spawn("a", "version", json!([]));
    eventually("the slot is taken", || !rig.is_busy("a")).await;
    let released = tokio::time::timeout(LONG, rig.release()).await.expect("calls that never end are cut off");
    let cut_off = tokio::time::timeout(LONG, old).await.expect("it is cut off").unwrap().unwrap_err();
    assert_eq!(cut_off.kind, CallErrorKind::Unavailable);
    drop(released);
    assert_eq!(new.await.unwrap(), Ok(json!("two")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destruction_that_waits_for_the_end_of_a_release_hides_no_instance_from_it() {
    let rig = Rig::start(endless()).await;
    let call = rig.spawn("a", "linger", json!([]));
    eventually("the call is in its actor", || rig.is_busy("a")).await;
    let earlier = rig.actors.inner.releases.begin(GROUP);
    let mut destroyed = Box::pin(rig.destroy("a"));
    assert!(futures::poll!(&mut destroyed).is_pending(), "it waits");
    assert!(!rig.is_busy("a"), "the slot is taken");
    let released = tokio::time::timeout(LONG, rig.release()).await.expect("calls that never end are cut off");
    let cut_off = tokio::time::timeout(LONG, call).await.expect("it is cut off").unwrap().unwrap_err();
    assert_eq!(cut_off.kind, CallErrorKind::Unavailable);
    drop((earlier, released));
    assert_eq!(destroyed.await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_whose_destruction_is_refused_lives_on_as_it_was() {
    let rig = Rig::start(Config { leader_timeout: Duration::from_millis(1), ..Config::default() }).await;
    let instance = rig.call("a", "instance", json!([])).await.unwrap();
    let stream = rig.open("a").await;
    let released = rig.actors.inner.releases.begin(GROUP);
    let refused = rig.destroy("a").await.unwrap_err();
    assert_eq!((refused.kind, refused.outcome), (CallErrorKind::Unavailable, Outcome::NotDone));
    drop(released);
    assert_eq!(rig.call("a", "instance", json!([])).await.unwrap(), instance);
    // Once more, with another destruction behind it.
    let released = rig.actors.inner.releases.begin(GROUP);
    let (one, two) = futures::join!(rig.destroy("a"), rig.destroy("a"));
    assert_eq!([one, two].map(|refused| refused.unwrap_err().outcome), [Outcome::NotDone; 2]);
    drop(released);
    assert_eq!(rig.call("a", "instance", json!([])).await.unwrap(), instance);
    rig.destroy("a").await.unwrap();
    assert!(stream.collect().await.is_err(), "it ends with the actor");
    assert_eq!(rig.call("a", "instance", json!([])).await.unwrap_err().kind, CallErrorKind::Destroyed);
}
