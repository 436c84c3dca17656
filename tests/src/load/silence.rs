//! Silences: the longest time in which a counter gave no answer, and what became of the calls that ended meanwhile.

use std::{
    fmt,
    time::{Duration, Instant},
};

/// Attempts remembered of one silence.
const ATTEMPTS_MAX: usize = 64;

/// A call, or an attempt to connect for one.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Number of the node that was asked.
    pub node: usize,
    /// When it was made.
    pub began: Instant,
    /// When it was over.
    pub ended: Instant,
    /// What came of it.
    pub result: String,
}

impl Attempt {
    /// How long it took.
    pub fn lasted(&self) -> Duration {
        self.ended.saturating_duration_since(self.began)
    }
}

/// A time in which a counter gave no answer.
#[derive(Clone, Debug, Default)]
pub struct Silence {
    /// From an answer to the next.
    pub lasted: Duration,
    /// What ended meanwhile; the last one is the answer that ended it. No more than the first ones of very many.
    pub attempts: Vec<Attempt>,
}

impl Silence {
    /// When it began and ended, if there was one.
    pub fn when(&self) -> Option<(Instant, Instant)> {
        let ended = self.attempts.last()?.ended;
        Some((ended - self.lasted, ended))
    }
}

/// Times since the silence began.
impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((start, _)) = self.when() else { return Ok(()) };
        let ms = |at: Instant| match at.checked_duration_since(start) {
            Some(after) => after.as_secs_f64() * 1e3,
            None => -(start - at).as_secs_f64() * 1e3,
        };
        for Attempt { node, began, ended, result } in &self.attempts {
            writeln!(f, "  {:8.1} to {:8.1} ms, n{}: {result}", ms(*began), ms(*ended), node + 1)?;
        }
        Ok(())
    }
}

/// Watches one counter.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    answered: Option<Instant>,
    /// What ended since the last answer.
    attempts: Vec<Attempt>,
    longest: Silence,
}

impl Watch {
    /// An attempt that gave no answer.
    pub fn failed(&mut self, attempt: Attempt) {
        if self.attempts.len() < ATTEMPTS_MAX {
            self.attempts.push(attempt);
        }
    }

    /// A call that was answered. Gives the time since the answer before it.
    pub fn answered(&mut self, attempt: Attempt) -> Duration {
        let lasted = self.answered.map_or(Duration::ZERO, |last| attempt.ended - last);
        self.answered = Some(attempt.ended);
        let mut attempts = std::mem::take(&mut self.attempts);
        if lasted > self.longest.lasted {
            attempts.push(attempt);
            self.longest = Silence { lasted, attempts };
        }
        lasted
    }

    /// Nobody called for a while: that was no silence.
    pub fn rested(&mut self) {
        self.answered = None;
        self.attempts.clear();
    }

    /// The longest silence since this was asked last.
    pub fn take(&mut self) -> Silence {
        std::mem::take(&mut self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_silence_tells_what_ended_in_it() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let attempt = |began, ended, result: &str| Attempt {
            node: 0,
            began: at(began),
            ended: at(ended),
            result: result.to_owned(),
        };
        let mut watch = Watch::default();
        watch.answered(attempt(0, 10, "first"));
        watch.failed(attempt(5, 20, "refused"));
        assert_eq!(watch.answered(attempt(20, 110, "second")), Duration::from_millis(100));
        watch.failed(attempt(110, 120, "of a shorter one"));
        watch.answered(attempt(110, 130, "third"));
        let longest = watch.take();
        assert_eq!(longest.when(), Some((at(10), at(110))));
        assert_eq!(
            longest.to_string(),
            "      -5.0 to     10.0 ms, n1: refused\n      10.0 to    100.0 ms, n1: second\n"
        );
        assert_eq!(watch.take().lasted, Duration::ZERO);
        watch.rested();
        assert_eq!(watch.answered(attempt(900, 930, "after a rest")), Duration::ZERO);
    }
}
