//! Pages of V8's heap of C++ objects, of which every isolate has one page that is nearly empty.
//!
//! They lie in one reservation of the process, the cage. V8 makes a page accessible when a heap takes it and replaces
//! the mapping when the heap gives it up; in between it writes zeros over all of it, twice. So a page cost an isolate 32
//! page faults, two changes of the memory map and an interrupt of all processors: a twelfth of a request. Here a page
//! that is given up is zeroed and stays open, and the next heap that takes this very page finds it so.

use std::{collections::BTreeSet, ops::Range};

/// Bytes of a page.
const PAGE_BYTES: usize = 128 << 10;
/// Nothing else is aligned to so many bytes. The cage has a multiple of them.
const CAGE_ALIGNMENT_MIN: usize = 4 << 30;
/// Pages that are kept open while no heap has them, 8 MiB of them.
const OPEN_MAX: usize = 64;

/// Where the cage is, and which of its pages are open.
pub(super) struct Cage {
    range: Range<usize>,
    /// Pages that heaps have.
    used: BTreeSet<usize>,
    /// Pages that nobody has.
    open: Vec<usize>,
}

impl Cage {
    pub(super) const fn new() -> Self {
        Self { range: 0..0, used: BTreeSet::new(), open: Vec::new() }
    }

    /// V8 reserved address space. The first that is aligned as the cage is holds the cage; WebAssembly's memories are as
    /// large, but not so aligned.
    pub(super) fn reserved(&mut self, base: usize, bytes: usize, alignment: usize) {
        if self.range.is_empty() && alignment >= CAGE_ALIGNMENT_MIN && bytes >= alignment {
            self.range = base..base + bytes;
        }
    }

    /// Address space is V8's no longer. It reserves twice the cage and frees one half, either.
    pub(super) fn freed(&mut self, base: usize, bytes: usize) {
        let freed = base..base.saturating_add(bytes);
        if self.range.is_empty() || freed.end <= self.range.start || self.range.end <= freed.start {
            return;
        }
        let rest = match freed {
            freed if freed.start <= self.range.start => freed.end.min(self.range.end)..self.range.end,
            freed => self.range.start..freed.start,
        };
        *self = Self { range: rest, ..Self::new() };
    }

    /// V8 makes this piece accessible: whether it is an open page and stays as it is. Open pages that the piece covers in
    /// another way are known no longer.
    pub(super) fn take(&mut self, begin: usize, bytes: usize, writable: bool) -> bool {
        let before = self.open.len();
        self.open.retain(|page| page + PAGE_BYTES <= begin || begin + bytes <= *page);
        let taken = self.open.len() < before && self.is_page(begin, bytes) && writable;
        if taken {
            self.used.insert(begin);
        }
        taken
    }

    /// V8 made this piece accessible.
    pub(super) fn opened(&mut self, begin: usize, bytes: usize, writable: bool) {
        if self.is_page(begin, bytes) && writable {
            self.used.insert(begin);
        }
    }

    /// V8 gives up this piece: whether it is to be zeroed and kept.
    pub(super) fn give_up(&mut self, begin: usize, bytes: usize) -> bool {
        self.is_page(begin, bytes) && self.used.remove(&begin) && self.open.len() < OPEN_MAX
    }

    /// Keeps a page that reads as zeros.
    pub(super) fn keep(&mut self, begin: usize) {
        self.open.push(begin);
    }

    fn is_page(&self, begin: usize, bytes: usize) -> bool {
        self.range.contains(&begin) && bytes == PAGE_BYTES && begin.is_multiple_of(PAGE_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAGE_BYTES: usize = 2 * CAGE_ALIGNMENT_MIN;
    const BASE: usize = CAGE_BYTES;

    fn cage() -> Cage {
        let mut cage = Cage::new();
        cage.reserved(BASE / 2, 2 * CAGE_BYTES, PAGE_BYTES);
        cage.reserved(BASE, CAGE_BYTES, CAGE_ALIGNMENT_MIN);
        cage.reserved(3 * BASE, CAGE_BYTES, CAGE_ALIGNMENT_MIN);
        cage
    }

    fn used_and_given_up(cage: &mut Cage, begin: usize, bytes: usize) -> bool {
        cage.opened(begin, bytes, true);
        cage.give_up(begin, bytes)
    }

    #[test]
    fn only_whole_pages_of_the_cage_are_kept() {
        let mut cage = cage();
        for begin in [BASE, BASE + CAGE_BYTES - PAGE_BYTES] {
            assert!(used_and_given_up(&mut cage, begin, PAGE_BYTES));
        }
        for (begin, bytes) in [
            (BASE, 2 * PAGE_BYTES),
            (BASE, 4096),
            (BASE + 4096, PAGE_BYTES),
            (BASE - PAGE_BYTES, PAGE_BYTES),
            (BASE + CAGE_BYTES, PAGE_BYTES),
            (3 * BASE, PAGE_BYTES),
        ] {
            assert!(!used_and_given_up(&mut cage, begin, bytes), "{begin:x} {bytes}");
        }
        assert!(!used_and_given_up(&mut Cage::new(), BASE, PAGE_BYTES));
    }

    #[test]
    fn a_page_that_is_not_writable_is_not_kept() {
        let mut cage = cage();
        assert!(!cage.give_up(BASE, PAGE_BYTES), "it was never opened");
        cage.opened(BASE, PAGE_BYTES, false);
        assert!(!cage.give_up(BASE, PAGE_BYTES));
    }

    #[test]
    fn an_open_page_is_taken_once_and_only_as_a_writable_page() {
        let mut cage = cage();
        for (bytes, writable) in [(PAGE_BYTES, false), (2 * PAGE_BYTES, true), (4096, true)] {
            cage.keep(BASE);
            assert!(!cage.take(BASE, bytes, writable));
            assert!(!cage.take(BASE, PAGE_BYTES, true), "{bytes} {writable}");
        }
        cage.keep(BASE);
        cage.keep(BASE + PAGE_BYTES);
        assert!(cage.take(BASE, PAGE_BYTES, true));
        assert!(!cage.take(BASE, PAGE_BYTES, true));
        assert!(cage.take(BASE + PAGE_BYTES, PAGE_BYTES, true));
        assert!(cage.give_up(BASE, PAGE_BYTES), "a page that was taken can be given up again");
        assert!(!cage.give_up(BASE, PAGE_BYTES));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut cage = cage();
        (0..OPEN_MAX).for_each(|n| cage.keep(BASE + n * PAGE_BYTES));
        assert!(!used_and_given_up(&mut cage, BASE + OPEN_MAX * PAGE_BYTES, PAGE_BYTES));
    }

    #[test]
    fn a_half_that_is_freed_is_the_cage_s_no_longer() {
        let half = CAGE_BYTES / 2;
        for (freed, rest) in [(BASE, BASE + half), (BASE + half, BASE)] {
            let mut cage = cage();
            cage.freed(BASE - PAGE_BYTES, PAGE_BYTES);
            cage.freed(freed, half);
            assert!(used_and_given_up(&mut cage, rest, PAGE_BYTES));
            assert!(!used_and_given_up(&mut cage, freed, PAGE_BYTES));
            cage.keep(rest);
            cage.freed(rest, half);
            assert!(!cage.take(rest, PAGE_BYTES, true) && !used_and_given_up(&mut cage, rest, PAGE_BYTES));
        }
    }
}
