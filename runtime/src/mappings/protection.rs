//! Which pieces of a reservation are accessible, and how.

use std::collections::BTreeMap;

use super::Access;

/// Pieces with a known access, by where they begin. Pieces do not overlap; neighbours of equal access are one.
#[derive(Default)]
pub(super) struct Protections {
    pieces: BTreeMap<usize, (usize, Access)>,
}

impl Protections {
    /// Whether all of the piece has this access already.
    pub(super) fn covers(&self, begin: usize, bytes: usize, access: Access) -> bool {
        let piece = self.pieces.range(..=begin).next_back();
        piece.is_some_and(|(_, &(end, has))| begin + bytes <= end && has == access)
    }

    /// Sets the access of a piece; `None` if there is none, or it is not known.
    pub(super) fn set(&mut self, begin: usize, bytes: usize, access: Option<Access>) {
        let (mut begin, mut end) = (begin, begin + bytes);
        self.cut(begin);
        self.cut(end);
        self.pieces.retain(|&at, _| at < begin || at >= end);
        let Some(access) = access else { return };
        if let Some((&before, &(_, has))) =
            self.pieces.range(..begin).next_back().filter(|(_, (till, _))| *till == begin)
            && has == access
        {
            self.pieces.remove(&before);
            begin = before;
        }
        if let Some(&(after, has)) = self.pieces.get(&end)
            && has == access
        {
            self.pieces.remove(&end);
            end = after;
        }
        self.pieces.insert(begin, (end, access));
    }

    /// Splits the piece that goes over this place.
    fn cut(&mut self, place: usize) {
        if let Some((_, piece)) = self.pieces.range_mut(..place).next_back()
            && piece.0 > place
        {
            let (end, access) = *piece;
            piece.0 = place;
            self.pieces.insert(place, (end, access));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_covered_only_by_neighbours_of_its_own_access() {
        let mut all = Protections::default();
        all.set(0, 64, Some(1));
        all.set(64, 16, Some(2));
        all.set(80, 16, Some(2));
        assert!(all.covers(0, 64, 1) && all.covers(64, 32, 2) && all.covers(70, 10, 2));
        assert!(!all.covers(0, 64, 2) && !all.covers(60, 10, 1) && !all.covers(64, 33, 2) && !all.covers(200, 1, 1));
    }

    #[test]
    fn what_is_set_anew_cuts_what_was_there() {
        let mut all = Protections::default();
        all.set(0, 100, Some(2));
        all.set(40, 20, Some(1));
        assert!(all.covers(0, 40, 2) && all.covers(40, 20, 1) && all.covers(60, 40, 2));
        all.set(30, 20, None);
        assert!(all.covers(0, 30, 2) && !all.covers(29, 2, 2) && !all.covers(30, 1, 1) && all.covers(50, 10, 1));
        all.set(0, 100, Some(3));
        assert!(all.covers(0, 100, 3));
    }
}
