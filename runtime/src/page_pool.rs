//! Pages of V8's memory pool are zeroed before another heap gets them.
//!
//! V8 keeps pages that a heap gave up. An isolate that wants a page and has none of its own there takes one of any other
//! isolate, of a dying one too, with the old content in it; `--no-memory-pool` does nothing in builds of V8 without a
//! sandbox. The linker's `--wrap`, which the build scripts of the crates with programs ask for, leads V8's calls of
//! `MemoryPool::Remove` here. A program that is linked without it does not link: the real function is then unknown.

use std::{ffi::c_void, hint, ptr};

/// V8's `std::optional<PooledPage::Result>`: memory for the page's metadata, and where the page is.
#[repr(C)]
struct Taken {
    metadata: *mut c_void,
    begin: *mut u8,
    bytes: usize,
    /// Whether there is a page; without one, the rest means nothing.
    some: bool,
}

// SAFETY: this is the function's C++ signature, with `this` as the first parameter.
unsafe extern "C" {
    #[link_name = "__real__ZN2v88internal10MemoryPool6RemoveEPNS0_7IsolateE"]
    fn remove(pool: *mut c_void, isolate: *mut c_void) -> Taken;
}

/// In the place of V8's `MemoryPool::Remove`, which alone calls it.
// SAFETY: the name is V8's with the linker's prefix; nothing else has it.
#[unsafe(export_name = "__wrap__ZN2v88internal10MemoryPool6RemoveEPNS0_7IsolateE")]
extern "C" fn remove_zeroed(pool: *mut c_void, isolate: *mut c_void) -> Taken {
    // SAFETY: the arguments are V8's own.
    let taken = unsafe { remove(pool, isolate) };
    if taken.some {
        // SAFETY: the page was given to this call alone, is writable, and holds nothing that is still used: V8 makes
        // the page's header and its metadata anew.
        unsafe { ptr::write_bytes(taken.begin, 0, taken.bytes) };
    }
    taken
}

/// Makes linkers that take from an archive only what they already miss take this module.
pub(crate) fn link() {
    hint::black_box(remove_zeroed as extern "C" fn(_, _) -> _);
}
