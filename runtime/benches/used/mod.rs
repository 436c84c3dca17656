//! What this process has used, as the kernel counts it: what benchmarks of a busy machine can compare. And which of their rows
//! are asked for.

use std::{mem::MaybeUninit, time::Duration};

/// Whether a row is to be measured: arguments choose those whose names contain one, without any all are.
pub fn is_wanted(row: &str) -> bool {
    let mut asked = std::env::args().skip(1).filter(|word| !word.starts_with('-')).peekable();
    asked.peek().is_none() || asked.any(|word| row.contains(&word))
}

/// What the process has used so far.
#[derive(Clone, Copy)]
pub struct Used {
    /// Processor time.
    pub cpu: Duration,
    /// Page faults that needed no disk.
    pub faults: i64,
    /// Voluntary waits of its threads.
    pub switches: i64,
}

impl Used {
    /// As of now.
    pub fn now() -> Self {
        let mut usage = MaybeUninit::<libc::rusage>::uninit();
        // SAFETY: the place is valid, and written when the result is 0.
        let usage = unsafe {
            assert_eq!(libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()), 0);
            usage.assume_init()
        };
        let micros = |time: libc::timeval| time.tv_sec.unsigned_abs() * 1_000_000 + time.tv_usec.unsigned_abs();
        let cpu = Duration::from_micros(micros(usage.ru_utime) + micros(usage.ru_stime));
        Self { cpu, faults: usage.ru_minflt, switches: usage.ru_nvcsw }
    }
}
