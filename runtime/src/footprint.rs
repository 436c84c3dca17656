//! What a turn adds to the process's memory as the kernel sees it: the backstop for WebAssembly memories that grow where
//! nobody looks. V8 does not count them, JavaScript does not see growth by the module itself, and WebAssembly code does
//! not run interrupts.

use std::fs;

/// The process may grow by this many times a turn's memory limit before the turn is held to be the cause.
const LIMITS_MAX: usize = 4;

const PAGE_BYTES: usize = 4096;
/// Pages that one fault brings in at most: the kernel may hand out huge pages.
const PAGES_PER_FAULT: usize = 512;

/// Memory of the process and page faults of one thread at some time.
#[derive(Clone, Copy)]
pub(crate) struct Footprint {
    resident_pages: usize,
    thread_faults: usize,
}

impl Footprint {
    /// As of now; `None` where the kernel does not say.
    pub(crate) fn now(thread: libc::pid_t) -> Option<Self> {
        let resident = fs::read_to_string("/proc/self/statm").ok()?;
        let thread = fs::read_to_string(format!("/proc/self/task/{thread}/stat")).ok()?;
        // The second field is a name in parentheses that may contain spaces; minor faults are the 8th after it.
        let faults = thread.rsplit_once(')')?.1.split_ascii_whitespace().nth(7)?;
        Some(Self { resident_pages: resident.split(' ').nth(1)?.parse().ok()?, thread_faults: faults.parse().ok()? })
    }

    /// Whether the process grew by more than four times `max` bytes since `before`, with enough page faults of the
    /// thread to have caused it.
    pub(crate) fn has_grown(self, before: Self, max: usize) -> bool {
        let grown = self.resident_pages.saturating_sub(before.resident_pages);
        let faults = self.thread_faults.saturating_sub(before.thread_faults);
        grown > max / PAGE_BYTES * LIMITS_MAX && faults.saturating_mul(PAGES_PER_FAULT) > grown / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touching_fresh_memory_grows_the_footprint() {
        // SAFETY: the call has no arguments and cannot fail.
        let thread = unsafe { libc::gettid() };
        let before = Footprint::now(thread).expect("/proc");
        let memory = vec![1u8; 64 << 20];
        let after = Footprint::now(thread).expect("/proc");
        assert!(after.has_grown(before, 4 << 20), "{} bytes", memory.len());
        assert!(!after.has_grown(before, 1 << 30));
    }
}
