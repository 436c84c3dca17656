//! Room for one more: idle actors make it, busy ones do not.

use std::time::Duration;

use lethe_runtime::host::{CallErrorKind, Outcome};
use serde_json::json;

use super::rig::{Rig, eventually};
use crate::actor::Config;

/// Nothing falls asleep by itself while these tests run.
const NEVER: Duration = Duration::from_secs(3600);

/// Starts an actor, and waits until nothing goes on in it any more.
async fn wake(rig: &Rig, name: &str) {
    rig.call(name, "instance", json!([])).await.unwrap();
    eventually("the actor to have nothing to do", || rig.quiet_since(name).is_some()).await;
}

/// Starts an actor with a call that does not end.
async fn occupy(rig: &Rig, name: &str) {
    rig.call(name, "instance", json!([])).await.unwrap();
    // The call that waits for ever belongs to the rig's actors, which the test ends.
    drop(rig.spawn(name, "linger", json!([])));
    eventually("the actor to be busy", || rig.is_busy(name)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_limit_the_actor_that_is_idle_for_longest_falls_asleep() {
    let rig = Rig::start(Config { live_max: 2, idle: NEVER, ..Config::default() }).await;
    wake(&rig, "a").await;
    wake(&rig, "b").await;
    wake(&rig, "a").await;
    wake(&rig, "c").await;
    let live = ["a", "b", "c"].map(|name| rig.actors.is_live(rig.id(name)));
    assert_eq!(live, [true, false, true]);
    assert_eq!((rig.activation("a").await, rig.activation("b").await), (1, 1));
    rig.call("b", "put", json!(["k", 1])).await.unwrap();
    assert_eq!(rig.activation("b").await, 2, "it woke up again");
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_limit_one_more_is_refused_while_all_are_busy() {
    let rig = Rig::start(Config { live_max: 2, idle: NEVER, ..Config::default() }).await;
    occupy(&rig, "a").await;
    occupy(&rig, "b").await;
    let refused = rig.call("c", "instance", json!([])).await.unwrap_err();
    assert_eq!((refused.kind, refused.outcome), (CallErrorKind::Overloaded, Outcome::NotDone));
    assert_eq!(refused.error.message, "2 actors are live on this node, which is its limit, and none of them is idle");
    assert_eq!(rig.call("a", "get", json!(["k"])).await.unwrap(), json!(null), "those that are awake are still called");
    rig.destroy("b").await.unwrap();
    rig.call("c", "instance", json!([])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_memory_is_short_each_actor_that_wakes_up_puts_an_idle_one_to_sleep() {
    let short = Config { memory_percent_max: 0, live_min: 2, idle: NEVER, ..Config::default() };
    let rig = Rig::start(short).await;
    for name in ["a", "b", "c"] {
        wake(&rig, name).await;
    }
    let live = ["a", "b", "c"].map(|name| rig.actors.is_live(rig.id(name)));
    assert_eq!(live, [false, true, true]);
    occupy(&rig, "b").await;
    occupy(&rig, "c").await;
    let refused = rig.call("d", "instance", json!([])).await.unwrap_err();
    assert_eq!((refused.kind, refused.outcome), (CallErrorKind::Overloaded, Outcome::NotDone));
    assert!(refused.error.message.contains("MB of memory are in use on this node, which is its limit"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_more_actors_than_may_be_awake_are_all_served() {
    let rig = Rig::start(Config { live_max: 4, idle: NEVER, ..Config::default() }).await;
    for round in 0..2 {
        for number in 0..20 {
            let name = format!("a{number}");
            // Right after an answer its actor may still have something to do, and refuse to make room.
            let mut answer = rig.call(&name, "put", json!(["k", round])).await;
            while let Err(refused) = &answer {
                assert_eq!((refused.kind, refused.outcome), (CallErrorKind::Overloaded, Outcome::NotDone));
                tokio::task::yield_now().await;
                answer = rig.call(&name, "put", json!(["k", round])).await;
            }
        }
    }
    assert_eq!(rig.live(), 4);
    assert_eq!(rig.activation("a0").await, 2);
}
