//! `Audit`: checks a snapshot's keys and values in order, as far as can be told without loading them.
//!
//! Every value must fit the checksum of its key, every record must belong to a live actor, the records of an actor must add
//! up to the digest in its header, and everything to the digest of the group. It is what loading checks, so what passes
//! here does not fail there.

use std::collections::HashMap;

use super::digest::{Digest, unframe};
use super::key::{Key, RecordSet};
use super::life::{Actor, decode_tombstone};
use super::{Mark, registry};

/// A check under way. Keeps about a hundred bytes for each actor that has records.
#[derive(Default)]
pub struct Audit {
    group: Digest,
    /// What is still missing of each actor's records: their digest and how many names.
    missing: HashMap<RecordSet, (Digest, u64)>,
}

impl Audit {
    /// Takes the next key and framed value; says what is wrong with them.
    pub fn add(&mut self, key: &[u8], framed: &[u8]) -> Result<(), String> {
        let value = unframe(key, framed).ok_or("a value does not fit its checksum")?;
        let decoded = Key::decode(key).filter(|_| Key::in_snapshot(key)).ok_or("a key does not belong there")?;
        match decoded {
            Key::Header(id) => {
                let actor = Actor::decode(value).filter(|actor| actor.id() == id).ok_or("a header cannot be read")?;
                self.group.add(framed);
                let expected = (actor.digest, actor.header.records);
                if expected != (Digest::default(), 0) {
                    self.missing.insert(actor.set(), expected);
                }
            }
            Key::Tombstone(_) => {
                decode_tombstone(value).ok_or("a tombstone cannot be read")?;
                self.group.add(framed);
            }
            Key::Name(set, _) => self.record(set, framed, 1)?,
            Key::Value(set, _, _) => self.record(set, framed, 0)?,
            Key::Registry(_) | Key::RegistryPart(..) => self.group.add(framed),
            Key::RegistryMark => {
                registry::decode_mark(value).ok_or("the mark of its registry cannot be read")?;
                self.group.add(framed);
            }
            Key::Applied | Key::Reclaim(_) => return Err("a key does not belong there".to_owned()),
        }
        Ok(())
    }

    /// Says what is missing or too much, now that there is nothing more.
    pub fn finish(self, mark: &Mark) -> Result<(), String> {
        if let Some(set) = self.missing.keys().next() {
            return Err(format!("actor {} has other records than its header says", set.actor));
        }
        match self.group == mark.digest {
            true => Ok(()),
            false => Err(format!("its digest is {:?}, the mark says {:?}", self.group, mark.digest)),
        }
    }

    fn record(&mut self, set: RecordSet, framed: &[u8], names: u64) -> Result<(), String> {
        let wrong = || format!("actor {} has other records than its header says", set.actor);
        let (digest, count) = self.missing.get_mut(&set).ok_or_else(wrong)?;
        digest.remove(framed);
        *count = count.checked_sub(names).ok_or_else(wrong)?;
        if (*digest, *count) == (Digest::default(), 0) {
            self.missing.remove(&set);
        }
        Ok(())
    }
}
