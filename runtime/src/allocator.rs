//! The process's allocator: mimalloc, except that what is freed is zeroed, and that a thread can have large requests
//! refused for a while.
//!
//! With the system's allocator a write of a cluster took 1.15 times the CPU time (512 callers; reads 1.04 times): many
//! small blocks are freed by other threads than asked for them. V8's own C++ code goes on using the system's. Huge pages are
//! not asked for: an idle node took 340 MB with them and takes 96 without, and writes were as fast.
//!
//! Zeroing keeps bodies, arguments and keys from outliving their use in free memory. It is `explicit_bzero` because a
//! compiler drops stores to memory that is freed next. What V8's own C++ code allocates does not pass here; V8 returns
//! the heap of a dead isolate to the operating system.
//!
//! Large blocks of V8's go back to the kernel when they are freed, and small ones when an isolate that took much has ended: after
//! forty seconds of workers that exceeded their limits a node held 900 MB, of which it used 130.
//!
//! Sizes of blocks are asked of mimalloc, not taken from layouts: after a refused request the `v8` crate frees and
//! grows the serializer's buffer with the size that was refused, which is larger than the buffer is.
//!
//! V8's serializer grows its buffer through Rust's allocator and takes a refusal as an ordinary error, but has no limit
//! of its own, and V8 cannot be interrupted in it. An array that holds one long string a thousand times would take all
//! memory of the machine. So the serializer runs inside [`refuse_above`].

use std::{
    alloc::{GlobalAlloc, Layout},
    cell::Cell,
    ptr, thread,
    time::{Duration, Instant},
};

use mimalloc::MiMalloc;
use parking_lot::Mutex;

/// Blocks from this size on are mapped one by one and go back to the kernel when they are freed. Without a fixed value
/// glibc raises it to 32 MiB as it goes, and keeps what one hostile worker made it take.
const MAPPED_BYTES: i32 = 256 << 10;

/// Heaps that threads share. glibc makes eight for each processor, and each keeps what it once took.
const ARENAS_MAX: i32 = 8;

/// Freed memory is given back to the kernel at most this often: it holds up other threads for some milliseconds.
const GIVE_BACK_PERIOD: Duration = Duration::from_secs(1);

/// Requests up to this size are never looked at.
const SMALL_BYTES: usize = 1 << 20;

struct Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

thread_local! {
    /// Largest request that this thread may make.
    static LARGEST: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Nothing is refused while a panic is under way: its hook may print a stack, which takes much memory, under a lock of the
/// standard library that a refused request would want again to say so.
fn refuses(bytes: usize) -> bool {
    bytes > SMALL_BYTES && !thread::panicking() && LARGEST.try_with(|largest| bytes > largest.get()).unwrap_or(false)
}

// SAFETY: every request is either passed on to mimalloc as it is, or refused with a null pointer; `realloc`
// is what its documentation says it is: a new block, a copy, and the old block freed. What is zeroed is being freed.
unsafe impl GlobalAlloc for Allocator {
    // SAFETY: the caller keeps the promises of `GlobalAlloc`.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if refuses(layout.size()) {
            return ptr::null_mut();
        }
        // SAFETY: mimalloc asks for the same promises.
        unsafe { MiMalloc.alloc(layout) }
    }

    // SAFETY: the caller keeps the promises of `GlobalAlloc`.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if refuses(layout.size()) {
            return ptr::null_mut();
        }
        // SAFETY: as above.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    // SAFETY: the caller keeps the promises of `GlobalAlloc`.
    unsafe fn dealloc(&self, data: *mut u8, layout: Layout) {
        // SAFETY: as above; the block is live until it is freed, and has the size mimalloc says.
        unsafe {
            libc::explicit_bzero(data.cast(), MiMalloc.usable_size(data));
            MiMalloc.dealloc(data, layout);
        }
    }

    // SAFETY: the caller keeps the promises of `GlobalAlloc`.
    unsafe fn realloc(&self, data: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        if refuses(bytes) {
            return ptr::null_mut();
        }
        // SAFETY: as above: `bytes` is not zero and fits a layout of this alignment. The blocks are disjoint, and both hold
        // at least what is copied.
        unsafe {
            let new = MiMalloc.alloc(Layout::from_size_align_unchecked(bytes, layout.align()));
            if !new.is_null() {
                let old_bytes = layout.size().min(MiMalloc.usable_size(data));
                ptr::copy_nonoverlapping(data, new, old_bytes.min(bytes));
                self.dealloc(data, layout);
            }
            new
        }
    }
}

/// Sets the allocator of V8's own code up for many threads and short-lived large blocks. Called once, before threads start.
pub(crate) fn configure() {
    // SAFETY: sets numbers.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES);
        libc::mallopt(libc::M_ARENA_MAX, ARENAS_MAX);
    }
}

/// Gives freed memory back to the kernel, unless that was done just now. For when an isolate that took much has ended.
pub(crate) fn give_back() {
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    let due = {
        let mut last = LAST.lock();
        let due = last.is_none_or(|last| last.elapsed() >= GIVE_BACK_PERIOD);
        if due {
            *last = Some(Instant::now());
        }
        due
    };
    if due {
        // SAFETY: moves no live block.
        unsafe { libc::malloc_trim(0) };
    }
}

/// Restores what was allowed before.
struct Restore(usize);

impl Drop for Restore {
    fn drop(&mut self) {
        LARGEST.set(self.0);
    }
}

/// Runs `work` while this thread's requests of more than `bytes` are refused. Rust code that does not expect a refusal
/// ends the process, so whatever runs inside and is not the serializer goes through [`refuse_nothing`].
pub(crate) fn refuse_above<R>(bytes: usize, work: impl FnOnce() -> R) -> R {
    let _restore = Restore(LARGEST.replace(bytes));
    work()
}

/// Runs `work` as if there were no [`refuse_above`] around it.
pub(crate) fn refuse_nothing<R>(work: impl FnOnce() -> R) -> R {
    refuse_above(usize::MAX, work)
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn can_reserve(bytes: usize) -> bool {
        Vec::<u8>::new().try_reserve_exact(bytes).is_ok()
    }

    #[test]
    fn large_requests_are_refused_only_inside_and_only_on_this_thread() {
        assert!(can_reserve(8 << 20));
        refuse_above(4 << 20, || {
            assert!(!can_reserve(8 << 20));
            assert!(can_reserve(4 << 20));
            assert!(thread::spawn(|| can_reserve(8 << 20)).join().expect("no panic"));
            refuse_nothing(|| assert!(can_reserve(8 << 20)));
            assert!(!can_reserve(8 << 20));
        });
        assert!(can_reserve(8 << 20));
    }

    #[test]
    fn a_block_is_freed_and_grown_by_its_real_size_even_if_its_layout_says_more() {
        // What the `v8` crate does with the serializer's buffer after a refusal. Neighbours of the block must survive.
        let real = Layout::from_size_align(64, 1).expect("a valid layout");
        let wrong = Layout::from_size_align(8 << 20, 1).expect("a valid layout");
        let neighbours: Vec<Vec<u8>> = (0..1000).map(|_| vec![7; 64]).collect();
        for grow in [false, true] {
            // SAFETY: the blocks come from this allocator; the wrong sizes are what is tested.
            unsafe {
                let mut data = ALLOCATOR.alloc(real);
                data.write_bytes(9, 64);
                if grow {
                    data = ALLOCATOR.realloc(data, wrong, 128);
                    assert_eq!(std::slice::from_raw_parts(data, 64), [9; 64]);
                }
                ALLOCATOR.dealloc(data, wrong);
            }
        }
        assert!(neighbours.iter().flatten().all(|byte| *byte == 7));
    }

    #[test]
    fn growing_in_place_is_refused_too_and_the_old_bytes_stay() {
        let mut bytes = vec![7_u8; 2 << 20];
        refuse_above(4 << 20, || assert!(bytes.try_reserve_exact(8 << 20).is_err()));
        assert!(bytes.iter().all(|byte| *byte == 7));
    }

    #[test]
    fn a_block_that_grows_or_shrinks_keeps_its_bytes() {
        let mut bytes = vec![7_u8; 100];
        bytes.reserve_exact(1 << 20);
        bytes.truncate(10);
        bytes.shrink_to_fit();
        assert_eq!(bytes, [7; 10]);
    }

    /// Tells, when it is dropped, whether a large request passes.
    struct Asks<'a>(&'a Cell<Option<bool>>);

    impl Drop for Asks<'_> {
        fn drop(&mut self) {
            self.0.set(Some(can_reserve(8 << 20)));
        }
    }

    #[test]
    fn a_panic_inside_is_printed_and_unwound_without_refusals_and_ends_them() {
        let passed = Cell::new(None);
        refuse_above(4 << 20, || {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                let _asks = Asks(&passed);
                panic!("on purpose");
            }));
            assert!(caught.is_err());
            assert!(!can_reserve(8 << 20), "what was caught inside leaves the refusals on");
        });
        assert_eq!(passed.get(), Some(true));
        let caught = catch_unwind(|| refuse_above(4 << 20, || panic!("on purpose")));
        assert!(caught.is_err());
        assert!(can_reserve(8 << 20));
    }
}
