//! `Recent`: what keys of a tree were set to lately.
//!
//! Whoever writes reads before: an actor's header, and what a record held. lsm-tree finds that among all versions it has
//! not written out, by comparing long keys along a list; here one look is enough. It is only a copy: every change of the
//! tree goes through it, and what is not found here is looked up there.
//!
//! There are two halves. What is used goes into the young one; when that is full the old one is forgotten, and the young
//! one is the old one from then on.

use std::collections::HashMap;
use std::mem;

use super::tree::Bytes;

/// Bytes of one half, after which the other one is forgotten.
const HALF_BYTES_MAX: usize = 512 << 10;
/// Largest value that is kept, in bytes.
const VALUE_BYTES_MAX: usize = 2 << 10;
/// What a key and its value take besides their bytes, give or take.
const ENTRY_BYTES: usize = 128;

/// What a key was set to; none if it was removed.
type Last = Option<Bytes>;

/// Keys that were changed lately.
#[derive(Default)]
pub(super) struct Recent {
    young: HashMap<Bytes, Last>,
    old: HashMap<Bytes, Last>,
    young_bytes: usize,
}

impl Recent {
    /// What a key was set to, if that is known here.
    pub fn get(&mut self, key: &[u8]) -> Option<Last> {
        if let Some(last) = self.young.get(key) {
            return Some(last.clone());
        }
        let (key, last) = self.old.remove_entry(key)?;
        self.keep(key, last.clone());
        Some(last)
    }

    /// A key was set, or removed.
    pub fn set(&mut self, key: Bytes, last: Last) {
        self.old.remove(&*key);
        if last.as_ref().is_none_or(|value| value.len() <= VALUE_BYTES_MAX) {
            self.keep(key, last);
        } else if let Some((key, last)) = self.young.remove_entry(&*key) {
            self.young_bytes -= bytes(key.len(), &last);
        }
    }

    fn keep(&mut self, key: Bytes, last: Last) {
        let key_bytes = key.len();
        self.young_bytes += bytes(key_bytes, &last);
        if let Some(before) = self.young.insert(key, last) {
            self.young_bytes -= bytes(key_bytes, &before);
        }
        if self.young_bytes > HALF_BYTES_MAX {
            self.old = mem::take(&mut self.young);
            self.young_bytes = 0;
        }
    }
}

fn bytes(key_bytes: usize, last: &Last) -> usize {
    key_bytes + last.as_ref().map_or(0, |value| value.len()) + ENTRY_BYTES
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(n: u16) -> Bytes {
        Bytes::from(n.to_be_bytes())
    }

    #[test]
    fn what_is_used_stays_and_what_is_not_is_forgotten() {
        let mut recent = Recent::default();
        let value = Some(Bytes::from(vec![7; 1000]));
        for n in 0..5000 {
            recent.set(key(n), value.clone());
            assert_eq!(recent.get(&key(0)), Some(value.clone()));
        }
        assert_eq!(recent.get(&key(1)), None);
        let most = HALF_BYTES_MAX / (1000 + ENTRY_BYTES) + 1;
        assert!(recent.young.len() <= most && recent.old.len() <= most);
    }

    #[test]
    fn a_large_value_is_not_kept_and_neither_is_the_one_before_it() {
        let mut recent = Recent::default();
        recent.set(key(1), Some(Bytes::from(vec![1])));
        recent.set(key(1), Some(Bytes::from(vec![1; VALUE_BYTES_MAX + 1])));
        assert_eq!(recent.get(&key(1)), None);
        assert_eq!(recent.young_bytes, 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn what_it_knows_is_what_a_key_was_set_to_last(
            steps in prop::collection::vec((0..200u16, prop::option::of(0..4000usize)), 1..500),
        ) {
            let (mut recent, mut all) = (Recent::default(), HashMap::new());
            for (step, (n, size)) in steps.into_iter().enumerate() {
                let value = size.map(|size| Bytes::from(vec![step as u8; size]));
                recent.set(key(n), value.clone());
                all.insert(n, value);
                let asked = (step % 200) as u16;
                if let Some(last) = recent.get(&key(asked)) {
                    prop_assert_eq!(Some(&last), all.get(&asked));
                }
                let counted: usize = recent.young.iter().map(|(key, last)| bytes(key.len(), last)).sum();
                prop_assert_eq!(recent.young_bytes, counted);
            }
        }
    }
}
