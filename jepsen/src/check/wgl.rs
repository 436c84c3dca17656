//! Linearizability of one object's history: the search of Wing & Gong with the memory of Lowe.
//!
//! The search builds a sequence call by call. A call may come next if it was invoked before every answer that is not
//! yet explained. Each configuration (set of calls done, state reached) is visited once. Calls without an answer
//! need not be done at all; they are tried last, because most of them explain nothing.
//!
//! The search is iterative, so a long history does not overflow the stack, and it gives up at a limit of time or
//! memory: then the answer is "unknown", never "linearizable".

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use crate::model::{CallOf, Model};

/// How long and how far a search may go.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Wall time.
    pub time_max: Duration,
    /// Configurations kept in memory.
    pub configurations_max: usize,
}

impl Default for Effort {
    fn default() -> Self {
        Self { time_max: Duration::from_secs(60), configurations_max: 4_000_000 }
    }
}

/// What a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Search {
    /// The calls, by place in the input, in an order that explains every answer.
    Linearizable(Vec<usize>),
    /// No order explains every answer; this one explains the most.
    Impossible(Vec<usize>),
    /// The effort was not enough.
    GaveUp(&'static str),
}

/// Steps between two looks at the clock.
const CLOCK_STEPS: u64 = 1024;

/// Searches for a sequential order of `calls` that respects real time and the model.
pub fn search<M: Model>(calls: &[CallOf<M>], effort: Effort) -> Search {
    let started = Instant::now();
    let mut walk = Walk::<M>::new(calls);
    let mut steps = 0_u64;
    while walk.required_left > 0 {
        steps += 1;
        if steps.is_multiple_of(CLOCK_STEPS) && started.elapsed() > effort.time_max {
            return Search::GaveUp("the time limit of the search was reached");
        }
        if walk.seen.len() > effort.configurations_max {
            return Search::GaveUp("the memory limit of the search was reached");
        }
        if !walk.step() {
            return Search::Impossible(walk.longest);
        }
    }
    Search::Linearizable(walk.chosen.iter().map(|choice| choice.call).collect())
}

/// Which calls are being tried as the next one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    Answered,
    Unanswered,
}

/// A call that was put next, and what to restore when that turns out wrong.
struct Choice<S> {
    call: usize,
    pass: Pass,
    before: S,
}

/// Events not yet explained, as a linked list in history order, and the sequence built so far.
struct Walk<'a, M: Model> {
    calls: &'a [CallOf<M>],
    list: List,
    cursor: usize,
    pass: Pass,
    state: M::State,
    done: Vec<u64>,
    seen: HashSet<(Box<[u64]>, M::State)>,
    chosen: Vec<Choice<M::State>>,
    longest: Vec<usize>,
    required_left: usize,
}

impl<'a, M: Model> Walk<'a, M> {
    fn new(calls: &'a [CallOf<M>]) -> Self {
        let list = List::new(calls.iter().map(|call| (call.invoked, call.returned)));
        Self {
            calls,
            cursor: list.first(),
            list,
            pass: Pass::Answered,
            state: M::initial(),
            done: vec![0; calls.len().div_ceil(64)],
            seen: HashSet::new(),
            chosen: Vec::new(),
            longest: Vec::new(),
            required_left: calls.iter().filter(|call| call.returned.is_some()).count(),
        }
    }

    /// One move: choose a call, go past one, or take the last choice back. `false` when nothing is left to try.
    fn step(&mut self) -> bool {
        match self.list.event(self.cursor) {
            Some(Event::Invoked(call)) => {
                if !self.choose(call) {
                    self.cursor = self.list.next[self.cursor];
                }
                true
            }
            // Whatever comes next must come before this answer: no further call may be next.
            Some(Event::Returned) | None if self.pass == Pass::Answered => {
                self.pass = Pass::Unanswered;
                self.cursor = self.list.first();
                true
            }
            Some(Event::Returned) | None => self.take_back(),
        }
    }

    /// Puts `call` next, if it fits and leads to a configuration never seen.
    fn choose(&mut self, call: usize) -> bool {
        let candidate = &self.calls[call];
        let pass = if candidate.returned.is_some() { Pass::Answered } else { Pass::Unanswered };
        if pass != self.pass {
            return false;
        }
        let Some(state) = M::step(&self.state, &candidate.input, candidate.output.as_ref()) else { return false };
        self.done[call / 64] ^= 1 << (call % 64);
        if !self.seen.insert((self.done.clone().into_boxed_slice(), state.clone())) {
            self.done[call / 64] ^= 1 << (call % 64);
            return false;
        }
        self.list.remove(call);
        self.required_left -= usize::from(pass == Pass::Answered);
        let before = std::mem::replace(&mut self.state, state);
        self.chosen.push(Choice { call, pass, before });
        self.cursor = self.list.first();
        self.pass = Pass::Answered;
        true
    }

    fn take_back(&mut self) -> bool {
        if self.chosen.len() > self.longest.len() {
            self.longest = self.chosen.iter().map(|choice| choice.call).collect();
        }
        let Some(Choice { call, pass, before }) = self.chosen.pop() else { return false };
        self.done[call / 64] ^= 1 << (call % 64);
        self.list.restore(call);
        self.required_left += usize::from(pass == Pass::Answered);
        self.state = before;
        self.pass = pass;
        self.cursor = self.list.next[List::invoked(call)];
        true
    }
}

enum Event {
    Invoked(usize),
    Returned,
}

/// Doubly linked list of events in history order. Node 0 is the head and the end; call `i` has nodes `2i+1`, `2i+2`.
struct List {
    next: Vec<usize>,
    prev: Vec<usize>,
    answered: Vec<bool>,
}

impl List {
    fn new(calls: impl Iterator<Item = (u64, Option<u64>)>) -> Self {
        let mut events = Vec::new();
        let mut answered = Vec::new();
        for (call, (invoked, returned)) in calls.enumerate() {
            events.push((invoked, Self::invoked(call)));
            events.extend(returned.map(|returned| (returned, Self::returned(call))));
            answered.push(returned.is_some());
        }
        events.sort_unstable();
        let mut list = Self { next: vec![0; 2 * answered.len() + 1], prev: vec![0; 2 * answered.len() + 1], answered };
        let mut last = 0;
        for (_, node) in events {
            list.next[last] = node;
            list.prev[node] = last;
            last = node;
        }
        list.prev[0] = last;
        list
    }

    fn invoked(call: usize) -> usize {
        2 * call + 1
    }

    fn returned(call: usize) -> usize {
        2 * call + 2
    }

    fn first(&self) -> usize {
        self.next[0]
    }

    fn event(&self, node: usize) -> Option<Event> {
        match node {
            0 => None,
            node if node % 2 == 1 => Some(Event::Invoked(node / 2)),
            _ => Some(Event::Returned),
        }
    }

    fn remove(&mut self, call: usize) {
        self.unlink(Self::invoked(call));
        if self.answered[call] {
            self.unlink(Self::returned(call));
        }
    }

    /// Undoes the latest `remove`: in the opposite order, so that each node finds its neighbours as they were.
    fn restore(&mut self, call: usize) {
        if self.answered[call] {
            self.link(Self::returned(call));
        }
        self.link(Self::invoked(call));
    }

    fn unlink(&mut self, node: usize) {
        let (prev, next) = (self.prev[node], self.next[node]);
        self.next[prev] = next;
        self.prev[next] = prev;
    }

    fn link(&mut self, node: usize) {
        let (prev, next) = (self.prev[node], self.next[node]);
        self.next[prev] = node;
        self.prev[next] = node;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Call, Register, RegisterIn, RegisterOut};

    fn call(
        input: RegisterIn,
        output: Option<RegisterOut>,
        invoked: u64,
        returned: Option<u64>,
    ) -> Call<RegisterIn, RegisterOut> {
        Call { input, output, invoked, returned }
    }

    fn write(value: i64, invoked: u64, returned: u64) -> Call<RegisterIn, RegisterOut> {
        call(RegisterIn::Write(value), Some(RegisterOut::Done), invoked, Some(returned))
    }

    fn read(value: i64, invoked: u64, returned: u64) -> Call<RegisterIn, RegisterOut> {
        call(RegisterIn::Read, Some(RegisterOut::Value(Some(value))), invoked, Some(returned))
    }

    fn found(calls: &[Call<RegisterIn, RegisterOut>]) -> Search {
        search::<Register>(calls, Effort::default())
    }

    #[test]
    fn a_read_may_see_either_side_of_a_concurrent_write() {
        assert!(matches!(found(&[write(1, 0, 1), write(2, 2, 5), read(1, 3, 4)]), Search::Linearizable(_)));
        assert!(matches!(found(&[write(1, 0, 1), write(2, 2, 5), read(2, 3, 4)]), Search::Linearizable(_)));
    }

    #[test]
    fn a_stale_read_is_impossible_and_the_longest_explanation_stops_before_it() {
        let history = [write(1, 0, 1), write(2, 2, 3), read(1, 4, 5)];
        assert_eq!(found(&history), Search::Impossible(vec![0, 1]));
    }

    #[test]
    fn a_write_that_nobody_answered_may_be_seen_late_or_never() {
        let open = call(RegisterIn::Write(2), None, 2, None);
        assert!(matches!(found(&[write(1, 0, 1), open.clone(), read(1, 3, 4)]), Search::Linearizable(_)));
        assert!(matches!(
            found(&[write(1, 0, 1), open.clone(), read(1, 3, 4), read(2, 5, 6)]),
            Search::Linearizable(_)
        ));
        let flips_back = [write(1, 0, 1), open, read(2, 3, 4), read(1, 5, 6)];
        assert!(matches!(found(&flips_back), Search::Impossible(_)));
    }

    #[test]
    fn once_seen_destroyed_an_unanswered_destroy_has_happened_for_good() {
        let destroy = call(RegisterIn::Destroy, None, 2, None);
        let gone = call(RegisterIn::Read, Some(RegisterOut::Destroyed), 5, Some(6));
        let history = [write(1, 0, 1), destroy, read(1, 3, 4), gone];
        assert!(matches!(found(&history), Search::Linearizable(_)));
        let back = [history.as_slice(), &[read(1, 7, 8)]].concat();
        assert!(matches!(found(&back), Search::Impossible(_)));
    }

    #[test]
    fn too_little_effort_is_unknown_and_never_a_pass() {
        // 24 concurrent unanswered writes that are all mentioned, and a read that nothing explains.
        let mut calls: Vec<_> = (0..24).map(|i| call(RegisterIn::Cas(i, i + 1), None, i as u64, None)).collect();
        calls.push(write(0, 100, 101));
        calls.push(read(999, 102, 103));
        let few = Effort { configurations_max: 20, ..Effort::default() };
        assert_eq!(search::<Register>(&calls, few), Search::GaveUp("the memory limit of the search was reached"));
        let writes: Vec<_> = (0..40).map(|i| call(RegisterIn::Write(i), None, i as u64, None)).collect();
        let calls = [writes, vec![read(999, 102, 103)]].concat();
        let brief = Effort { time_max: Duration::ZERO, ..Effort::default() };
        assert_eq!(search::<Register>(&calls, brief), Search::GaveUp("the time limit of the search was reached"));
    }

    #[test]
    fn a_long_sequential_history_needs_no_deep_stack() {
        let pair = |i: u64| [write(i as i64, 4 * i, 4 * i + 1), read(i as i64, 4 * i + 2, 4 * i + 3)];
        let calls: Vec<_> = (0..3_000).flat_map(pair).collect();
        assert_eq!(found(&calls), Search::Linearizable((0..6_000).collect()));
    }
}
