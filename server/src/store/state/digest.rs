//! Checksums of stored values and the digest of a group.
//!
//! Every value is stored behind a checksum over its key and its bytes. An actor's digest is the sum of its records'
//! checksums and stands in its header; the group's digest is the sum of the checksums of its headers, its tombstones
//! and its registry, so it covers every record. Sums do not depend on order and are updated with each change. Replicas that applied the same
//! entries have the same digest.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Bytes of a checksum.
pub const CHECKSUM_BYTES: usize = 16;

/// Commutative sum of checksums.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest(u128);

impl Digest {
    /// Adds a framed value.
    pub fn add(&mut self, framed: &[u8]) {
        self.0 = self.0.wrapping_add(checksum_of(framed));
    }

    /// Takes a framed value away.
    pub fn remove(&mut self, framed: &[u8]) {
        self.0 = self.0.wrapping_sub(checksum_of(framed));
    }

    /// Adds what another sum grew by.
    pub fn merge(&mut self, other: Self) {
        self.0 = self.0.wrapping_add(other.0);
    }

    /// The sum, as bytes.
    pub fn to_bytes(self) -> [u8; CHECKSUM_BYTES] {
        self.0.to_le_bytes()
    }

    /// The sum with these bytes.
    pub fn from_bytes(bytes: [u8; CHECKSUM_BYTES]) -> Self {
        Self(u128::from_le_bytes(bytes))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({:032x})", self.0)
    }
}

/// Puts the checksum before the value.
pub fn frame(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(CHECKSUM_BYTES + value.len());
    frame_parts(&mut framed, key, &[value]);
    framed
}

/// The same for a value in parts, in a buffer that is cleared before.
pub fn frame_parts(framed: &mut Vec<u8>, key: &[u8], parts: &[&[u8]]) {
    framed.clear();
    framed.extend([0; CHECKSUM_BYTES]);
    parts.iter().for_each(|part| framed.extend(*part));
    let sum = checksum(key, &framed[CHECKSUM_BYTES..]);
    framed[..CHECKSUM_BYTES].copy_from_slice(&sum);
}

/// The value behind a checksum that need not be looked at.
pub fn behind(framed: &[u8]) -> Option<&[u8]> {
    framed.split_at_checked(CHECKSUM_BYTES).map(|(_, value)| value)
}

/// The value behind the checksum; none if they do not fit the key.
pub fn unframe<'a>(key: &[u8], framed: &'a [u8]) -> Option<&'a [u8]> {
    let (sum, value) = framed.split_at_checked(CHECKSUM_BYTES)?;
    (sum == checksum(key, value)).then_some(value)
}

fn checksum(key: &[u8], value: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hash = Sha256::new();
    hash.update((key.len() as u32).to_le_bytes());
    hash.update(key);
    hash.update(value);
    let full = hash.finalize();
    std::array::from_fn(|i| full[i])
}

/// A value too short to have a checksum counts as nothing; reading it fails.
fn checksum_of(framed: &[u8]) -> u128 {
    framed.first_chunk().map_or(0, |sum| u128::from_le_bytes(*sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_framed_value_comes_back() {
        assert_eq!(unframe(b"key", &frame(b"key", b"value")), Some(&b"value"[..]));
    }

    #[test]
    fn a_value_in_parts_is_framed_as_the_whole() {
        let mut framed = b"what was there before".to_vec();
        frame_parts(&mut framed, b"key", &[b"va", b"", b"lue"]);
        assert_eq!(framed, frame(b"key", b"value"));
        assert_eq!(behind(&framed), Some(&b"value"[..]));
        assert_eq!(behind(&framed[..CHECKSUM_BYTES - 1]), None);
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let framed = frame(b"key", b"value");
        for bit in 0..framed.len() * 8 {
            let mut flipped = framed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unframe(b"key", &flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn a_value_does_not_fit_another_key() {
        assert_eq!(unframe(b"other", &frame(b"key", b"value")), None);
    }

    #[test]
    fn the_sum_does_not_depend_on_order_and_forgets_what_was_removed() {
        let (a, b, c) = (frame(b"a", b"1"), frame(b"b", b"2"), frame(b"c", b"3"));
        let mut forward = Digest::default();
        for value in [&a, &b, &c] {
            forward.add(value);
        }
        let mut backward = Digest::default();
        for value in [&c, &a, &b] {
            backward.add(value);
        }
        assert_eq!(forward, backward);
        forward.remove(&c);
        assert_ne!(forward, backward);
        backward.remove(&c);
        assert_eq!(forward, backward);
    }
}
