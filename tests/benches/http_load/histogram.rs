//! Latencies in fixed memory: every power of two of microseconds in 64 steps, so a value is off by at most 1.6 percent.

use std::time::Duration;

const STEP_BITS: u32 = 6;
const STEPS: usize = 1 << STEP_BITS;
/// Up to 2^40 µs, twelve days.
const BUCKETS: usize = STEPS * 36;

/// Counts of latencies.
#[derive(Clone)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max_us: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0, max_us: 0 }
    }
}

/// Values below `STEPS` have a bucket each; above, the leading bits after the first choose one.
fn bucket(us: u64) -> usize {
    let shift = us.checked_ilog2().unwrap_or(0).saturating_sub(STEP_BITS);
    let base = shift as usize * STEPS;
    (base + (us >> shift) as usize).min(BUCKETS - 1)
}

/// The largest value of a bucket.
fn upper(bucket: usize) -> u64 {
    let shift = (bucket / STEPS).saturating_sub(1);
    let step = (bucket - shift * STEPS) as u64;
    ((step + 1) << shift) - 1
}

impl Histogram {
    pub fn record(&mut self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket(us)] += 1;
        self.count += 1;
        self.max_us = self.max_us.max(us);
    }

    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.max_us = self.max_us.max(other.max_us);
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn max_us(&self) -> u64 {
        self.max_us
    }

    /// The latency that this share of requests did not exceed.
    pub fn quantile_us(&self, share: f64) -> u64 {
        let wanted = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (number, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper(number).min(self.max_us);
            }
        }
        self.max_us
    }
}
