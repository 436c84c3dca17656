//! Memory of one isolate: array buffers are counted and zeroed on free, and a heap that grows too large ends its isolate.

use std::{
    alloc::{Layout, alloc, alloc_zeroed, dealloc},
    cell::RefCell,
    ffi::{c_char, c_void},
    ptr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{
    error::{InvocationError, Limit},
    js,
    kill::Kill,
    state, threads,
};

/// How far V8 may go over the limit while it unwinds. It must hold the largest single object (1 GiB), because V8 ends
/// the process when an allocation fails after this was granted. It is granted once, and the isolate then dies.
const UNWIND_BYTES: usize = 3 << 30;

/// Shortest time between two collections that the memory check asks for.
const COLLECTION_PERIOD_MIN: Duration = Duration::from_millis(500);

/// Threads that may be parked because V8 ran out of memory. One more ends the process: something is wrong beyond one
/// worker then.
const PARKED_THREADS_MAX: usize = 16;

/// Alignment of small array buffers.
const ALIGN: usize = 16;

/// Array buffers of this size get pages of their own: the kernel zeroes those before anybody sees them again.
const PAGES_MIN: usize = 1 << 20;

/// Counter of the array buffer bytes of one isolate.
pub(crate) struct Buffers {
    used: AtomicUsize,
    max: usize,
    /// Whether the last allocation was refused.
    refused: AtomicBool,
}

impl Buffers {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), max, refused: AtomicBool::new(false) })
    }

    /// Whether `len` more bytes would be allowed.
    pub(crate) fn fits(&self, len: usize) -> bool {
        self.used.load(Ordering::Relaxed).checked_add(len).is_some_and(|total| total <= self.max)
    }

    fn take(&self, len: usize) -> bool {
        let add = |used: usize| used.checked_add(len).filter(|total| *total <= self.max);
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok();
        self.refused.store(!taken, Ordering::Relaxed);
        taken
    }

    fn give_back(&self, len: usize) {
        self.used.fetch_sub(len, Ordering::Relaxed);
    }

    fn allocate(&self, len: usize, zeroed: bool) -> *mut c_void {
        if !self.take(len) {
            return ptr::null_mut();
        }
        let data = if len >= PAGES_MIN { allocate_pages(len) } else { allocate_small(len, zeroed) };
        if data.is_null() {
            self.give_back(len);
        }
        data
    }
}

fn allocate_small(len: usize, zeroed: bool) -> *mut c_void {
    let Ok(layout) = Layout::from_size_align(len.max(1), ALIGN) else { return ptr::null_mut() };
    // SAFETY: the layout's size is not zero.
    let data = unsafe { if zeroed { alloc_zeroed(layout) } else { alloc(layout) } };
    data.cast()
}

fn allocate_pages(len: usize) -> *mut c_void {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: an anonymous mapping at an address of the kernel's choice touches no memory of ours.
    let data = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, -1, 0) };
    if data == libc::MAP_FAILED { ptr::null_mut() } else { data }
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
        if len >= PAGES_MIN {
            libc::munmap(data, len);
        } else {
            libc::explicit_bzero(data, len);
            dealloc(data.cast(), Layout::from_size_align_unchecked(len.max(1), ALIGN));
        }
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

/// Bytes on their way out of an isolate, counted until whoever takes them has dropped them.
struct Outgoing {
    bytes: Vec<u8>,
    count: Arc<Buffers>,
}

impl AsRef<[u8]> for Outgoing {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.count.give_back(self.bytes.len());
    }
}

/// A copy of an `ArrayBuffer` or a view that may leave the isolate. The copies that are under way at a time have a limit
/// of the same size as the isolate's own memory; the error says so.
pub(crate) fn leaving(scope: &mut v8::PinScope, value: v8::Local<v8::Value>) -> Result<Bytes, String> {
    let Some(bytes) = js::copy_bytes(value) else { return Err("bytes are needed here".into()) };
    let count = state::get(scope).outgoing.clone();
    if !count.take(bytes.len()) {
        return Err(format!("more than {} MiB are on their way out of this worker", count.max >> 20));
    }
    Ok(Bytes::from_owner(Outgoing { bytes, count }))
}

/// An `ArrayBuffer` with a copy of `bytes`, or `None` if the isolate's limit does not allow it.
pub(crate) fn array_buffer<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    bytes: &[u8],
) -> Option<v8::Local<'s, v8::ArrayBuffer>> {
    if !state::get(scope).buffers.fits(bytes.len()) {
        return None;
    }
    let store = v8::ArrayBuffer::new_backing_store(scope, bytes.len()).make_shared();
    for (cell, byte) in store.iter().zip(bytes) {
        cell.set(*byte);
    }
    Some(v8::ArrayBuffer::with_backing_store(scope, &store))
}

/// What the near-heap-limit callback needs. It must live as long as the isolate.
pub(crate) struct HeapGuard {
    kill: Kill,
    buffers: Arc<Buffers>,
    heap_max: usize,
    /// Whether the isolate has had WebAssembly memories.
    pub(crate) wasm_used: AtomicBool,
    /// Whether V8's limit was raised although the heap is not full; the next check lowers it again.
    raised: AtomicBool,
}

impl HeapGuard {
    /// For an isolate with that kill handle, buffers and heap limit.
    pub(crate) fn new(kill: Kill, buffers: Arc<Buffers>, heap_max: usize) -> Self {
        Self { kill, buffers, heap_max, wasm_used: AtomicBool::new(false), raised: AtomicBool::new(false) }
    }

    /// Handle to end the isolate.
    pub(crate) fn kill(&self) -> &Kill {
        &self.kill
    }

    /// The memory limit.
    pub(crate) fn max(&self) -> usize {
        self.heap_max
    }

    /// Makes V8 end the isolate instead of the process when the heap is full.
    pub(crate) fn install(&self, isolate: &mut v8::Isolate) {
        isolate.add_near_heap_limit_callback(near_heap_limit, ptr::from_ref(self).cast_mut().cast());
        isolate.set_oom_error_handler(out_of_memory);
    }

    fn lower_again(&self, isolate: &mut v8::Isolate) {
        if self.raised.swap(false, Ordering::Relaxed) {
            isolate.remove_near_heap_limit_callback(near_heap_limit, self.heap_max);
            isolate.add_near_heap_limit_callback(near_heap_limit, ptr::from_ref(self).cast_mut().cast());
        }
    }
}

/// V8 calls this when the heap is full, and also as the last resort before it gives up on an array buffer. The latter
/// must only become a `RangeError`, so then the limit is raised for a moment without ending anything.
// SAFETY: V8 passes the pointer that `install` gave it.
unsafe extern "C" fn near_heap_limit(guard: *mut c_void, current: usize, initial: usize) -> usize {
    // SAFETY: the guard outlives the isolate.
    let guard = unsafe { &*guard.cast::<HeapGuard>() };
    let raised = initial.saturating_add(UNWIND_BYTES);
    if guard.buffers.refused.load(Ordering::Relaxed) {
        guard.raised.store(true, Ordering::Relaxed);
        return current.max(raised);
    }
    guard.kill.kill(InvocationError::Limit(Limit::Memory));
    current.max(initial).saturating_add(UNWIND_BYTES)
}

/// The watchdog's interrupt: ends the isolate when heap, array buffers and WebAssembly memories together exceed the
/// limit even after garbage was collected.
// SAFETY: V8 calls this on the isolate's thread with the isolate that is entered.
pub(crate) unsafe extern "C" fn check(isolate: v8::UnsafeRawIsolatePtr, _: *mut c_void) {
    // SAFETY: as above.
    let mut isolate = unsafe { v8::Isolate::from_raw_isolate_ptr(isolate) };
    let (guard, max) = {
        let state = state::get(&mut isolate);
        (state.heap_guard.clone(), state.buffers.max)
    };
    guard.kill.interrupted();
    if guard.kill.reason().is_some() {
        return;
    }
    guard.buffers.refused.store(false, Ordering::Relaxed);
    guard.lower_again(&mut isolate);
    if total(&mut isolate) <= max {
        return;
    }
    let now = Instant::now();
    let state = state::get(&mut isolate);
    if state.last_collection.is_some_and(|last| now.duration_since(last) < COLLECTION_PERIOD_MIN) {
        return;
    }
    state.last_collection = Some(now);
    isolate.memory_pressure_notification(v8::MemoryPressureLevel::Critical);
    if total(&mut isolate) > max {
        guard.kill.kill(InvocationError::Limit(Limit::Memory));
    }
}

/// Bytes of heap, array buffers and WebAssembly memories.
fn total(isolate: &mut v8::Isolate) -> usize {
    let statistics = isolate.get_heap_statistics();
    let wasm = state::get(isolate).wasm_bytes;
    statistics.used_heap_size().saturating_add(statistics.external_memory()).saturating_add(wasm)
}

thread_local! {
    /// Guard of the isolate whose turn runs on this thread.
    static CURRENT: RefCell<Option<Arc<HeapGuard>>> = const { RefCell::new(None) };
}

/// Says whose turn runs on this thread from now on.
pub(crate) fn set_current(guard: Option<Arc<HeapGuard>>) {
    CURRENT.with(|current| *current.borrow_mut() = guard);
}

/// V8 calls this when an allocation failed for good, and would end the process if it returned. The last line of
/// defence: the isolate is killed, so that its caller gets an answer, the thread is parked for ever and the isolate
/// leaks, so that everybody else goes on.
// SAFETY: V8 calls this on the isolate's thread.
unsafe extern "C" fn out_of_memory(_: *const c_char, _: &v8::OomDetails) {
    static PARKED: AtomicUsize = AtomicUsize::new(0);
    let parked = PARKED.fetch_add(1, Ordering::Relaxed);
    tracing::error!(parked, "V8 ran out of memory; the thread of its isolate is parked");
    if parked >= PARKED_THREADS_MAX {
        std::process::abort();
    }
    if let Some(guard) = CURRENT.with(|current| current.borrow().clone()) {
        guard.kill.kill(InvocationError::Limit(Limit::Memory));
    }
    if let Some(seated) = threads::seated() {
        seated.lose();
    }
    loop {
        thread::park();
    }
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

    #[tokio::test]
    async fn an_isolate_v8_gives_up_on_is_killed_and_its_thread_parked() {
        let (pool, tasks) = (threads::Threads::new(1), crate::tasks::Tasks::new());
        crate::platform::initialize();
        let maker = pool.clone();
        let make = move || crate::isolate::Isolate::new(16, maker, tasks);
        let isolate = pool.run(threads::Urgency::Start, make).await.expect("an isolate");
        let guard = isolate.guard();
        thread::spawn(move || {
            set_current(Some(guard));
            let details = v8::OomDetails { is_heap_oom: true, detail: ptr::null() };
            // SAFETY: the callback looks at none of its arguments.
            unsafe { out_of_memory(ptr::null(), &details) };
        });
        let killed = tokio::time::timeout(Duration::from_secs(20), async { isolate.kill().killed().await }).await;
        assert_eq!(killed, Ok(InvocationError::Limit(Limit::Memory)));
    }
}
