//! Specification of the door: what an actor's event loop may rely on.

use std::time::{Duration, Instant};

use super::{Door, Pass};

/// What can arrive in these tests.
#[derive(Debug, PartialEq)]
enum Item {
    Named(&'static str),
    Begin(u64),
}

use Item::Named;

fn door() -> Door<Item> {
    Door::new(Duration::from_secs(30))
}

fn event(door: &mut Door<Item>, name: &'static str) {
    let pass = door.outside();
    door.arrive(pass, Named(name));
}

#[test]
fn a_reply_that_kept_the_gate_shut_enters_before_events_that_came_earlier() {
    let mut door = door();
    event(&mut door, "turn");
    assert_eq!(door.enter(Instant::now()), Some(Named("turn")));
    let storage = door.hold();
    event(&mut door, "event");
    door.leave();
    assert_eq!(door.enter(Instant::now()), None, "storage is awaited");
    door.arrive(storage, Named("storage"));
    assert_eq!(door.enter(Instant::now()), Some(Named("storage")));
    door.leave();
    assert_eq!(door.enter(Instant::now()), Some(Named("event")));
}

#[test]
fn a_reply_that_did_not_keep_the_gate_shut_waits_its_turn() {
    let mut door = door();
    event(&mut door, "turn");
    door.enter(Instant::now());
    let fetch = door.wait();
    event(&mut door, "event");
    door.leave();
    door.arrive(fetch, Named("fetch"));
    assert_eq!(door.enter(Instant::now()), Some(Named("event")));
    door.leave();
    assert_eq!(door.enter(Instant::now()), Some(Named("fetch")));
}

#[test]
fn an_operation_begun_in_a_section_comes_back_into_it_and_the_outside_waits() {
    let mut door = door();
    event(&mut door, "turn");
    door.enter(Instant::now());
    assert_eq!(door.begin(Item::Begin), Ok(()));
    door.leave();
    let Some(Item::Begin(id)) = door.enter(Instant::now()) else { panic!("the section starts") };
    let fetch = door.wait();
    door.leave();
    event(&mut door, "event");
    assert_eq!(door.enter(Instant::now()), None);
    door.arrive(fetch, Named("fetch"));
    assert_eq!(door.enter(Instant::now()), Some(Named("fetch")));
    let around = door.end(id).expect("it runs");
    door.leave();
    assert_eq!(door.enter(Instant::now()), None, "the code around goes on first");
    door.arrive(around, Named("around"));
    assert_eq!(door.enter(Instant::now()), Some(Named("around")));
    door.leave();
    assert_eq!(door.enter(Instant::now()), Some(Named("event")));
    door.leave();
    assert_eq!(door.waiting(), 0);
}

#[test]
fn a_section_ends_once_and_an_unknown_one_never() {
    let mut door = door();
    assert!(door.begin(Item::Begin).is_ok());
    assert_eq!(door.enter(Instant::now()), Some(Item::Begin(1)));
    assert!(door.end(7).is_none());
    assert!(matches!(door.end(1), Some(Pass::Held(_))));
    assert!(door.end(1).is_none());
}

#[test]
fn a_section_expires_when_its_time_is_over_and_not_before() {
    let timeout = Duration::from_secs(30);
    let mut door = Door::new(timeout);
    let start = Instant::now();
    assert_eq!(door.deadline(), None);
    assert!(door.begin(Item::Begin).is_ok());
    assert_eq!(door.deadline(), None, "time runs from when the section runs");
    door.enter(start);
    door.leave();
    assert_eq!(door.deadline(), Some(start + timeout));
    assert!(door.expire(start + timeout - Duration::from_nanos(1)).is_none());
    event(&mut door, "event");
    assert!(door.expire(start + timeout).is_some());
    assert_eq!((door.enter(start), door.deadline(), door.waiting()), (None, None, 0));
}

#[test]
fn of_nested_sections_the_outer_one_expires_first() {
    let timeout = Duration::from_secs(30);
    let mut door = Door::new(timeout);
    let start = Instant::now();
    assert!(door.begin(Item::Begin).is_ok());
    door.enter(start);
    assert!(door.begin(Item::Begin).is_ok());
    door.leave();
    let later = start + Duration::from_secs(10);
    assert_eq!(door.enter(later), Some(Item::Begin(2)));
    assert_eq!(door.deadline(), Some(start + timeout));
    let around = door.end(1).expect("it runs");
    assert_eq!(door.deadline(), Some(later + timeout), "the outer one has ended");
    door.leave();
    door.arrive(around, Named("around"));
}

#[test]
fn a_broken_door_lets_nothing_in_not_even_a_held_reply() {
    let mut door = door();
    event(&mut door, "turn");
    door.enter(Instant::now());
    let storage = door.hold();
    door.fail("broken");
    door.leave();
    door.arrive(storage, Named("storage"));
    event(&mut door, "event");
    assert_eq!(door.enter(Instant::now()), None);
}

#[test]
#[should_panic(expected = "the turn before must leave first")]
fn two_turns_at_once_are_a_fault_of_the_event_loop() {
    let mut door = door();
    event(&mut door, "one");
    event(&mut door, "two");
    door.enter(Instant::now());
    door.enter(Instant::now());
}
