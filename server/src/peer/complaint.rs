//! What operators are told of those that are refused at the peer port: something now and then, however often they come.

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Shortest time between two lines.
const EVERY: Duration = Duration::from_secs(10);

/// Counts what is refused, and says it sometimes.
#[derive(Default)]
pub(super) struct Complaint {
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    said: Option<Instant>,
    /// Refused since then without a word.
    unsaid: u64,
}

impl Complaint {
    /// Somebody was refused.
    pub fn about(&self, from: impl Display, why: impl Display) {
        if let Some(unsaid) = self.due(Instant::now()) {
            tracing::warn!(%from, %why, unsaid, "refused at the peer port: it does not belong to this cluster, or not here");
        }
    }

    /// How many went without a word, if it is time for one.
    fn due(&self, now: Instant) -> Option<u64> {
        let mut last = self.last.lock();
        if last.said.is_some_and(|said| now.saturating_duration_since(said) < EVERY) {
            last.unsaid += 1;
            return None;
        }
        last.said = Some(now);
        Some(std::mem::take(&mut last.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_are_refused_there_is_a_line_every_ten_seconds() {
        let (complaint, start) = (Complaint::default(), Instant::now());
        let due = [0, 1, 9_999, 10_000, 10_001, 60_000].map(|ms| complaint.due(start + Duration::from_millis(ms)));
        assert_eq!(due, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
