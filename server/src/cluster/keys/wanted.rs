//! Keys that this node should have and does not, by their groups.

use std::collections::{BTreeMap, BTreeSet};

use crate::vault::Owner;

/// Owners that are remembered one by one; beyond that the whole group is looked through.
const OWNERS_MAX: usize = 4096;

/// What is wanted of all groups.
#[derive(Debug, Default)]
pub(super) struct AllWanted {
    groups: BTreeMap<u32, Wanted>,
}

#[derive(Debug, Default)]
struct Wanted {
    /// Known to be missing.
    owners: BTreeSet<Owner>,
    /// How often it was asked to look through the whole group, and how many of these were done.
    scans: u64,
    scanned: u64,
}

impl AllWanted {
    /// Wants one key.
    pub fn add(&mut self, group: u32, owner: Owner) {
        let wanted = self.groups.entry(group).or_default();
        if wanted.owners.len() < OWNERS_MAX {
            wanted.owners.insert(owner);
        } else {
            wanted.scans += 1;
        }
    }

    /// Wants every key of the group that is not here.
    pub fn scan(&mut self, group: u32) {
        self.groups.entry(group).or_default().scans += 1;
    }

    /// The scan to do next in this group, if one is wanted.
    pub fn next_scan(&self, group: u32) -> Option<u64> {
        self.groups.get(&group).filter(|wanted| wanted.scanned < wanted.scans).map(|wanted| wanted.scans)
    }

    /// A scan that began as this one is done.
    pub fn scanned(&mut self, group: u32, scan: u64) {
        if let Some(wanted) = self.groups.get_mut(&group) {
            wanted.scanned = wanted.scanned.max(scan);
        }
    }

    /// The keys known to be missing.
    pub fn owners(&self, group: u32) -> Vec<Owner> {
        self.groups.get(&group).map(|wanted| wanted.owners.iter().copied().collect()).unwrap_or_default()
    }

    /// These are not wanted any more.
    pub fn settle<'a>(&mut self, group: u32, owners: impl IntoIterator<Item = &'a Owner>) {
        if let Some(wanted) = self.groups.get_mut(&group) {
            for owner in owners {
                wanted.owners.remove(owner);
            }
        }
    }

    /// Groups of which something is wanted.
    pub fn groups(&self) -> Vec<u32> {
        self.groups.keys().copied().filter(|group| self.missing(*group) > 0).collect()
    }

    /// Nothing of this group is wanted any more.
    pub fn forget(&mut self, group: u32) {
        self.groups.remove(&group);
    }

    /// How much is known to be missing; a scan to be done counts one.
    pub fn missing(&self, group: u32) -> usize {
        let missing = |wanted: &Wanted| wanted.owners.len() + usize::from(wanted.scanned < wanted.scans);
        self.groups.get(&group).map_or(0, missing)
    }
}
