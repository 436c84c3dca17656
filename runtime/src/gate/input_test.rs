//! Specification of the gate without sections: one at a time, in order, until it breaks.

use super::{input::InputGate, section::Lock};

/// Lets the next item in, or says that the gate is shut.
pub(super) fn enter<T>(gate: &mut InputGate<T>) -> Option<(T, Lock)> {
    gate.next().map(|entry| (entry.item, entry.lock))
}

/// Queues items of the outermost section.
pub(super) fn outside(gate: &mut InputGate<&'static str>, items: &[&'static str]) {
    let section = gate.outermost();
    for item in items {
        gate.wait(&section, item).expect("the gate works");
    }
}

#[test]
fn one_enters_and_the_others_wait_until_it_leaves() {
    let mut gate = InputGate::new();
    outside(&mut gate, &["a", "b", "c"]);
    let (first, lock) = enter(&mut gate).expect("an open gate lets the first in");
    assert_eq!(first, "a");
    assert_eq!(enter(&mut gate), None);
    gate.release(lock);
    let (second, lock) = enter(&mut gate).expect("the second follows");
    assert_eq!(second, "b");
    assert_eq!(enter(&mut gate), None);
    gate.release(lock);
    assert_eq!(enter(&mut gate).map(|(item, _)| item), Some("c"));
}

#[test]
fn a_storage_call_keeps_the_gate_shut_after_its_turn_is_over() {
    let mut gate = InputGate::new();
    outside(&mut gate, &["turn", "reply"]);
    let (_, turn) = enter(&mut gate).expect("open");
    let storage = gate.lock_again(&turn);
    gate.release(turn);
    assert_eq!(enter(&mut gate), None, "the storage call has not come back");
    gate.release(storage);
    assert_eq!(enter(&mut gate).map(|(item, _)| item), Some("reply"));
}

#[test]
fn the_gate_opens_only_when_the_last_of_many_locks_is_released() {
    let mut gate = InputGate::new();
    outside(&mut gate, &["turn", "next"]);
    let (_, turn) = enter(&mut gate).expect("open");
    let locks: Vec<Lock> = (0..100).map(|_| gate.lock_again(&turn)).collect();
    gate.release(turn);
    for lock in locks {
        assert_eq!(enter(&mut gate), None);
        gate.release(lock);
    }
    assert_eq!(enter(&mut gate).map(|(item, _)| item), Some("next"));
}

#[test]
fn ten_thousand_waiters_enter_in_the_order_they_came() {
    let mut gate = InputGate::new();
    let section = gate.outermost();
    for item in 0..10_000 {
        gate.wait(&section, item).expect("the gate works");
    }
    for expected in 0..10_000 {
        let (item, lock) = enter(&mut gate).expect("the one before has left");
        assert_eq!(item, expected);
        gate.release(lock);
    }
    assert!(gate.is_idle());
}

#[test]
fn a_gate_is_idle_only_when_nobody_is_inside_and_nobody_waits() {
    let mut gate = InputGate::new();
    assert!(gate.is_idle());
    outside(&mut gate, &["a"]);
    assert!(!gate.is_idle(), "somebody waits");
    let (_, lock) = enter(&mut gate).expect("open");
    assert!(!gate.is_idle(), "somebody is inside");
    gate.release(lock);
    assert!(gate.is_idle());
}

#[test]
fn a_broken_gate_gives_back_who_waited_and_lets_nobody_in_again() {
    let mut gate = InputGate::new();
    outside(&mut gate, &["turn", "a", "b"]);
    let (_, lock) = enter(&mut gate).expect("open");
    assert_eq!(gate.fail("first reason"), ["a", "b"]);
    assert_eq!(gate.broken().map(ToString::to_string), Some("first reason".to_owned()));
    gate.release(lock);
    assert_eq!(gate.next(), None);
    let section = gate.outermost();
    assert_eq!(gate.wait(&section, "late"), Err("late"));
    assert_eq!(gate.waiting(), 0);
}

#[test]
fn the_first_reason_a_gate_broke_for_is_the_one_it_keeps() {
    let mut gate: InputGate<()> = InputGate::new();
    gate.fail("first");
    gate.fail("second");
    assert_eq!(gate.broken().map(ToString::to_string), Some("first".to_owned()));
}

#[test]
#[should_panic(expected = "a lock is released once")]
fn a_lock_that_never_was_cannot_be_released() {
    let mut gate: InputGate<()> = InputGate::new();
    let section = gate.outermost();
    gate.release(Lock { section });
}
