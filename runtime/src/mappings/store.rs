//! Which mappings V8 has, as far as they may be kept when it frees them, and which are kept.

use std::collections::{BTreeMap, VecDeque};

use super::{Access, NO_ACCESS, NO_ACCESS_JIT_LATER, READ_WRITE, cage::Cage, protection::Protections};

/// Bytes and alignment of a page of V8's heap.
pub(super) const CHUNK_BYTES: usize = 256 << 10;
/// Free chunks that are kept, 64 MiB of them; what is freed beyond goes back to the kernel.
const CHUNKS_MAX: usize = 256;
/// Uses of chunks that are told apart: the first, second and so on that an isolate took while it was made, and all others.
const USES: usize = 8;
/// The use of a chunk that an isolate takes later.
pub(super) const LATER: usize = USES - 1;
/// Sizes of reservations that are kept. V8's cage of C++ objects and WebAssembly's memories are larger.
const RESERVATION_BYTES_MIN: usize = 16 << 20;
const RESERVATION_BYTES_MAX: usize = 1 << 30;
/// Free reservations that are kept. They take address space only. The oldest goes first.
const RESERVATIONS_MAX: usize = 64;

/// A mapping that may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A page of V8's heap.
    Chunk,
    /// Address space that is opened in pieces.
    Reservation { bytes: usize, alignment: usize },
}

impl Kind {
    /// What V8 asks for, if it may be kept.
    pub(super) fn of(bytes: usize, alignment: usize, access: Access) -> Option<Self> {
        if bytes == CHUNK_BYTES && alignment == CHUNK_BYTES && access == READ_WRITE {
            return Some(Self::Chunk);
        }
        let reserves = matches!(access, NO_ACCESS | NO_ACCESS_JIT_LATER)
            && (RESERVATION_BYTES_MIN..=RESERVATION_BYTES_MAX).contains(&bytes);
        reserves.then_some(Self::Reservation { bytes, alignment })
    }

    fn bytes(self) -> usize {
        match self {
            Self::Chunk => CHUNK_BYTES,
            Self::Reservation { bytes, .. } => bytes,
        }
    }
}

/// What is known of a mapping.
pub(super) struct Mapping {
    kind: Kind,
    /// Of a reservation: which pieces are open. Of a chunk: nothing, because one that was changed is not kept.
    protections: Protections,
    /// Of a chunk: whether it is not as it was when it was mapped.
    changed: bool,
    /// Of a chunk: parts that were decommitted, by where they begin and how long they are.
    holes: Vec<(usize, usize)>,
    /// Of a chunk: what for it was taken. An isolate fills its chunks to different degrees, but each isolate does so alike:
    /// where the next one has a chunk for the same use, no other part of it is ever in memory, or zeroed.
    used_as: usize,
}

impl Mapping {
    fn new(kind: Kind, used_as: usize) -> Self {
        Self { kind, protections: Protections::default(), changed: false, holes: Vec::new(), used_as }
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }
}

/// V8's mappings by address, and those that are kept.
pub(super) struct Store {
    /// Pages of C++ objects.
    pub(super) cage: Cage,
    used: BTreeMap<usize, Mapping>,
    /// By use.
    free_chunks: [Vec<usize>; USES],
    free_reservations: VecDeque<(usize, Mapping)>,
}

impl Store {
    pub(super) const fn new() -> Self {
        let free_chunks = [const { Vec::new() }; USES];
        Self { cage: Cage::new(), used: BTreeMap::new(), free_chunks, free_reservations: VecDeque::new() }
    }

    fn free_chunk_count(&self) -> usize {
        self.free_chunks.iter().map(Vec::len).sum()
    }

    /// Takes a kept mapping; a chunk that is used as `used_as`.
    pub(super) fn take(&mut self, kind: Kind, used_as: usize) -> Option<usize> {
        let used_as = used_as.min(LATER);
        let (base, mapping) = match kind {
            Kind::Chunk => {
                let base = self.free_chunks[used_as].pop().or_else(|| self.free_chunks[LATER].pop())?;
                (base, Mapping::new(kind, used_as))
            }
            Kind::Reservation { .. } => {
                let place = self.free_reservations.iter().rposition(|(_, free)| free.kind == kind)?;
                self.free_reservations.remove(place)?
            }
        };
        self.used.insert(base, mapping);
        Some(base)
    }

    /// A new mapping.
    pub(super) fn add(&mut self, base: usize, kind: Kind, used_as: usize) {
        self.used.insert(base, Mapping::new(kind, used_as.min(LATER)));
    }

    /// V8 frees this: the mapping, if it may be kept. Of a mapping that is freed in part nothing is known any longer.
    pub(super) fn remove(&mut self, base: usize, bytes: usize) -> Option<Mapping> {
        let whole = self.used.get(&base).is_some_and(|mapping| mapping.kind.bytes() == bytes);
        if !whole {
            self.forget(base);
            return None;
        }
        let mapping = self.used.remove(&base).filter(|mapping| !mapping.changed)?;
        (mapping.kind != Kind::Chunk || self.free_chunk_count() < CHUNKS_MAX).then_some(mapping)
    }

    /// Keeps a mapping that reads as zeros; returns base and size of what is then too much.
    pub(super) fn keep(&mut self, base: usize, mapping: Mapping) -> Option<(usize, usize)> {
        match mapping.kind {
            Kind::Chunk if self.free_chunk_count() >= CHUNKS_MAX => Some((base, CHUNK_BYTES)),
            Kind::Chunk => {
                self.free_chunks[mapping.used_as].push(base);
                None
            }
            Kind::Reservation { .. } => {
                self.free_reservations.push_back((base, mapping));
                let over = self.free_reservations.len() > RESERVATIONS_MAX;
                let oldest = over.then(|| self.free_reservations.pop_front()).flatten();
                oldest.map(|(base, mapping)| (base, mapping.kind.bytes()))
            }
        }
    }

    /// All chunks that are kept, which are the caller's from now on.
    pub(super) fn take_free_chunks(&mut self) -> Vec<usize> {
        self.free_chunks.iter_mut().flat_map(std::mem::take).collect()
    }

    /// Nothing is known any longer of the mapping that holds this address.
    pub(super) fn forget(&mut self, address: usize) {
        if let Some((&base, _)) =
            self.used.range(..=address).next_back().filter(|(base, mapping)| address - **base < mapping.kind.bytes())
        {
            self.used.remove(&base);
        }
    }

    /// Whether a piece of a reservation has this access already.
    pub(super) fn has_access(&mut self, begin: usize, bytes: usize, access: Access) -> bool {
        self.find(begin, bytes).is_some_and(|(offset, mapping)| mapping.protections.covers(offset, bytes, access))
    }

    /// A piece has this access now; `None` if it has none, or it is not known.
    pub(super) fn access_changed(&mut self, begin: usize, bytes: usize, access: Option<Access>) {
        let Some((offset, mapping)) = self.find(begin, bytes) else { return self.forget(begin) };
        match mapping.kind {
            Kind::Chunk => {
                mapping.changed = true;
                mapping.holes.retain(|(hole, length)| hole + length <= begin || begin + bytes <= *hole);
            }
            Kind::Reservation { .. } => mapping.protections.set(offset, bytes, access),
        }
    }

    /// Whether this part of a chunk was decommitted and nothing changed it since.
    pub(super) fn is_hole(&mut self, begin: usize, bytes: usize) -> bool {
        self.find(begin, bytes).is_some_and(|(_, mapping)| mapping.holes.contains(&(begin, bytes)))
    }

    /// This part of a chunk was decommitted.
    pub(super) fn add_hole(&mut self, begin: usize, bytes: usize) {
        if let Some((_, mapping)) = self.find(begin, bytes).filter(|(_, mapping)| mapping.kind == Kind::Chunk) {
            mapping.holes.push((begin, bytes));
        }
    }

    /// Whether this is a piece of a reservation that may be kept.
    pub(super) fn is_in_reservation(&mut self, begin: usize, bytes: usize) -> bool {
        self.find(begin, bytes).is_some_and(|(_, mapping)| mapping.kind != Kind::Chunk)
    }

    /// The mapping that holds this piece, and where in it the piece begins.
    fn find(&mut self, begin: usize, bytes: usize) -> Option<(usize, &mut Mapping)> {
        let (base, mapping) = self.used.range_mut(..=begin).next_back()?;
        let offset = begin - base;
        (offset + bytes <= mapping.kind.bytes()).then_some((offset, mapping))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BIG: Kind = Kind::Reservation { bytes: 64 << 20, alignment: 4096 };

    /// The address of the n-th mapping.
    fn at(n: usize) -> usize {
        (n + 1) << 32
    }

    fn store(kind: Kind, count: usize) -> Store {
        let mut store = Store::new();
        (0..count).for_each(|n| store.add(at(n), kind, LATER));
        store
    }

    fn free(store: &mut Store, n: usize) -> Option<(usize, usize)> {
        let base = at(n);
        let bytes = store.used[&base].kind.bytes();
        match store.remove(base, bytes) {
            Some(mapping) => store.keep(base, mapping),
            None => Some((base, bytes)),
        }
    }

    #[test]
    fn only_heap_pages_and_reservations_may_be_kept() {
        assert_eq!(Kind::of(CHUNK_BYTES, CHUNK_BYTES, READ_WRITE), Some(Kind::Chunk));
        assert_eq!(Kind::of(64 << 20, 4096, NO_ACCESS), Some(BIG));
        assert_eq!(Kind::of(64 << 20, 4096, NO_ACCESS_JIT_LATER), Some(BIG));
        for other in [
            (CHUNK_BYTES, 4096, READ_WRITE),
            (CHUNK_BYTES, CHUNK_BYTES, NO_ACCESS),
            (2 * CHUNK_BYTES, CHUNK_BYTES, READ_WRITE),
            (64 << 20, 4096, READ_WRITE),
            (RESERVATION_BYTES_MIN - 4096, 4096, NO_ACCESS),
            (RESERVATION_BYTES_MAX + 4096, 4096, NO_ACCESS),
        ] {
            assert_eq!(Kind::of(other.0, other.1, other.2), None, "{other:?}");
        }
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_oldest_reservation_goes_first() {
        let mut chunks = store(Kind::Chunk, CHUNKS_MAX + 1);
        assert!((0..CHUNKS_MAX).all(|n| free(&mut chunks, n).is_none()));
        assert_eq!(free(&mut chunks, CHUNKS_MAX), Some((at(CHUNKS_MAX), CHUNK_BYTES)));
        let mut reservations = store(BIG, RESERVATIONS_MAX + 1);
        assert!((0..RESERVATIONS_MAX).all(|n| free(&mut reservations, n).is_none()));
        assert_eq!(free(&mut reservations, RESERVATIONS_MAX), Some((at(0), 64 << 20)));
    }

    #[test]
    fn a_chunk_goes_to_who_uses_it_alike_and_those_of_no_certain_use_go_to_anybody() {
        let mut store = Store::new();
        for (n, used_as) in [0, 1, LATER, USES + 3].into_iter().enumerate() {
            store.add(at(n), Kind::Chunk, used_as);
            assert_eq!(free(&mut store, n), None);
        }
        assert_eq!(store.take(Kind::Chunk, 1), Some(at(1)));
        assert_eq!(store.take(Kind::Chunk, 1), Some(at(3)));
        assert_eq!(store.take(Kind::Chunk, LATER), Some(at(2)));
        assert_eq!(store.take(Kind::Chunk, LATER), None);
        assert_eq!(free(&mut store, 3), None);
        assert_eq!(store.take(Kind::Chunk, 2), None, "it was used as the second chunk meanwhile");
        assert_eq!(store.take_free_chunks(), [at(0), at(3)]);
    }

    #[test]
    fn a_chunk_that_was_protected_or_cut_is_not_kept() {
        let mut store = store(Kind::Chunk, 3);
        store.access_changed(at(0) + 4096, 4096, Some(1));
        assert_eq!(free(&mut store, 0), Some((at(0), CHUNK_BYTES)));
        store.forget(at(1) + CHUNK_BYTES - 1);
        assert!(store.remove(at(1), CHUNK_BYTES).is_none());
        assert!(store.remove(at(2), CHUNK_BYTES / 2).is_none());
        assert!(store.remove(at(2), CHUNK_BYTES).is_none(), "it was freed in part before");
        assert_eq!(store.take(Kind::Chunk, LATER), None);
    }

    #[test]
    fn a_reservation_goes_only_to_its_own_kind_and_keeps_what_was_open() {
        let mut store = store(BIG, 1);
        store.access_changed(at(0), 4096, Some(2));
        assert_eq!(free(&mut store, 0), None);
        assert_eq!(store.take(Kind::Reservation { bytes: 64 << 20, alignment: 8192 }, 0), None);
        assert_eq!(store.take(Kind::Reservation { bytes: 32 << 20, alignment: 4096 }, 0), None);
        assert_eq!(store.take(BIG, 0), Some(at(0)));
        assert!(store.has_access(at(0), 4096, 2) && !store.has_access(at(0), 8192, 2));
        store.access_changed(at(0), 4096, None);
        assert!(!store.has_access(at(0), 4096, 2));
    }

    #[test]
    fn a_piece_that_goes_over_the_end_of_its_mapping_makes_it_unknown() {
        let mut store = store(BIG, 1);
        store.access_changed(at(0) + (64 << 20) - 4096, 8192, Some(2));
        assert!(store.remove(at(0), 64 << 20).is_none());
    }

    #[test]
    fn a_hole_is_one_until_something_changes_it() {
        let mut store = store(Kind::Chunk, 1);
        store.access_changed(at(0) + 65536, 65536, None);
        store.add_hole(at(0) + 65536, 65536);
        assert!(store.is_hole(at(0) + 65536, 65536) && !store.is_hole(at(0), 65536));
        store.access_changed(at(0), 65536, Some(1));
        assert!(store.is_hole(at(0) + 65536, 65536));
        store.access_changed(at(0), CHUNK_BYTES, Some(1));
        assert!(!store.is_hole(at(0) + 65536, 65536));
        assert_eq!(free(&mut store, 0), Some((at(0), CHUNK_BYTES)));
    }
}
