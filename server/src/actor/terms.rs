//! When a group that is to be handed over takes no more calls, and for how long: nothing here waits or does anything.
//!
//! ```text
//! 0                      1/6 of the whole time                    2/3                                 all of it
//! ├── long calls, open bodies ──┼── long calls are waited for ──────┼── longer silences, where they ────┤ cut off
//!     are waited for                                                    may help: each length once
//! ```
//!
//! A silence is worth trying only if those inside are likely to end in it. A call that has taken longer than the silence will
//! most likely take longer still: for one that never ends nobody else is kept waiting, and it is cut off in the end. An open
//! body is waited for only where that silences nobody; its reader has to come again anyway.

use std::time::{Duration, Instant};

use crate::cluster::Patience;

/// Calls under way for longer are waited for before the group is without service.
pub(super) const LONG: Duration = Duration::from_millis(50);
/// How long the remaining calls have to end, while the group is without service.
const MOMENT: Duration = Duration::from_millis(150);
/// How long calls have to end where the group is without service anyway.
const HURRY: Duration = Duration::from_secs(1);
/// Bodies are waited for in the first part of the whole time.
const BODIES_PART: u32 = 6;
/// Where no moment was good by then, longer ones are tried in the last part of the whole time.
const LAST_PART: u32 = 3;
/// How many of them, each twice as long as the one before it, and each when as much of the last part is over.
const LONGER: u32 = 3;
/// The first of them, as a part of the whole time.
const LONGER_MOMENT: u32 = 30;

/// What is to be done with a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It is served on.
    Serve,
    /// It takes no calls for so long, and is released if none is left then.
    Silence(Duration),
    /// The same, but whoever is left is cut off.
    CutOff(Duration),
}

/// How old the oldest are that are under way, if there are any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Oldest {
    pub call: Option<Duration>,
    pub body: Option<Duration>,
}

/// The time of one hand-over.
pub(super) struct Terms {
    whole: Duration,
    began: Instant,
    /// Since when it is urgent.
    urgent: Option<Instant>,
    /// Longer silences that were tried, or passed over.
    tried: u32,
}

impl Terms {
    /// It begins now, and calls have this time.
    pub fn new(whole: Duration, began: Instant) -> Self {
        Self { whole, began, urgent: None, tried: 0 }
    }

    /// What to do now.
    pub fn next(&mut self, now: Instant, patience: Patience, oldest: Oldest) -> Next {
        match patience {
            Patience::Planned => self.urgent = None,
            Patience::Urgent => {
                let since = *self.urgent.get_or_insert(now);
                return match oldest.call {
                    None => Next::Silence(MOMENT),
                    Some(_) if now.saturating_duration_since(since) >= HURRY => Next::CutOff(Duration::ZERO),
                    Some(_) => Next::Serve,
                };
            }
        }
        let passed = now.saturating_duration_since(self.began);
        if passed >= self.whole {
            return Next::CutOff(MOMENT);
        }
        let call = oldest.call.unwrap_or_default();
        if let Some((_, longer)) = self.longer(passed).filter(|(_, longer)| call <= *longer) {
            return Next::Silence(longer);
        }
        match call > LONG || (oldest.body.is_some() && passed < self.whole / BODIES_PART) {
            true => Next::Serve,
            false => Next::Silence(MOMENT),
        }
    }

    /// A silence that began at `now` did not help.
    pub fn failed(&mut self, now: Instant) {
        if let Some((number, _)) = self.longer(now.saturating_duration_since(self.began)) {
            self.tried = number + 1;
        }
    }

    /// The longer silence that is to be tried now, and its number.
    fn longer(&self, passed: Duration) -> Option<(u32, Duration)> {
        let last = self.whole / LAST_PART;
        let passed = passed.checked_sub(self.whole - last)?;
        let number = (0..LONGER).rev().find(|number| passed >= last / LONGER * *number)?;
        let longer = (self.whole / LONGER_MOMENT * 2_u32.pow(number)).min(last.saturating_sub(passed));
        (number >= self.tried && longer > MOMENT).then_some((number, longer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Duration = Duration::from_secs(30);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn call(age_ms: u64) -> Oldest {
        Oldest { call: Some(ms(age_ms)), body: None }
    }

    fn body(age_ms: u64) -> Oldest {
        Oldest { call: None, body: Some(ms(age_ms)) }
    }

    /// What is to be done so many milliseconds after the beginning, when nothing was tried.
    fn at(passed_ms: u64, oldest: Oldest) -> Next {
        let began = Instant::now();
        Terms::new(WHOLE, began).next(began + ms(passed_ms), Patience::Planned, oldest)
    }

    #[test]
    fn short_calls_are_silenced_for_a_moment_and_long_ones_are_waited_for() {
        let found = [Oldest::default(), call(50), call(51)].map(|oldest| at(0, oldest));
        assert_eq!(found, [Next::Silence(MOMENT), Next::Silence(MOMENT), Next::Serve]);
    }

    #[test]
    fn an_open_body_is_waited_for_at_first_and_never_silences_anybody() {
        assert_eq!([at(0, body(1)), at(4_999, body(9_000))], [Next::Serve, Next::Serve]);
        assert_eq!([at(5_000, body(1)), at(5_000, body(9_000))], [Next::Silence(MOMENT), Next::Silence(MOMENT)]);
    }

    #[test]
    fn a_call_that_never_ends_is_cut_off_in_the_end_and_nobody_is_silenced_for_it_before() {
        let began = Instant::now();
        let mut terms = Terms::new(WHOLE, began);
        for passed in 100..30_000 {
            let next = terms.next(began + ms(passed), Patience::Planned, call(passed));
            assert_eq!(next, Next::Serve, "after {passed} ms");
        }
        assert_eq!(terms.next(began + WHOLE, Patience::Planned, call(30_000)), Next::CutOff(MOMENT));
    }

    #[test]
    fn calls_that_always_take_long_have_three_longer_silences_at_most_and_none_after_the_end() {
        let began = Instant::now();
        let mut terms = Terms::new(WHOLE, began);
        let mut silences = Vec::new();
        let mut passed = 0;
        while passed < 30_000 {
            let now = began + ms(passed);
            match terms.next(now, Patience::Planned, call(900)) {
                Next::Silence(silence) => {
                    silences.push((passed, silence));
                    terms.failed(now);
                    passed += silence.as_millis() as u64;
                }
                Next::Serve => passed += 5,
                Next::CutOff(_) => panic!("after {passed} ms"),
            }
        }
        let [first, second, third] = silences[..] else { panic!("{silences:?}") };
        assert_eq!((first, second.1), ((20_000, ms(1_000)), ms(2_000)));
        assert!(ms(third.0) + third.1 <= WHOLE, "{third:?}");
        assert!(third.1 > ms(3_000), "{third:?}");
    }

    #[test]
    fn a_longer_silence_is_not_tried_while_a_call_has_taken_longer_than_it() {
        assert_eq!([at(20_000, call(1_001)), at(20_000, call(1_000))], [Next::Serve, Next::Silence(ms(1_000))]);
        assert_eq!(at(23_400, call(1_001)), Next::Silence(ms(2_000)));
    }

    #[test]
    fn who_is_in_a_hurry_waits_a_second_for_calls_and_not_at_all_for_bodies() {
        let began = Instant::now();
        let mut terms = Terms::new(WHOLE, began);
        assert_eq!(terms.next(began, Patience::Planned, call(9_000)), Next::Serve);
        let urgent = began + ms(700);
        assert_eq!(terms.next(urgent, Patience::Urgent, body(9_000)), Next::Silence(MOMENT));
        assert_eq!(terms.next(urgent + ms(999), Patience::Urgent, call(1)), Next::Serve);
        assert_eq!(terms.next(urgent + HURRY, Patience::Urgent, call(1)), Next::CutOff(Duration::ZERO));
        // It is not urgent any more: all the time counts again.
        assert_eq!(terms.next(urgent + HURRY, Patience::Planned, call(9_000)), Next::Serve);
    }
}
