//! Checks a whole tree against its digests, as after an unclean stop and before a loaded snapshot counts.

use super::digest::Digest;
use super::key::Key;
use super::life::{Actor, decode_tombstone};
use super::tree::Tree;
use super::{Mark, digest};

/// Reads everything a header, a tombstone or the registry reaches and compares it with the digests; says what does not fit.
pub(super) fn verify(tree: &Tree, mark: &Mark) -> Result<(), String> {
    let mut group = Digest::default();
    for entry in tree.prefix(&Key::headers()) {
        let (key, framed) = entry.map_err(|error| error.to_string())?;
        let value = digest::unframe(&key, &framed).ok_or("a header does not fit its checksum")?;
        group.add(&framed);
        let actor = Actor::decode(value).ok_or("a header cannot be read")?;
        if Key::Header(actor.id()).encode()[..] != key[..] {
            return Err("a header stands under another actor's key".to_owned());
        }
        records(tree, &actor)?;
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

fn records(tree: &Tree, actor: &Actor) -> Result<(), String> {
    let mut sum = Digest::default();
    let mut count = 0;
    for (prefix, is_name) in [(actor.set().names(), true), (actor.set().values(), false)] {
        for entry in tree.prefix(&prefix) {
            let (key, framed) = entry.map_err(|error| error.to_string())?;
            digest::unframe(&key, &framed).ok_or("a record does not fit its checksum")?;
            sum.add(&framed);
            count += u64::from(is_name);
        }
    }
    if sum != actor.digest || count != actor.header.records {
        return Err(format!("actor {} has other records than its header says", actor.id()));
    }
    Ok(())
}
