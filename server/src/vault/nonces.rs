//! `Nonces`: random numbers for sealing, each given out once.
//!
//! They are fetched from the operating system several at a time, and no more than are announced: none is left for later,
//! when the machine may be a copy of the one that fetched them.

use zeroize::Zeroizing;

use super::Error;

/// Bytes of a nonce.
pub(super) const NONCE_BYTES: usize = 24;
/// Most nonces that are fetched at once.
const FETCHED_MAX: usize = 16;

/// Random numbers for some names and values.
pub struct Nonces {
    fetched: Zeroizing<[[u8; NONCE_BYTES]; FETCHED_MAX]>,
    /// How many of the fetched ones were not given out. Those are the first.
    ready: usize,
    /// How many more are announced.
    announced: usize,
}

impl Nonces {
    /// Nonces for so many names and values. More can be had, one at a time.
    pub fn new(count: usize) -> Self {
        Self { fetched: Zeroizing::new([[0; NONCE_BYTES]; FETCHED_MAX]), ready: 0, announced: count }
    }

    /// The next one.
    pub(super) fn next(&mut self) -> Result<[u8; NONCE_BYTES], Error> {
        if self.ready == 0 {
            let count = self.announced.clamp(1, FETCHED_MAX);
            getrandom::fill(self.fetched[..count].as_flattened_mut())
                .map_err(|error| Error::Random(error.to_string()))?;
            (self.ready, self.announced) = (count, self.announced.saturating_sub(count));
        }
        self.ready -= 1;
        Ok(self.fetched[self.ready])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn none_is_given_out_twice_and_none_is_left_of_those_announced() {
        let mut all = HashSet::new();
        for announced in [0, 1, 2, FETCHED_MAX, FETCHED_MAX + 1, 3 * FETCHED_MAX] {
            let mut nonces = Nonces::new(announced);
            (0..announced).for_each(|_| assert!(all.insert(nonces.next().unwrap())));
            assert_eq!((nonces.ready, nonces.announced), (0, 0), "{announced} announced");
            (0..3).for_each(|_| assert!(all.insert(nonces.next().unwrap())));
            assert_eq!(nonces.ready, 0);
        }
        assert!(!all.contains(&[0; NONCE_BYTES]));
    }
}
