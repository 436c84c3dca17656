//! Memory of one isolate: array buffers are counted and zeroed on free, and a heap that grows too large ends its isolate.

use std::{
    alloc::{Layout, alloc, alloc_zeroed, dealloc},
    ffi::c_void,
    ptr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{
    error::{InvocationError, Limit},
    kill::Kill,
};

/// How far V8 may go over the limit while it unwinds. It must hold the largest single object (1 GiB), because V8 ends
/// the process when an allocation fails after this was granted. It is granted once, and the isolate then dies.
const UNWIND_BYTES: usize = 3 << 30;

/// Alignment of array buffers.
const ALIGN: usize = 16;

/// Counter of the array buffer bytes of one isolate.
pub(crate) struct Buffers {
    used: AtomicUsize,
    max: usize,
}

impl Buffers {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), max })
    }

    /// Whether `len` more bytes would be allowed.
    pub(crate) fn fits(&self, len: usize) -> bool {
        self.used.load(Ordering::Relaxed).checked_add(len).is_some_and(|total| total <= self.max)
    }

    fn take(&self, len: usize) -> bool {
        let add = |used: usize| used.checked_add(len).filter(|total| *total <= self.max);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }

    fn give_back(&self, len: usize) {
        self.used.fetch_sub(len, Ordering::Relaxed);
    }

    fn allocate(&self, len: usize, zeroed: bool) -> *mut c_void {
        let Ok(layout) = Layout::from_size_align(len.max(1), ALIGN) else { return ptr::null_mut() };
        if !self.take(len) {
            return ptr::null_mut();
        }
        // SAFETY: the layout's size is not zero.
        let data = unsafe { if zeroed { alloc_zeroed(layout) } else { alloc(layout) } };
        if data.is_null() {
            self.give_back(len);
        }
        data.cast()
    }
}

static VTABLE: v8::RustAllocatorVtable<Buffers> =
    v8::RustAllocatorVtable { allocate, allocate_uninitialized, free, drop: release };

// SAFETY: V8 passes the handle that `allocator` gave it.
unsafe extern "C" fn allocate(buffers: &Buffers, len: usize) -> *mut c_void {
    buffers.allocate(len, true)
}

// SAFETY: V8 passes the handle that `allocator` gave it.
unsafe extern "C" fn allocate_uninitialized(buffers: &Buffers, len: usize) -> *mut c_void {
    buffers.allocate(len, false)
}

// SAFETY: V8 passes the handle of `allocator` and a block that it got from there.
unsafe extern "C" fn free(buffers: &Buffers, data: *mut c_void, len: usize) {
    if data.is_null() {
        return;
    }
    // SAFETY: V8 gives back what `allocate` returned for this length, and nobody uses it any more.
    unsafe {
        let data = data.cast::<u8>();
        zeroize::Zeroize::zeroize(std::slice::from_raw_parts_mut(data, len));
        dealloc(data, Layout::from_size_align_unchecked(len.max(1), ALIGN));
    }
    buffers.give_back(len);
}

// SAFETY: V8 calls this once with the handle of `allocator`.
unsafe extern "C" fn release(buffers: *const Buffers) {
    // SAFETY: the pointer came from `Arc::into_raw` in `allocator`, and V8 releases it once.
    drop(unsafe { Arc::from_raw(buffers) });
}

/// V8's array buffer allocator that counts in `buffers`.
pub(crate) fn allocator(buffers: &Arc<Buffers>) -> v8::UniqueRef<v8::Allocator> {
    // SAFETY: the handle stays valid until `release`, and all functions of the table accept it.
    unsafe { v8::new_rust_allocator(Arc::into_raw(buffers.clone()), &VTABLE) }
}

/// An `ArrayBuffer` with a copy of `bytes`, or `None` if the isolate's limit does not allow it.
pub(crate) fn array_buffer<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    bytes: &[u8],
) -> Option<v8::Local<'s, v8::ArrayBuffer>> {
    if !crate::state::get(scope).buffers.fits(bytes.len()) {
        return None;
    }
    let store = v8::ArrayBuffer::new_backing_store(scope, bytes.len()).make_shared();
    for (cell, byte) in store.iter().zip(bytes) {
        cell.set(*byte);
    }
    Some(v8::ArrayBuffer::with_backing_store(scope, &store))
}

/// Makes V8 end the isolate instead of the process when the heap is full. `kill` must live as long as the isolate.
pub(crate) fn guard_heap(isolate: &mut v8::Isolate, kill: &Kill) {
    isolate.add_near_heap_limit_callback(near_heap_limit, ptr::from_ref(kill).cast_mut().cast());
}

// SAFETY: V8 passes the pointer that `guard_heap` gave it.
unsafe extern "C" fn near_heap_limit(kill: *mut c_void, current: usize, initial: usize) -> usize {
    // SAFETY: `guard_heap` was given a `Kill` that outlives the isolate.
    let kill = unsafe { &*kill.cast::<Kill>() };
    kill.kill(InvocationError::Limit(Limit::Memory));
    current.max(initial.saturating_add(UNWIND_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_over_the_limit_are_refused_and_freed_ones_count_no_more() {
        let buffers = Buffers::new(1000);
        let first = buffers.allocate(600, true);
        assert!(!first.is_null());
        assert!(buffers.allocate(600, true).is_null());
        assert!(buffers.allocate(usize::MAX, true).is_null());
        // SAFETY: `first` was allocated with this length.
        unsafe { free(&buffers, first, 600) };
        assert!(buffers.fits(1000));
    }
}
