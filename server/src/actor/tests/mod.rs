//! The actor room over real shards and a real engine, in one process.

mod bodies;
mod deploys;
mod farewell;
mod release;
pub(super) mod rig;
mod room;

use std::time::{Duration, Instant};

use lethe_runtime::host::{CallErrorKind, Outcome};
use serde_json::json;

use self::rig::{Rig, eventually};
use super::Config;

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_first_calls_share_one_start() {
    let rig = Rig::start(Config::default()).await;
    let calls = (0..50).map(|_| rig.call("a", "instance", json!([])));
    let instances: Vec<_> = futures::future::join_all(calls).await.into_iter().map(|reply| reply.unwrap()).collect();
    assert!(instances.windows(2).all(|pair| pair[0] == pair[1]), "{instances:?}");
    assert_eq!(rig.activation("a").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_actor_leaves_memory_and_comes_back_with_its_storage() {
    let rig = Rig::start(Config { idle: Duration::from_millis(50), ..Config::default() }).await;
    let first = rig.call("a", "instance", json!([])).await.unwrap();
    rig.call("a", "put", json!(["k", 7])).await.unwrap();
    eventually("the actor to be evicted", || !rig.actors.is_live(rig.id("a"))).await;
    assert_eq!(rig.call("a", "get", json!(["k"])).await.unwrap(), json!(7));
    assert_ne!(rig.call("a", "instance", json!([])).await.unwrap(), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_mailbox_refuses_at_once() {
    let rig = Rig::start(Config { calls_max: 2, ..Config::default() }).await;
    // One after the other: the actor that counts them has a mailbox of two as well.
    let one = rig.spawn("a", "hold", json!([]));
    rig.until_marked("held", 1).await;
    let two = rig.spawn("a", "hold", json!([]));
    rig.until_marked("held", 2).await;
    let refused = rig.call("a", "instance", json!([])).await.unwrap_err();
    assert_eq!((refused.kind, refused.outcome), (CallErrorKind::Overloaded, Outcome::NotDone));
    let destroyed = rig.destroy("a").await;
    assert_eq!(destroyed, Ok(()));
    for held in [one, two] {
        assert_eq!(held.await.unwrap().unwrap_err().kind, CallErrorKind::Destroyed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn destroying_ends_calls_in_flight_and_refuses_later_ones() {
    let rig = Rig::start(Config::default()).await;
    rig.call("a", "put", json!(["k", 1])).await.unwrap();
    let held = rig.spawn("a", "hold", json!([]));
    rig.until_marked("held", 1).await;
    let has_key = || rig.vault.incarnations().iter().any(|owner| owner.actor == rig.id("a"));
    let before = has_key();
    rig.destroy("a").await.unwrap();
    assert_eq!(held.await.unwrap().unwrap_err().kind, CallErrorKind::Destroyed);
    let later = rig.call("a", "get", json!(["k"])).await.unwrap_err();
    assert_eq!((later.kind, later.outcome), (CallErrorKind::Destroyed, Outcome::NotDone));
    assert_eq!((before, has_key()), (true, false), "its key is erased");
    assert_eq!(rig.destroy("a").await, Ok(()), "destroying again does nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn destroying_while_the_actor_starts_leaves_nothing_that_answers() {
    let rig = Rig::start(Config::default()).await;
    for round in 0..20 {
        let name = format!("a{round}");
        let call = rig.spawn(&name, "get", json!(["k"]));
        rig.destroy(&name).await.unwrap();
        let _ = call.await.unwrap();
        let later = rig.call(&name, "get", json!(["k"])).await.unwrap_err();
        assert_eq!(later.kind, CallErrorKind::Destroyed, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_that_destroys_itself_is_gone_for_all() {
    let rig = Rig::start(Config::default()).await;
    rig.call("a", "put", json!(["k", 1])).await.unwrap();
    let own = rig.call("a", "end", json!([])).await.unwrap_err();
    assert_eq!(own.kind, CallErrorKind::Destroyed);
    assert_eq!(rig.call("a", "get", json!(["k"])).await.unwrap_err().kind, CallErrorKind::Destroyed);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_actor_loses_the_turn_it_was_in_and_starts_anew() {
    let rig = Rig::start(Config::default()).await;
    rig.call("a", "put", json!(["k", 1])).await.unwrap();
    let lost = rig.call("a", "putAndAbort", json!(["k", 2])).await.unwrap_err();
    assert_eq!((lost.kind, lost.outcome), (CallErrorKind::Reset, Outcome::Unknown));
    assert_eq!(rig.call("a", "get", json!(["k"])).await.unwrap(), json!(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_of_a_fenced_instance_is_refused_and_the_next_call_starts_anew() {
    let rig = Rig::start(Config::default()).await;
    rig.call("a", "put", json!(["k", 1])).await.unwrap();
    rig.activate_elsewhere("a").await;
    let fenced = rig.call("a", "put", json!(["k", 2])).await.unwrap_err();
    assert_eq!((fenced.kind, fenced.outcome), (CallErrorKind::Unavailable, Outcome::NotDone));
    assert_eq!(rig.call("a", "get", json!(["k"])).await.unwrap(), json!(1));
    rig.call("a", "put", json!(["k", 3])).await.unwrap();
    assert_eq!(rig.call("a", "get", json!(["k"])).await.unwrap(), json!(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_hang_in_a_fenced_instance_end_with_it_and_hold_nobody_up() {
    let rig = Rig::start(Config::default()).await;
    let held = rig.spawn("a", "hold", json!([]));
    rig.until_marked("held", 1).await;
    rig.activate_elsewhere("a").await;
    rig.call("a", "put", json!(["k", 1])).await.unwrap_err();
    let held = held.await.unwrap().unwrap_err();
    assert_eq!((held.kind, held.outcome), (CallErrorKind::Unavailable, Outcome::Unknown));
    assert_eq!(rig.call("a", "get", json!(["k"])).await.unwrap(), json!(null));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_to_another_actor_never_leaves_if_the_write_before_it_is_refused() {
    let rig = Rig::start(Config::default()).await;
    rig.call("a", "put", json!(["k", 1])).await.unwrap();
    rig.call("b", "put", json!(["k", 1])).await.unwrap();
    rig.activate_elsewhere("a").await;
    // Writes to its own storage, then tells b. The write is refused, so b must never hear of it.
    let refused = rig.call("a", "relay", json!(["b", "k", 2])).await.unwrap_err();
    assert_eq!((refused.kind, refused.outcome), (CallErrorKind::Unavailable, Outcome::NotDone));
    assert_eq!(rig.call("b", "get", json!(["k"])).await.unwrap(), json!(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_calls_another_and_their_writes_both_stay() {
    let rig = Rig::start(Config::default()).await;
    assert_eq!(rig.call("a", "relay", json!(["b", "k", 5])).await.unwrap(), json!("relayed"));
    assert_eq!(rig.call("a", "get", json!(["k"])).await.unwrap(), json!(5));
    assert_eq!(rig.call("b", "get", json!(["k"])).await.unwrap(), json!(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_deadline_passes_is_unknown() {
    let rig = Rig::start(Config::default()).await;
    rig.call("a", "instance", json!([])).await.unwrap();
    let late = rig.call_until("a", "hold", json!([]), Instant::now() + Duration::from_millis(50)).await.unwrap_err();
    assert_eq!((late.kind, late.outcome), (CallErrorKind::Deadline, Outcome::Unknown));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_too_large_for_memory_s_share_comes_back_from_disk() {
    let rig = Rig::start(Config::default()).await;
    for i in 0..40 {
        rig.call("a", "fill", json!([format!("k{i}"), 100_000])).await.unwrap();
    }
    for i in 0..40 {
        assert_eq!(rig.call("a", "size", json!([format!("k{i}")])).await.unwrap(), json!(100_000));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_too_large_is_refused_and_the_actor_lives_on() {
    let rig = Rig::start(Config { read_bytes_max: 2 << 20, ..Config::default() }).await;
    let fill = async |from: u32, to: u32| {
        for i in from..to {
            rig.call("a", "fill", json!([format!("k{i}"), 130_000])).await.unwrap();
        }
    };
    fill(0, 10).await;
    assert_eq!(rig.call("a", "sizeOfAll", json!([])).await.unwrap(), json!(1_300_000));
    fill(10, 17).await;
    let refused = rig.call("a", "sizeOfAll", json!([])).await.unwrap_err();
    assert_eq!((refused.kind, refused.error.name.as_str()), (CallErrorKind::Exception, "RangeError"));
    assert_eq!(rig.call("a", "size", json!(["k3"])).await.unwrap(), json!(130_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_stored_is_readable_on_disk() {
    let rig = Rig::start(Config::default()).await;
    let (name, value) = ("canary-name-5f1c", "canary-value-77ab");
    rig.call("canary-actor-91d0", "put", json!([name, value])).await.unwrap();
    let dir = rig.stop().await;
    for canary in [name, value, "canary-actor-91d0"] {
        let hits = rig::files_with(dir.path(), canary.as_bytes());
        assert_eq!(hits, Vec::<std::path::PathBuf>::new(), "{canary} stands in the clear");
    }
    assert_ne!(
        rig::files_with(dir.path(), b"test/Actor"),
        Vec::<std::path::PathBuf>::new(),
        "the search finds what is there"
    );
}
