//! Address space of isolates: what one gives up is zeroed and stays mapped for the next.
//!
//! V8 maps, protects and unmaps every heap page, code range and table of every isolate. With an isolate per request that
//! was a third of the request: sixty system calls, hundreds of page faults, and all threads queueing for the process's
//! memory map. So V8's calls of `OS::Allocate` and its sisters are led here by the linker's `--wrap`, as those of
//! [`crate::page_pool`] are, and two kinds of mappings are kept when V8 frees them:
//!
//! ```text
//! chunk        a page of V8's heap: 256 KiB, writable       zeros are written over the part that is in memory; the next
//!                                                           isolate uses it as this one did, so that is what it needs
//! reservation  an isolate's code range, its function table: the kernel drops the content, and gives zeros to whoever
//!              address space that is opened in pieces       touches it next
//! page         one of V8's heap of C++ objects: 128 KiB     zeros are written over it, see `cage`
//! ```
//!
//! A chunk that was protected or cut meanwhile is not kept. Whoever gets a kept mapping reads zeros, as from the kernel.
//! Pieces of a reservation keep the protection they had, so that V8's request for the same one costs nothing; what V8
//! believes to be inaccessible there reads as zeros until then.

use std::{cell::Cell, ffi::c_void, hint, ptr};

use parking_lot::Mutex;

mod cage;
mod protection;
mod store;

use store::{CHUNK_BYTES, Kind, LATER, Store};

/// Bytes of a page of the kernel.
const PAGE_BYTES: usize = 4096;

/// V8's `OS::MemoryPermission`.
type Access = u32;
const NO_ACCESS: Access = 0;
const READ_WRITE: Access = 2;
const NO_ACCESS_JIT_LATER: Access = 5;

/// V8's `std::optional<SharedMemoryHandle>`: a file descriptor below, whether there is one above.
type SharedHandle = u64;

/// V8's `std::optional<AddressSpaceReservation>`.
#[repr(C)]
struct Reserved {
    base: *mut c_void,
    bytes: usize,
    some: bool,
}

// SAFETY: these are the C++ signatures of V8's functions.
unsafe extern "C" {
    #[link_name = "__real__ZN2v84base2OS8AllocateEPvmmNS1_16MemoryPermissionENSt4__Cr8optionalINS_18SharedMemoryHandleEEE"]
    fn real_allocate(
        hint: *mut c_void,
        bytes: usize,
        alignment: usize,
        access: Access,
        handle: SharedHandle,
    ) -> *mut c_void;
    #[link_name = "__real__ZN2v84base2OS4FreeEPvm"]
    fn real_free(address: *mut c_void, bytes: usize);
    #[link_name = "__real__ZN2v84base2OS7ReleaseEPvm"]
    fn real_release(address: *mut c_void, bytes: usize);
    #[link_name = "__real__ZN2v84base2OS14SetPermissionsEPvmNS1_16MemoryPermissionE"]
    fn real_set_permissions(address: *mut c_void, bytes: usize, access: Access) -> bool;
    #[link_name = "__real__ZN2v84base2OS13DecommitPagesEPvm"]
    fn real_decommit(address: *mut c_void, bytes: usize) -> bool;
    #[link_name = "__real__ZN2v84base19MemoryProtectionKey20SetPermissionsAndKeyENS0_13AddressRegionENS_15PagePermissionsEi"]
    fn real_set_key(address: usize, bytes: usize, permissions: i32, key: i32) -> bool;
}

/// The lock is held for lookups only, never while memory is touched or the kernel is asked.
static STORE: Mutex<Store> = Mutex::new(Store::new());

thread_local! {
    /// How many chunks the isolate that is being made on this thread has taken.
    static TAKEN: Cell<usize> = const { Cell::new(LATER) };
}

/// Makes an isolate, whose chunks are then used as those of each other isolate.
pub(crate) fn making<R>(make: impl FnOnce() -> R) -> R {
    TAKEN.set(0);
    let made = make();
    TAKEN.set(LATER);
    made
}

/// The use of the next chunk.
fn next_use() -> usize {
    TAKEN.replace(TAKEN.get().saturating_add(1))
}

/// In the place of V8's `OS::Allocate`.
// SAFETY: the name is V8's with the linker's prefix; nothing else has it.
#[unsafe(export_name = "__wrap__ZN2v84base2OS8AllocateEPvmmNS1_16MemoryPermissionENSt4__Cr8optionalINS_18SharedMemoryHandleEEE")]
extern "C" fn allocate(
    hint: *mut c_void,
    bytes: usize,
    alignment: usize,
    access: Access,
    handle: SharedHandle,
) -> *mut c_void {
    let has_handle = (handle >> 32) & 0xff != 0;
    let kind = if has_handle { None } else { Kind::of(bytes, alignment, access) };
    let used_as = if kind == Some(Kind::Chunk) { next_use() } else { LATER };
    if let Some(kind) = kind
        && let Some(base) = STORE.lock().take(kind, used_as)
    {
        return ptr::with_exposed_provenance_mut(base);
    }
    // SAFETY: the arguments are V8's own.
    let data = unsafe { real_allocate(hint, bytes, alignment, access, handle) };
    if !data.is_null() {
        let (base, mut store) = (data.expose_provenance(), STORE.lock());
        store.cage.reserved(base, bytes, alignment);
        if let Some(kind) = kind {
            store.add(base, kind, used_as);
        }
    }
    data
}

/// In the place of V8's `OS::Free`.
// SAFETY: the name is V8's with the linker's prefix; nothing else has it.
#[unsafe(export_name = "__wrap__ZN2v84base2OS4FreeEPvm")]
extern "C" fn free(address: *mut c_void, bytes: usize) {
    let base = address.expose_provenance();
    let freed = {
        let mut store = STORE.lock();
        store.cage.freed(base, bytes);
        store.remove(base, bytes)
    };
    let unwanted = match freed {
        Some(freed) if clear(address.cast(), freed.kind()) => STORE.lock().keep(base, freed),
        _ => Some((base, bytes)),
    };
    if let Some((base, bytes)) = unwanted {
        // SAFETY: V8 gave the mapping up, now or when it was kept, and nobody else has it.
        unsafe { real_free(ptr::with_exposed_provenance_mut(base), bytes) }
    }
}

/// Makes a mapping that V8 gave up read as zeros; `false` if that fails.
fn clear(base: *mut u8, kind: Kind) -> bool {
    match kind {
        Kind::Chunk => zero_chunk(base, CHUNK_BYTES),
        // SAFETY: V8 gave the reservation up, and nobody else has it.
        Kind::Reservation { bytes, .. } => unsafe { libc::madvise(base.cast(), bytes, libc::MADV_DONTNEED) == 0 },
    }
}

/// Writes zeros over the pages of a chunk that are in memory, and has the kernel drop the others: one that was swapped out
/// has content too. `false` if the kernel does not do its part.
fn zero_chunk(chunk: *mut u8, bytes: usize) -> bool {
    let mut resident = [0u8; CHUNK_BYTES / PAGE_BYTES];
    assert!(bytes <= CHUNK_BYTES);
    // SAFETY: the chunk is a mapping of this size, and the vector has a byte for each page.
    if unsafe { libc::mincore(chunk.cast(), bytes, resident.as_mut_ptr()) } != 0 {
        return false;
    }
    let mut page = 0;
    while page < resident.len() {
        let is_resident = resident[page] & 1 == 1;
        let run = resident[page..].iter().take_while(|byte| (**byte & 1 == 1) == is_resident).count();
        // SAFETY: V8 gave the chunk up, nobody else has it, and it is writable.
        let done = unsafe {
            let begin = chunk.add(page * PAGE_BYTES);
            if is_resident {
                ptr::write_bytes(begin, 0, run * PAGE_BYTES);
                true
            } else {
                libc::madvise(begin.cast(), run * PAGE_BYTES, libc::MADV_DONTNEED) == 0
            }
        };
        if !done {
            return false;
        }
        page += run;
    }
    true
}

/// In the place of V8's `OS::Release`, which frees the end of a mapping.
// SAFETY: the name is V8's with the linker's prefix; nothing else has it.
#[unsafe(export_name = "__wrap__ZN2v84base2OS7ReleaseEPvm")]
extern "C" fn release(address: *mut c_void, bytes: usize) {
    let mut store = STORE.lock();
    store.cage.freed(address.expose_provenance(), bytes);
    store.forget(address.expose_provenance());
    drop(store);
    // SAFETY: the arguments are V8's own.
    unsafe { real_release(address, bytes) }
}

/// In the place of V8's `OS::SetPermissions`.
// SAFETY: the name is V8's with the linker's prefix; nothing else has it.
#[unsafe(export_name = "__wrap__ZN2v84base2OS14SetPermissionsEPvmNS1_16MemoryPermissionE")]
extern "C" fn set_permissions(address: *mut c_void, bytes: usize, access: Access) -> bool {
    let begin = address.expose_provenance();
    let mut store = STORE.lock();
    if store.cage.take(begin, bytes, access == READ_WRITE) || store.has_access(begin, bytes, access) {
        return true;
    }
    drop(store);
    // SAFETY: the arguments are V8's own.
    let done = unsafe { real_set_permissions(address, bytes, access) };
    let known = done && !matches!(access, NO_ACCESS | NO_ACCESS_JIT_LATER);
    let mut store = STORE.lock();
    store.cage.opened(begin, bytes, done && access == READ_WRITE);
    store.access_changed(begin, bytes, known.then_some(access));
    done
}

/// In the place of V8's `OS::DecommitPages`. V8 asks again for each isolate that the holes in its heap of constants be
/// inaccessible; one time is enough. Pages of the [`cage`] are kept.
// SAFETY: the name is V8's with the linker's prefix; nothing else has it.
#[unsafe(export_name = "__wrap__ZN2v84base2OS13DecommitPagesEPvm")]
extern "C" fn decommit(address: *mut c_void, bytes: usize) -> bool {
    let begin = address.expose_provenance();
    let (is_hole, is_page) = {
        let mut store = STORE.lock();
        (store.is_hole(begin, bytes), store.cage.give_up(begin, bytes))
    };
    if is_page {
        // SAFETY: V8 made the page writable and gave it up, and nobody else has it.
        unsafe { ptr::write_bytes(address.cast::<u8>(), 0, bytes) };
        STORE.lock().cage.keep(begin);
    }
    if is_hole || is_page {
        return true;
    }
    // SAFETY: the arguments are V8's own.
    let done = unsafe { real_decommit(address, bytes) };
    STORE.lock().access_changed(begin, bytes, None);
    if done {
        STORE.lock().add_hole(begin, bytes);
    }
    done
}

/// In the place of V8's `MemoryProtectionKey::SetPermissionsAndKey`: what has a key is not kept.
// SAFETY: the name is V8's with the linker's prefix; nothing else has it.
#[unsafe(export_name = "__wrap__ZN2v84base19MemoryProtectionKey20SetPermissionsAndKeyENS0_13AddressRegionENS_15PagePermissionsEi")]
extern "C" fn set_key(address: usize, bytes: usize, permissions: i32, key: i32) -> bool {
    STORE.lock().forget(address);
    // SAFETY: the arguments are V8's own.
    unsafe { real_set_key(address, bytes, permissions, key) }
}

/// In the place of V8's `OS::CreateAddressSpaceReservation`, which calls `OS::Allocate` where the linker does not see it.
// SAFETY: the name is V8's with the linker's prefix; nothing else has it.
#[unsafe(export_name = "__wrap__ZN2v84base2OS29CreateAddressSpaceReservationEPvmmNS1_16MemoryPermissionENSt4__Cr8optionalINS_18SharedMemoryHandleEEE")]
extern "C" fn reserve(
    hint: *mut c_void,
    bytes: usize,
    alignment: usize,
    _access_max: Access,
    handle: SharedHandle,
) -> Reserved {
    let base = allocate(hint, bytes, alignment, NO_ACCESS, handle);
    Reserved { base, bytes, some: !base.is_null() }
}

/// In the place of V8's `OS::FreeAddressSpaceReservation`, whose argument is the two words of a reservation.
// SAFETY: the name is V8's with the linker's prefix; nothing else has it.
#[unsafe(export_name = "__wrap__ZN2v84base2OS27FreeAddressSpaceReservationENS0_23AddressSpaceReservationE")]
extern "C" fn unreserve(base: *mut c_void, bytes: usize) {
    free(base, bytes);
}

/// In the place of V8's `AddressSpaceReservation::Allocate`: opens a piece.
// SAFETY: the name is V8's with the linker's prefix; nothing else has it.
#[unsafe(export_name = "__wrap__ZN2v84base23AddressSpaceReservation8AllocateEPvmNS0_2OS16MemoryPermissionE")]
extern "C" fn allocate_piece(_: *mut c_void, address: *mut c_void, bytes: usize, access: Access) -> bool {
    access == NO_ACCESS || set_permissions(address, bytes, access)
}

/// In the place of V8's `AddressSpaceReservation::SetPermissions`.
// SAFETY: the name is V8's with the linker's prefix; nothing else has it.
#[unsafe(export_name = "__wrap__ZN2v84base23AddressSpaceReservation14SetPermissionsEPvmNS0_2OS16MemoryPermissionE")]
extern "C" fn protect_piece(_: *mut c_void, address: *mut c_void, bytes: usize, access: Access) -> bool {
    set_permissions(address, bytes, access)
}

/// In the place of V8's `AddressSpaceReservation::Free`. A piece of what may be kept is emptied and stays open, so that
/// the next isolate's table finds it as it needs it.
// SAFETY: the name is V8's with the linker's prefix; nothing else has it.
#[unsafe(export_name = "__wrap__ZN2v84base23AddressSpaceReservation4FreeEPvm")]
extern "C" fn free_piece(_: *mut c_void, address: *mut c_void, bytes: usize) -> bool {
    if STORE.lock().is_in_reservation(address.expose_provenance(), bytes) {
        // SAFETY: V8 gave the piece up, and nobody else has it.
        return unsafe { libc::madvise(address, bytes, libc::MADV_DONTNEED) } == 0;
    }
    decommit(address, bytes)
}

/// Gives the kept chunks back to the kernel. For when an isolate that took much has ended.
pub(crate) fn give_back() {
    let chunks = STORE.lock().take_free_chunks();
    for base in chunks {
        // SAFETY: a kept chunk is nobody's.
        unsafe { real_free(ptr::with_exposed_provenance_mut(base), CHUNK_BYTES) }
    }
}

/// Makes linkers that take from an archive only what they already miss take this module.
pub(crate) fn link() {
    hint::black_box(free as extern "C" fn(_, _));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_at(data: *mut c_void, bytes: usize) -> &'static [u8] {
        // SAFETY: callers pass memory of this size that is readable and theirs.
        unsafe { std::slice::from_raw_parts(data.cast(), bytes) }
    }

    #[test]
    fn a_chunk_holds_zeros_whoever_had_it_before() {
        for _ in 0..20 {
            let chunk = allocate(ptr::null_mut(), CHUNK_BYTES, CHUNK_BYTES, READ_WRITE, 0);
            assert!(bytes_at(chunk, CHUNK_BYTES).iter().all(|byte| *byte == 0));
            // SAFETY: the chunk is this test's, and writable.
            unsafe { ptr::write_bytes(chunk.cast::<u8>().add(5000), 7, 100_000) };
            free(chunk, CHUNK_BYTES);
        }
    }

    #[test]
    fn a_chunk_of_which_few_pages_are_in_memory_is_zeroed_whole() {
        let chunk = allocate(ptr::null_mut(), CHUNK_BYTES, CHUNK_BYTES, READ_WRITE, 0);
        // SAFETY: the chunk is this test's, and writable.
        unsafe {
            assert_eq!(libc::madvise(chunk, CHUNK_BYTES, libc::MADV_DONTNEED), 0);
            for offset in [0, 3 * PAGE_BYTES - 1, CHUNK_BYTES - 1] {
                chunk.cast::<u8>().add(offset).write(9);
            }
        }
        assert!(zero_chunk(chunk.cast(), CHUNK_BYTES));
        assert!(bytes_at(chunk, CHUNK_BYTES).iter().all(|byte| *byte == 0));
        free(chunk, CHUNK_BYTES);
    }

    #[test]
    fn a_reservation_holds_zeros_whoever_had_it_before() {
        // A size and an alignment that V8 does not ask for.
        let (bytes, alignment) = (17 << 20, 32 << 10);
        let reserve = || allocate(ptr::null_mut(), bytes, alignment, NO_ACCESS, 0);
        let first = reserve();
        assert!(set_permissions(first, 64 << 10, READ_WRITE));
        // SAFETY: the piece is this test's, and writable now.
        unsafe { ptr::write_bytes(first.cast::<u8>(), 7, 64 << 10) };
        free(first, bytes);
        let second = reserve();
        assert!(set_permissions(second, 64 << 10, READ_WRITE));
        assert!(bytes_at(second, 64 << 10).iter().all(|byte| *byte == 0));
        assert!(set_permissions(second, 4 << 10, NO_ACCESS));
        assert!(set_permissions(second, 4 << 10, READ_WRITE), "what was closed is opened again");
        assert!(bytes_at(second, 4 << 10).iter().all(|byte| *byte == 0));
        release(second.wrapping_byte_add(bytes / 2), bytes / 2);
        free(second, bytes / 2);
        let third = reserve();
        assert!(!third.is_null());
        free(third, bytes);
    }
}
