//! Jobs of the JavaScript threads in the order in which they run.

use std::collections::VecDeque;

/// Work on some isolate.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// What goes first. Whatever was begun goes before what is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// A turn of an actor, or of a request that has had one.
    Turn,
    /// The end of an isolate: it gives back what the next one needs.
    End,
    /// The first turn of a request, or an isolate that one waits for.
    Start,
    /// Nobody waits for it.
    Spare,
}

/// Kinds of urgency.
const KINDS: usize = 4;

/// How often in a row more urgent jobs may pass one that waits.
const PASSED_MAX: u32 = 8;
/// So many isolates may wait for their end. Each holds its memory until then, and where turns are always waiting isolates
/// would begin faster than they end.
const ENDS_MAX: usize = 64;
/// How often in a row turns may pass the ends when more than that wait.
const ENDS_PASSED_MAX: u32 = 1;

/// Jobs that wait.
#[derive(Default)]
pub(crate) struct JobQueue {
    /// By urgency, in the order they came.
    waiting: [VecDeque<Job>; KINDS],
    /// How often jobs of this urgency were passed since one of them ran.
    passed: [u32; KINDS],
}

impl JobQueue {
    pub(crate) fn push(&mut self, urgency: Urgency, job: Job) {
        self.waiting[urgency as usize].push_back(job);
    }

    /// The next job.
    pub(crate) fn pop(&mut self) -> Option<Job> {
        let waits = |kind: &usize| !self.waiting[*kind].is_empty();
        let overdue = (0..KINDS).filter(waits).find(|kind| self.passed[*kind] >= self.passed_max(*kind));
        let next = overdue.or_else(|| (0..KINDS).find(waits))?;
        for kind in next + 1..KINDS {
            self.passed[kind] += u32::from(!self.waiting[kind].is_empty());
        }
        self.passed[next] = 0;
        self.waiting[next].pop_front()
    }

    fn passed_max(&self, kind: usize) -> u32 {
        match kind == Urgency::End as usize && self.waiting[kind].len() > ENDS_MAX {
            true => ENDS_PASSED_MAX,
            false => PASSED_MAX,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.iter().all(VecDeque::is_empty)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Names of jobs in the order they ran.
    #[derive(Clone, Default)]
    struct Ran(Arc<Mutex<Vec<&'static str>>>);

    impl Ran {
        fn job(&self, name: &'static str) -> Job {
            let ran = self.clone();
            Box::new(move || ran.0.lock().expect("no panic holds it").push(name))
        }

        fn names(&self) -> Vec<&'static str> {
            self.0.lock().expect("no panic holds it").clone()
        }
    }

    fn run_all(jobs: &mut JobQueue) {
        std::iter::from_fn(|| jobs.pop()).for_each(|job| job());
    }

    #[test]
    fn what_was_begun_goes_first_and_equals_in_the_order_they_came() {
        let (mut jobs, ran) = (JobQueue::default(), Ran::default());
        for (urgency, name) in [
            (Urgency::Spare, "spare"),
            (Urgency::Start, "start 1"),
            (Urgency::End, "end"),
            (Urgency::Start, "start 2"),
            (Urgency::Turn, "turn 1"),
            (Urgency::Turn, "turn 2"),
        ] {
            jobs.push(urgency, ran.job(name));
        }
        run_all(&mut jobs);
        assert_eq!(ran.names(), ["turn 1", "turn 2", "end", "start 1", "start 2", "spare"]);
        assert!(jobs.is_empty());
    }

    #[test]
    fn what_is_less_urgent_runs_although_more_urgent_jobs_keep_coming() {
        let (mut jobs, ran) = (JobQueue::default(), Ran::default());
        for (urgency, name) in [(Urgency::End, "end"), (Urgency::Start, "start"), (Urgency::Spare, "spare")] {
            jobs.push(urgency, ran.job(name));
        }
        for _ in 0..KINDS as u32 * (PASSED_MAX + 1) {
            jobs.push(Urgency::Turn, ran.job("turn"));
            jobs.pop().expect("a turn at least")();
        }
        for name in ["end", "start", "spare"] {
            assert_eq!(ran.names().iter().filter(|ran| **ran == name).count(), 1, "{name}");
        }
    }

    #[test]
    fn isolates_end_as_fast_as_they_begin_although_turns_keep_coming() {
        let (mut jobs, ran) = (JobQueue::default(), Ran::default());
        let count = |name| ran.names().iter().filter(|ran| **ran == name).count();
        let mut ended = 0;
        // Each isolate that was made, ahead or not, has three turns and ends later.
        for _ in 0..3_000 {
            jobs.push(Urgency::Turn, ran.job("turn"));
            jobs.push(Urgency::Start, ran.job("made"));
            jobs.push(Urgency::Spare, ran.job("made"));
            let ends = count("made") - ended;
            (0..ends).for_each(|_| jobs.push(Urgency::End, ran.job("end")));
            ended += ends;
            jobs.pop().expect("a turn at least")();
        }
        assert!(count("turn") > 1_000 && count("made") > 300);
        assert!(count("made") - count("end") <= ENDS_MAX + 2, "{} of {} ended", count("end"), count("made"));
    }
}
