//! Processor time of this process: what benchmarks of a busy machine can compare.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// What all its threads have used so far, those that have ended too.
pub fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).expect("a time since its start")
}
