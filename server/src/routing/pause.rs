//! Pauses between attempts: longer each time, and never the same for two callers.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_millis(200);

/// The pauses of one call.
pub(super) struct Pause {
    next: Duration,
}

impl Pause {
    pub fn new() -> Self {
        Self { next: FIRST }
    }

    /// How long to pause now: between half and all of 5, 10, 20, ... 200 ms.
    pub fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(LONGEST);
        pause.mul_f64(rand::random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_stay_above_half_of_it() {
        let mut pause = Pause::new();
        for bound_ms in [5, 10, 20, 40, 80, 160, 200, 200] {
            let bound = Duration::from_millis(bound_ms);
            let next = pause.next();
            assert!(next >= bound / 2 && next <= bound, "{next:?} of {bound:?}");
        }
    }
}
