//! `Memtable`: what keys of a group were set to since the tree last got them, and for a while after.
//!
//! ```text
//! changed   the tree does not have it yet: it stays until it is drained
//! kept      the tree has it too: it is only here to be found at once, and goes when it is not used and there is no room
//! ```
//!
//! Whoever writes reads before (an actor's header, what a record held) and what is written is often written again soon. A
//! hash table does both in one look, where a sorted list of all versions is compared along long keys. It has no order: who
//! needs that drains it first.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};

use foldhash::quality::RandomState;

use super::tree::Bytes;

/// Kept keys and values, in bytes, after which those that are not used are forgotten.
const KEPT_BYTES_MAX: usize = 1 << 20;
/// Largest value that is kept, in bytes.
const KEPT_VALUE_BYTES_MAX: usize = 2 << 10;
/// What a key and its value take besides their bytes, give or take.
const ENTRY_BYTES: usize = 128;

/// Room for so many changed keys is kept when they are drained.
const CHANGED_ROOM_MAX: usize = 16 << 10;

/// What a key was set to; none if it was removed.
pub(super) type Last = Option<Bytes>;

/// What keys are to be set to, in no order.
pub(super) type Changes = HashMap<Bytes, Last, RandomState>;

/// What keys were set to lately.
#[derive(Default)]
pub(super) struct Memtable {
    slots: HashMap<Bytes, Slot, RandomState>,
    /// The changed keys, each once.
    changed: Vec<Bytes>,
    /// First bytes of changed keys, as bits.
    families: u64,
    kept_bytes: usize,
}

struct Slot {
    last: Last,
    is_changed: bool,
    /// Asked for or set again since room was last made.
    is_used: AtomicBool,
}

impl Memtable {
    /// What a key was set to, if that is known here.
    pub fn get(&self, key: &[u8]) -> Option<&Last> {
        let slot = self.slots.get(key)?;
        if !slot.is_used.load(Ordering::Relaxed) {
            slot.is_used.store(true, Ordering::Relaxed);
        }
        Some(&slot.last)
    }

    /// Sets a key, or removes it. Returns the bytes this takes until it is drained.
    pub fn set(&mut self, key: Bytes, last: Last) -> usize {
        let bytes = bytes(&key, &last);
        match self.slots.entry(key) {
            Entry::Occupied(mut slot) => {
                if !slot.get().is_changed {
                    self.kept_bytes -= self::bytes(slot.key(), &slot.get().last);
                    self.families |= family(slot.key());
                    self.changed.push(slot.key().clone());
                }
                *slot.get_mut() = Slot { last, is_changed: true, is_used: AtomicBool::new(true) };
            }
            Entry::Vacant(slot) => {
                self.families |= family(slot.key());
                self.changed.push(slot.key().clone());
                slot.insert(Slot { last, is_changed: true, is_used: AtomicBool::new(false) });
            }
        }
        bytes
    }

    /// Forgets a key that is not changed.
    pub fn forget(&mut self, key: &[u8]) {
        if let Some((key, slot)) = self.slots.remove_entry(key) {
            assert!(!slot.is_changed, "what the tree does not have must not be forgotten");
            self.kept_bytes -= bytes(&key, &slot.last);
        }
    }

    /// Whether any key is changed.
    pub fn is_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Whether a key is changed that begins with one of these bytes.
    pub fn is_changed_in(&self, families: &[u8]) -> bool {
        families.iter().any(|byte| self.families & family(&[*byte]) != 0)
    }

    /// The changed keys in order, which the tree has from then on.
    pub fn drain(&mut self, mut take: impl FnMut(Bytes, Last)) {
        let mut changed = mem::take(&mut self.changed);
        self.families = 0;
        changed.sort_unstable();
        for key in changed.drain(..) {
            let Some(slot) = self.slots.get_mut(&*key) else { unreachable!("a changed key is never forgotten") };
            slot.is_changed = false;
            if slot.last.as_ref().is_some_and(|value| value.len() > KEPT_VALUE_BYTES_MAX) {
                let last = self.slots.remove(&*key).and_then(|slot| slot.last);
                take(key, last);
            } else {
                self.kept_bytes += bytes(&key, &slot.last);
                take(key, slot.last.clone());
            }
        }
        // Its room is needed again, unless there was far more than usual.
        changed.shrink_to(CHANGED_ROOM_MAX);
        self.changed = changed;
        if self.kept_bytes > KEPT_BYTES_MAX {
            self.make_room();
        }
    }

    /// Forgets kept keys that were not used since the last time, and if these are few, others too.
    fn make_room(&mut self) {
        self.retain(|slot, _| mem::take(slot.is_used.get_mut()));
        self.retain(|_, kept_bytes| kept_bytes <= KEPT_BYTES_MAX / 2);
        self.slots.shrink_to(2 * self.slots.len());
    }

    /// Forgets the kept keys of which `stays` does not hold, given how many bytes are kept still.
    fn retain(&mut self, mut stays: impl FnMut(&mut Slot, usize) -> bool) {
        let kept_bytes = &mut self.kept_bytes;
        self.slots.retain(|key, slot| {
            let stays = slot.is_changed || stays(slot, *kept_bytes);
            if !stays {
                *kept_bytes -= bytes(key, &slot.last);
            }
            stays
        });
    }
}

/// Bytes that a change takes in memory.
pub(super) fn bytes(key: &[u8], last: &Last) -> usize {
    key.len() + last.as_ref().map_or(0, |value| value.len()) + ENTRY_BYTES
}

/// The bit of a key's first byte. Families are fewer than there are bits.
fn family(key: &[u8]) -> u64 {
    key.first().map_or(0, |byte| 1 << (byte % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn key(n: u16) -> Bytes {
        Bytes::from(n.to_be_bytes())
    }

    fn value(bytes: usize) -> Last {
        Some(Bytes::from(vec![7; bytes]))
    }

    fn drained(memtable: &mut Memtable) -> Vec<(Bytes, Last)> {
        let mut all = Vec::new();
        memtable.drain(|key, last| all.push((key, last)));
        all
    }

    #[test]
    fn what_is_used_stays_and_what_is_not_is_forgotten_once_there_is_no_room() {
        let mut memtable = Memtable::default();
        for n in 0..5000 {
            memtable.set(key(n), value(1000));
            assert_eq!(drained(&mut memtable), vec![(key(n), value(1000))]);
            assert_eq!(memtable.get(&key(0)), Some(&value(1000)));
        }
        assert_eq!(memtable.get(&key(1)), None);
        assert!(memtable.kept_bytes <= KEPT_BYTES_MAX);
    }

    #[test]
    fn when_everything_is_used_half_of_it_is_forgotten() {
        let mut memtable = Memtable::default();
        for round in 0..2 {
            (0..2000).for_each(|n| assert!(memtable.set(key(n), value(1000 + round)) > 1000));
        }
        assert_eq!(drained(&mut memtable).len(), 2000);
        assert!(memtable.kept_bytes <= KEPT_BYTES_MAX / 2);
        assert!(memtable.kept_bytes > KEPT_BYTES_MAX / 3);
    }

    #[test]
    fn what_the_tree_does_not_have_is_never_forgotten_for_want_of_room() {
        let mut memtable = Memtable::default();
        (0..5000).for_each(|n| assert!(memtable.set(key(n), value(1000)) > 1000));
        assert!((0..5000).all(|n| memtable.get(&key(n)) == Some(&value(1000))));
        assert_eq!(drained(&mut memtable).len(), 5000);
    }

    #[test]
    fn a_large_value_is_there_until_it_is_drained_and_not_kept() {
        let mut memtable = Memtable::default();
        memtable.set(key(1), value(KEPT_VALUE_BYTES_MAX + 1));
        assert_eq!(memtable.get(&key(1)), Some(&value(KEPT_VALUE_BYTES_MAX + 1)));
        drained(&mut memtable);
        assert_eq!(memtable.get(&key(1)), None);
        assert_eq!(memtable.kept_bytes, 0);
    }

    #[test]
    fn it_tells_what_changed_by_first_byte() {
        let mut memtable = Memtable::default();
        memtable.set(Bytes::from(vec![3, 1]), None);
        assert_eq!([1, 3].map(|byte| memtable.is_changed_in(&[byte])), [false, true]);
        drained(&mut memtable);
        assert!(!memtable.is_changed_in(&[3]));
        memtable.set(Bytes::from(vec![3, 1]), None);
        assert!(memtable.is_changed_in(&[1, 3]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// It knows every key that changed, drains each once and in order, and counts what it keeps.
        #[test]
        fn what_it_knows_is_what_a_key_was_set_to_last(
            steps in prop::collection::vec((0..200u16, prop::option::of(0..8000usize), 0..20u8), 1..800),
        ) {
            let (mut memtable, mut all, mut changed) = (Memtable::default(), BTreeMap::new(), BTreeMap::new());
            for (step, (n, size, drains)) in steps.into_iter().enumerate() {
                let last = size.map(|size| Bytes::from(vec![step as u8; size]));
                memtable.set(key(n), last.clone());
                all.insert(n, last.clone());
                changed.insert(n, last);
                let asked = (step % 200) as u16;
                let known = memtable.get(&key(asked));
                prop_assert!(known.is_none() || known == all.get(&asked));
                prop_assert!(known.is_some() || !changed.contains_key(&asked));
                if drains == 0 {
                    let expected: Vec<_> = std::mem::take(&mut changed).into_iter().map(|(n, last)| (key(n), last)).collect();
                    prop_assert_eq!(drained(&mut memtable), expected);
                }
                let kept = memtable.slots.iter().filter(|(_, slot)| !slot.is_changed);
                let counted: usize = kept.map(|(key, slot)| bytes(key, &slot.last)).sum();
                prop_assert_eq!(memtable.kept_bytes, counted);
                prop_assert!(counted <= KEPT_BYTES_MAX);
            }
        }
    }
}
