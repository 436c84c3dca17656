//! The node's clocks: the one place where wall time is read, and time that goes on while the machine sleeps.

use std::{
    ops::Add,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::time::{ClockId, clock_gettime};

/// A moment since the machine was started. Other than that of [`std::time::Instant`] its time goes on while the machine
/// is suspended, so what is to be over by then is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// This one.
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::Boottime);
        // Since the start of the machine: neither is ever negative.
        Self(Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0)))
    }

    /// How long after another one it is; nothing if it is before.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0 + time)
    }
}

/// Milliseconds since 1970; 0 if the machine's clock stands before that.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_in_order_and_no_time_between_them_is_negative() {
        let (first, second) = (Moment::now(), Moment::now());
        assert!(first <= second, "{first:?} {second:?}");
        assert_eq!((first + Duration::from_secs(3)).since(first), Duration::from_secs(3));
        assert_eq!(first.since(first + Duration::from_secs(3)), Duration::ZERO);
    }
}
