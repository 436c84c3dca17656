//! `Roster`: which replicas this node has and had, in one small file of the data directory.
//!
//! ```text
//! lethe-replicas 1
//! 0 here 1
//! 5 going 12
//! 7 gone 9
//! crc 1a2b3c4d
//! ```
//!
//! Every line is a group, whether its replica is here, and the incarnation: the life of the replica. A replica is
//! entered before it writes anything, and struck off before anything of it is removed; `going` is turned into `gone`
//! when all of it is. What is gone never comes back: a new replica of the group has a higher incarnation.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Error;
use super::config::SLOTS;
use super::identity::{replace, sealed};
use crate::store::vfs::Vfs;

const FILE: &str = "replicas";
const HEAD: &str = "lethe-replicas 1\n";
/// Longest file: a line for each group there can be.
const BYTES_MAX: u64 = (SLOTS as u64 + 2) * 48;

/// Where a replica is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It is, or was about to be made.
    Here,
    /// Its removal has begun.
    Going,
    /// Nothing of it is left.
    Gone,
}

/// A line of the roster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub stage: Stage,
    pub incarnation: u64,
}

/// The replicas of a data directory. What it says is durable when a call returns.
pub(super) struct Roster {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    entries: BTreeMap<u32, Entry>,
}

impl Roster {
    /// Reads the file; a directory without one has no replicas. Blocks.
    pub fn open(vfs: Arc<dyn Vfs>, dir: &Path) -> Result<Self, Error> {
        let path = dir.join(FILE);
        let io = |source| Error::Io { action: "read", path: path.clone(), source };
        let mut entries = BTreeMap::new();
        if vfs.exists(&path).map_err(io)? {
            let bytes = vfs.open(&path).and_then(|file| file.read_whole(BYTES_MAX)).map_err(io)?;
            let damaged = || {
                let path = path.display();
                Error::Refused(format!("{path} is damaged or of another version; without it replicas are unknown"))
            };
            entries = parse(&bytes).ok_or_else(damaged)?;
        }
        Ok(Self { vfs, dir: dir.to_owned(), entries })
    }

    /// All lines, by group.
    pub fn entries(&self) -> &BTreeMap<u32, Entry> {
        &self.entries
    }

    /// Enters a replica. Refuses one that is older than what the group had, or that was removed. Blocks.
    pub fn enter(&mut self, group: u32, incarnation: u64) -> Result<(), Error> {
        match self.entries.get(&group) {
            Some(entry) if entry.stage == Stage::Here && entry.incarnation == incarnation => return Ok(()),
            Some(entry) if entry.stage == Stage::Gone && entry.incarnation < incarnation => {}
            Some(entry) => {
                let Entry { stage, incarnation: old } = entry;
                let what = format!("its replica with incarnation {old} is {}", word(*stage));
                return Err(Error::Refused(format!("group {group}: incarnation {incarnation} cannot be made: {what}")));
            }
            None => {}
        }
        self.put(group, Entry { stage: Stage::Here, incarnation })
    }

    /// Moves a replica on in its life. Blocks.
    pub fn put(&mut self, group: u32, entry: Entry) -> Result<(), Error> {
        let mut entries = self.entries.clone();
        entries.insert(group, entry);
        replace(&*self.vfs, &self.dir, FILE, text(&entries).as_bytes())?;
        self.entries = entries;
        Ok(())
    }
}

fn text(entries: &BTreeMap<u32, Entry>) -> String {
    let line = |(group, entry): (&u32, &Entry)| format!("{group} {} {}\n", word(entry.stage), entry.incarnation);
    sealed(std::iter::once(HEAD.to_owned()).chain(entries.iter().map(line)).collect())
}

fn word(stage: Stage) -> &'static str {
    match stage {
        Stage::Here => "here",
        Stage::Going => "going",
        Stage::Gone => "gone",
    }
}

fn parse(bytes: &[u8]) -> Option<BTreeMap<u32, Entry>> {
    let whole = std::str::from_utf8(bytes).ok()?;
    let (lines, _) = whole.strip_prefix(HEAD)?.split_once("crc ")?;
    let mut entries = BTreeMap::new();
    for line in lines.lines() {
        let (group, rest) = line.split_once(' ')?;
        let (stage, incarnation) = rest.split_once(' ')?;
        let stage = [Stage::Here, Stage::Going, Stage::Gone].into_iter().find(|known| word(*known) == stage)?;
        entries.insert(group.parse().ok()?, Entry { stage, incarnation: incarnation.parse().ok()? });
    }
    (text(&entries) == whole).then_some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::vfs::StdVfs;

    fn open(dir: &Path) -> Result<Roster, Error> {
        Roster::open(Arc::new(StdVfs), dir)
    }

    #[test]
    fn the_roster_is_the_same_after_it_was_read_again_and_any_changed_byte_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut roster = open(dir.path()).unwrap();
        assert_eq!(roster.entries().len(), 0);
        roster.enter(0, 1).unwrap();
        roster.enter(64, u64::MAX).unwrap();
        roster.put(64, Entry { stage: Stage::Going, incarnation: u64::MAX }).unwrap();
        roster.put(7, Entry { stage: Stage::Gone, incarnation: 3 }).unwrap();
        let entries = roster.entries().clone();
        assert_eq!(*open(dir.path()).unwrap().entries(), entries);

        let path = dir.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            std::fs::write(&path, changed).unwrap();
            assert!(open(dir.path()).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_replica_that_is_gone_comes_back_only_with_a_higher_incarnation() {
        let dir = tempfile::tempdir().unwrap();
        let mut roster = open(dir.path()).unwrap();
        roster.enter(3, 5).unwrap();
        roster.enter(3, 5).unwrap();
        assert!(roster.enter(3, 6).is_err(), "one at a time");
        roster.put(3, Entry { stage: Stage::Going, incarnation: 5 }).unwrap();
        assert!(roster.enter(3, 6).is_err(), "the old one is not gone yet");
        roster.put(3, Entry { stage: Stage::Gone, incarnation: 5 }).unwrap();
        assert!(roster.enter(3, 5).is_err() && roster.enter(3, 4).is_err());
        roster.enter(3, 6).unwrap();
        assert_eq!(open(dir.path()).unwrap().entries()[&3], Entry { stage: Stage::Here, incarnation: 6 });
    }
}
