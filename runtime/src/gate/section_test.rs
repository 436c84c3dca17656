//! Specification of critical sections: what `blockConcurrencyWhile` and `transaction` may rely on.

use super::{
    SECTION_DEPTH_MAX,
    input::InputGate,
    input_test::{enter, outside},
    section::{Lock, Section, TooDeep},
};

/// Starts a section inside `outer` at a moment when nobody is inside, and gives back its first turn's lock.
fn start(gate: &mut InputGate<&'static str>, outer: &Section) -> (Section, Lock) {
    let section = gate.begin(outer, |_| "start").expect("not too deep");
    let entry = gate.next().expect("nobody is inside");
    assert!(entry.begins);
    assert_eq!(entry.item, "start");
    assert_eq!(*entry.lock.section(), section);
    (section, entry.lock)
}

/// A gate with one section in which no turn is going on.
fn one_section() -> (InputGate<&'static str>, Section) {
    let mut gate = InputGate::new();
    let outermost = gate.outermost();
    let (section, lock) = start(&mut gate, &outermost);
    gate.release(lock);
    (gate, section)
}

#[test]
fn a_section_starts_only_after_the_turn_that_asked_for_it() {
    let mut gate = InputGate::new();
    outside(&mut gate, &["turn"]);
    let (_, turn) = enter(&mut gate).expect("open");
    gate.begin(turn.section(), |_| "start").expect("not too deep");
    assert_eq!(enter(&mut gate), None, "the turn goes on");
    gate.release(turn);
    assert_eq!(enter(&mut gate).map(|(item, _)| item), Some("start"));
}

#[test]
fn a_section_starts_only_after_storage_calls_made_before_it_have_come_back() {
    let mut gate = InputGate::new();
    outside(&mut gate, &["turn"]);
    let (_, turn) = enter(&mut gate).expect("open");
    let storage = gate.lock_again(&turn);
    gate.begin(turn.section(), |_| "start").expect("not too deep");
    gate.release(turn);
    assert_eq!(enter(&mut gate), None);
    gate.release(storage);
    assert_eq!(enter(&mut gate).map(|(item, _)| item), Some("start"));
}

#[test]
fn a_section_that_waits_to_start_goes_before_events_that_came_earlier() {
    let mut gate = InputGate::new();
    outside(&mut gate, &["turn", "earlier"]);
    let (_, turn) = enter(&mut gate).expect("open");
    gate.begin(turn.section(), |_| "start").expect("not too deep");
    gate.release(turn);
    assert_eq!(enter(&mut gate).map(|(item, _)| item), Some("start"));
}

#[test]
fn events_from_outside_wait_for_the_section_and_its_own_enter() {
    let (mut gate, section) = one_section();
    outside(&mut gate, &["outside"]);
    gate.wait(&section, "inside").expect("works");
    let (item, lock) = enter(&mut gate).expect("the section's own event enters");
    assert_eq!(item, "inside");
    gate.release(lock);
    assert_eq!(enter(&mut gate), None, "the outside waits while the section runs");
    let around = gate.succeed(&section).expect("it runs");
    assert_eq!(enter(&mut gate), None, "whoever awaited the section goes on first");
    gate.release(around);
    assert_eq!(enter(&mut gate).map(|(item, _)| item), Some("outside"));
}

#[test]
fn inside_a_section_turns_and_storage_keep_one_another_out_as_they_do_outside() {
    let (mut gate, section) = one_section();
    gate.wait(&section, "first").expect("works");
    gate.wait(&section, "second").expect("works");
    let (_, turn) = enter(&mut gate).expect("open");
    let storage = gate.lock_again(&turn);
    gate.release(turn);
    assert_eq!(enter(&mut gate), None);
    gate.release(storage);
    assert_eq!(enter(&mut gate).map(|(item, _)| item), Some("second"));
}

#[test]
fn of_two_sections_that_begin_together_the_second_waits_for_the_first_to_end() {
    let mut gate = InputGate::new();
    outside(&mut gate, &["turn"]);
    let (_, turn) = enter(&mut gate).expect("open");
    let first = gate.begin(turn.section(), |_| "first").expect("not too deep");
    let second = gate.begin(turn.section(), |_| "second").expect("not too deep");
    gate.release(turn);
    let (item, lock) = enter(&mut gate).expect("open");
    assert_eq!(item, "first");
    gate.release(lock);
    assert_eq!(enter(&mut gate), None);
    let around = gate.succeed(&first).expect("runs");
    gate.release(around);
    assert_eq!(enter(&mut gate).map(|(item, _)| item), Some("second"));
    assert!(gate.is_running(&second));
}

#[test]
fn the_section_around_waits_for_the_section_inside() {
    let (mut gate, outer) = one_section();
    let (inner, lock) = start(&mut gate, &outer);
    gate.release(lock);
    gate.wait(&outer, "outer").expect("works");
    outside(&mut gate, &["outside"]);
    assert_eq!(enter(&mut gate), None);
    let around = gate.succeed(&inner).expect("runs");
    gate.release(around);
    let (item, lock) = enter(&mut gate).expect("the inner section has ended");
    assert_eq!(item, "outer");
    gate.release(lock);
    assert_eq!(enter(&mut gate), None);
    let around = gate.succeed(&outer).expect("runs");
    gate.release(around);
    assert_eq!(enter(&mut gate).map(|(item, _)| item), Some("outside"));
}

#[test]
fn an_inner_section_that_outlives_the_one_around_it_still_keeps_everybody_out() {
    let (mut gate, outer) = one_section();
    let (inner, lock) = start(&mut gate, &outer);
    gate.release(lock);
    outside(&mut gate, &["outside"]);
    let around = gate.succeed(&outer).expect("runs");
    gate.release(around);
    assert_eq!(enter(&mut gate), None, "the inner section runs");
    gate.wait(&inner, "inner").expect("works");
    let (item, lock) = enter(&mut gate).expect("the inner section's own event enters");
    assert_eq!(item, "inner");
    gate.release(lock);
    let around = gate.succeed(&inner).expect("runs");
    assert_eq!(*around.section(), gate.outermost());
    gate.release(around);
    assert_eq!(enter(&mut gate).map(|(item, _)| item), Some("outside"));
    assert!(!gate.is_running(&inner));
}

#[test]
fn a_lock_outlives_its_section_and_then_keeps_the_outside_shut() {
    let (mut gate, section) = one_section();
    gate.wait(&section, "turn").expect("works");
    let (_, turn) = enter(&mut gate).expect("open");
    outside(&mut gate, &["outside"]);
    let around = gate.succeed(&section).expect("runs");
    gate.release(around);
    assert_eq!(enter(&mut gate), None, "the turn inside goes on");
    let storage = gate.lock_again(&turn);
    assert_eq!(*storage.section(), gate.outermost());
    gate.release(turn);
    assert_eq!(enter(&mut gate), None);
    gate.release(storage);
    assert_eq!(enter(&mut gate).map(|(item, _)| item), Some("outside"));
}

#[test]
fn stragglers_of_an_ended_section_are_adopted_by_the_one_around_it() {
    let (mut gate, outer) = one_section();
    let (inner, lock) = start(&mut gate, &outer);
    gate.release(lock);
    gate.wait(&inner, "waited inside").expect("works");
    let around = gate.succeed(&inner).expect("runs");
    gate.wait(&inner, "came later").expect("works");
    outside(&mut gate, &["outside"]);
    gate.release(around);
    for expected in ["waited inside", "came later"] {
        let (item, lock) = enter(&mut gate).expect("the outer section runs");
        assert_eq!((item, lock.section()), (expected, &outer));
        gate.release(lock);
    }
    assert_eq!(enter(&mut gate), None);
}

#[test]
fn a_section_begun_by_a_straggler_runs_inside_the_section_that_adopted_it() {
    let (mut gate, outer) = one_section();
    let (inner, lock) = start(&mut gate, &outer);
    gate.release(lock);
    let around = gate.succeed(&inner).expect("runs");
    gate.release(around);
    let (later, lock) = start(&mut gate, &inner);
    assert_eq!(later.depth(), 2, "around it are the outer section and the outside");
    gate.release(lock);
}

#[test]
fn a_section_ends_once() {
    let (mut gate, section) = one_section();
    let around = gate.succeed(&section).expect("runs");
    gate.release(around);
    assert_eq!(gate.succeed(&section), None);
    let outermost = gate.outermost();
    assert_eq!(gate.succeed(&outermost), None);
    assert!(gate.is_idle());
}

#[test]
fn a_section_that_has_not_started_cannot_end() {
    let mut gate = InputGate::new();
    outside(&mut gate, &["turn"]);
    let (_, turn) = enter(&mut gate).expect("open");
    let section = gate.begin(turn.section(), |_| "start").expect("not too deep");
    assert_eq!(gate.succeed(&section), None);
    gate.release(turn);
    assert_eq!(enter(&mut gate).map(|(item, _)| item), Some("start"));
}

#[test]
fn a_failed_section_breaks_the_gate_for_everybody() {
    let (mut gate, outer) = one_section();
    let (inner, lock) = start(&mut gate, &outer);
    gate.release(lock);
    outside(&mut gate, &["outside"]);
    gate.wait(&outer, "outer").expect("works");
    gate.begin(&inner, |_| "innermost").expect("not too deep");
    assert_eq!(gate.fail("boom"), ["outside", "outer", "innermost"]);
    assert_eq!(gate.next(), None);
    assert_eq!(gate.wait(&outer, "late"), Err("late"));
    assert_eq!(gate.succeed(&inner), None);
    assert!(!gate.is_running(&inner));
}

#[test]
fn a_section_that_is_too_slow_breaks_the_gate_and_one_that_ended_in_time_does_not() {
    let (mut gate, section) = one_section();
    let around = gate.succeed(&section).expect("runs");
    gate.release(around);
    assert_eq!(gate.expire(&section), None);
    assert_eq!(gate.broken(), None);
    let outermost = gate.outermost();
    let (slow, lock) = start(&mut gate, &outermost);
    gate.release(lock);
    outside(&mut gate, &["outside"]);
    assert_eq!(gate.expire(&slow), Some(vec!["outside"]));
    let reason = gate.broken().expect("broken").to_string();
    assert!(reason.contains("waited for too long"), "{reason}");
}

#[test]
fn the_sixty_fifth_section_inside_another_is_refused_and_harms_nobody() {
    let mut gate = InputGate::new();
    let mut sections = vec![gate.outermost()];
    for depth in 1..=SECTION_DEPTH_MAX {
        let (section, lock) = start(&mut gate, sections.last().expect("not empty"));
        assert_eq!(section.depth(), depth);
        gate.release(lock);
        sections.push(section);
    }
    let deepest = sections.last().expect("not empty").clone();
    assert_eq!(gate.begin(&deepest, |_| "one more"), Err(TooDeep));
    while sections.len() > 1 {
        let around = gate.succeed(&sections.pop().expect("not empty")).expect("runs");
        gate.release(around);
    }
    assert!(gate.is_idle());
}

#[test]
fn a_hundred_thousand_sections_one_after_another_leave_nothing_behind() {
    let mut gate = InputGate::new();
    let mut last = gate.outermost();
    for _ in 0..100_000 {
        // Each begins as a straggler of the one before, so that ended sections would pile up if they were kept.
        let (section, lock) = start(&mut gate, &last);
        gate.release(lock);
        let around = gate.succeed(&section).expect("runs");
        gate.release(around);
        assert_eq!(section.depth(), 1);
        last = section;
    }
    assert!(gate.is_idle());
}

/// Plays random programs against the gate. After every step: who is inside belongs to the innermost running section,
/// nobody waits for an open gate, and when all is released everything has entered exactly once.
#[test]
fn random_programs_keep_others_out_and_lose_nothing() {
    for seed in 1..=300_u64 {
        let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut dice = move |sides: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % sides
        };
        let mut gate = InputGate::new();
        let mut sections = vec![gate.outermost()];
        let (mut sent, mut entered, mut locks) = (0_u32, Vec::new(), Vec::<Lock>::new());
        for _ in 0..200 {
            let section = sections[dice(sections.len() as u64) as usize].clone();
            match dice(6) {
                0 | 1 => {
                    gate.wait(&section, sent).expect("works");
                    sent += 1;
                }
                2 => {
                    if let Ok(new) = gate.begin(&section, |_| sent) {
                        sections.push(new);
                        sent += 1;
                    }
                }
                3 => locks.extend(gate.succeed(&section)),
                4 if !locks.is_empty() => {
                    let again = gate.lock_again(&locks[0]);
                    locks.push(again);
                }
                _ if !locks.is_empty() => {
                    let lock = locks.swap_remove(dice(locks.len() as u64) as usize);
                    gate.release(lock);
                }
                _ => {}
            }
            if let Some(entry) = gate.next() {
                assert!(!entry.begins || gate.is_running(entry.lock.section()), "seed {seed}");
                entered.push(entry.item);
                locks.push(entry.lock);
                assert_eq!(gate.next(), None, "seed {seed}: two entered at once");
            }
        }
        while !gate.is_idle() {
            locks.drain(..).for_each(|lock| gate.release(lock));
            if let Some(entry) = gate.next() {
                entered.push(entry.item);
                locks.push(entry.lock);
            }
            let ended: Vec<Lock> = sections.iter().rev().filter_map(|section| gate.succeed(section)).collect();
            locks.extend(ended);
        }
        entered.sort_unstable();
        assert_eq!(entered, (0..sent).collect::<Vec<_>>(), "seed {seed}");
    }
}
