//! Checks a whole tree against its digests, as after an unclean stop and before a loaded snapshot counts.

use std::iter::Peekable;

use super::digest::Digest;
use super::key::Key;
use super::life::{Actor, decode_tombstone};
use super::tree::{Bytes, Tree};
use super::{Error, Mark, digest};

/// Reads everything a header, a tombstone or the registry reaches and compares it with the digests; says what does not fit.
pub(super) fn verify(tree: &Tree, mark: &Mark) -> Result<(), String> {
    let mut group = Digest::default();
    // Headers and records stand in the same order, so each family is read once, from its start to its end.
    let mut names = Records { entries: tree.prefix(&Key::names()).peekable() };
    let mut values = Records { entries: tree.prefix(&Key::values()).peekable() };
    for entry in tree.prefix(&Key::headers()) {
        let (key, framed) = entry.map_err(|error| error.to_string())?;
        let value = digest::unframe(&key, &framed).ok_or("a header does not fit its checksum")?;
        group.add(&framed);
        let actor = Actor::decode(value).ok_or("a header cannot be read")?;
        if Key::Header(actor.id()).encode()[..] != key[..] {
            return Err("a header stands under another actor's key".to_owned());
        }
        let (mut sum, count) = names.take(&actor.set().names())?;
        sum.merge(values.take(&actor.set().values())?.0);
        if sum != actor.digest || count != actor.header.records {
            return Err(format!("actor {} has other records than its header says", actor.id()));
        }
    }
    for entry in tree.prefix(&Key::tombstones()) {
        let (key, framed) = entry.map_err(|error| error.to_string())?;
        let value = digest::unframe(&key, &framed).ok_or("a tombstone does not fit its checksum")?;
        group.add(&framed);
        decode_tombstone(value).ok_or("a tombstone cannot be read")?;
    }
    for family in Key::registry_families() {
        for entry in tree.prefix(&family) {
            let (key, framed) = entry.map_err(|error| error.to_string())?;
            digest::unframe(&key, &framed).ok_or("a value of the registry does not fit its checksum")?;
            group.add(&framed);
        }
    }
    match group == mark.digest {
        true => Ok(()),
        false => Err(format!("its digest is {group:?}, the mark says {:?}", mark.digest)),
    }
}

/// The records of one family, in the order of their actors.
struct Records<I: Iterator> {
    entries: Peekable<I>,
}

impl<I: Iterator<Item = Result<(Bytes, Bytes), Error>>> Records<I> {
    /// Digest and number of those that begin with `prefix`. What stands before them is reached by no header and left out.
    fn take(&mut self, prefix: &[u8]) -> Result<(Digest, u64), String> {
        let mut sum = Digest::default();
        let mut count = 0;
        let comes =
            |entry: &I::Item| entry.as_ref().map_or(true, |(key, _)| key[..] < *prefix || key.starts_with(prefix));
        while let Some(entry) = self.entries.next_if(comes) {
            let (key, framed) = entry.map_err(|error| error.to_string())?;
            if key.starts_with(prefix) {
                digest::unframe(&key, &framed).ok_or("a record does not fit its checksum")?;
                sum.add(&framed);
                count += 1;
            }
        }
        Ok((sum, count))
    }
}
