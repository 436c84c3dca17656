//! Pauses between attempts: longer each time, and never the same for two callers.

use std::time::{Duration, Instant};

/// The pauses of one task that is tried again.
pub(crate) struct Pause {
    next: Duration,
    longest: Duration,
}

impl Pause {
    /// Pauses that begin at `first` and double up to `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { next: first, longest }
    }

    /// How long to pause now: between half and all of the bound, which then doubles.
    fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        pause.mul_f64(rand::random_range(0.5..=1.0))
    }

    /// Pauses. False at once if there would be no time left after it.
    pub async fn before(&mut self, deadline: Instant) -> bool {
        let pause = self.next();
        if Instant::now() + pause >= deadline {
            return false;
        }
        tokio::time::sleep(pause).await;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_stay_above_half_of_it() {
        let mut pause = Pause::new(Duration::from_millis(5), Duration::from_millis(200));
        for bound_ms in [5, 10, 20, 40, 80, 160, 200, 200] {
            let bound = Duration::from_millis(bound_ms);
            let next = pause.next();
            assert!(next >= bound / 2 && next <= bound, "{next:?} of {bound:?}");
        }
    }
}
