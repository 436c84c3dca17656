//! One group as its callers see it: changes take effect here at once, and on disk a little later.
//!
//! The tail holds the newest entries in memory: all that are not yet durable, and durable ones up to a bound.
//! Older entries are found through [`Track`](super::track::Track).

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Error, GroupId, GroupState, Life, WalEntry, track};

/// Number of a request; requests become durable in this order.
pub type Ticket = u64;

#[derive(Debug)]
struct Cached {
    term: u64,
    bytes: Bytes,
    ticket: Ticket,
}

/// One group in memory.
#[derive(Debug, Default)]
pub struct Front {
    life: Life,
    vote: Option<Bytes>,
    committed: Option<Bytes>,
    purged: Option<(u64, Bytes)>,
    first: u64,
    last: Option<(u64, u64)>,
    tail: VecDeque<Cached>,
    tail_bytes: u64,
}

impl Front {
    /// A group as recovery found it; nothing is in memory yet.
    pub fn from_disk(group: &track::Group) -> Self {
        Self {
            life: group.life,
            vote: group.vote.clone(),
            committed: group.committed.clone(),
            purged: group.purged.clone(),
            first: group.first,
            last: group.last(),
            ..Self::default()
        }
    }

    /// A group whose life just began or ended: there is nothing in it.
    pub fn born(life: Life) -> Self {
        Self { life, ..Self::default() }
    }

    /// Whether it exists.
    pub fn life(&self) -> Life {
        self.life
    }

    /// Whether nothing was ever written to it in this life.
    pub fn is_blank(&self) -> bool {
        self.vote.is_none() && self.committed.is_none() && self.purged.is_none() && self.last.is_none()
    }

    /// The public view.
    pub fn state(&self) -> GroupState {
        GroupState {
            life: self.life,
            vote: self.vote.clone(),
            committed: self.committed.clone(),
            purged: self.purged.clone(),
            first: self.last.map(|_| self.first),
            last: self.last,
        }
    }

    /// Whether these entries may follow what is there.
    pub fn check_append<'a>(
        &self,
        group: GroupId,
        entries: impl Iterator<Item = &'a WalEntry> + Clone,
    ) -> Result<(), Error> {
        let (mut expected, mut last_term) = match (self.last, &self.purged) {
            (Some((last, term)), _) => (last.checked_add(1), term),
            (None, Some((upto, _))) => (upto.checked_add(1), 0),
            (None, None) => (entries.clone().next().map(|entry| entry.index), 0),
        };
        for entry in entries {
            if expected != Some(entry.index) || entry.index == u64::MAX {
                return Err(Error::Hole { group, index: entry.index, expected: expected.unwrap_or(u64::MAX) });
            }
            if entry.term < last_term {
                return Err(Error::Term { group, index: entry.index, term: entry.term, last: last_term });
            }
            last_term = entry.term;
            expected = entry.index.checked_add(1);
        }
        Ok(())
    }

    /// Takes entries that were checked.
    pub fn append<'a>(&mut self, entries: impl Iterator<Item = &'a WalEntry>, ticket: Ticket) {
        for entry in entries {
            if self.last.is_none() {
                self.first = entry.index;
            }
            self.last = Some((entry.index, entry.term));
            self.tail_bytes += entry.bytes.len() as u64;
            self.tail.push_back(Cached { term: entry.term, bytes: entry.bytes.clone(), ticket });
        }
    }

    /// The vote so far.
    pub fn vote(&self) -> Option<&Bytes> {
        self.vote.as_ref()
    }

    /// Takes a vote.
    pub fn save_vote(&mut self, vote: Bytes) {
        self.vote = Some(vote);
    }

    /// What is committed.
    pub fn committed(&self) -> Option<&Bytes> {
        self.committed.as_ref()
    }

    /// Takes what is committed.
    pub fn save_committed(&mut self, log_id: Option<Bytes>) {
        self.committed = log_id;
    }

    /// Drops entries above `index`; `true` when there were any. `disk` knows the terms of entries not in memory.
    pub fn truncate_after(
        &mut self,
        group: GroupId,
        index: Option<u64>,
        disk: Option<&track::Group>,
    ) -> Result<bool, Error> {
        if let (Some(index), Some((purged, _))) = (index, &self.purged)
            && index < *purged
        {
            return Err(Error::Purged { group, index, purged: *purged });
        }
        let Some((last, _)) = self.last.filter(|(last, _)| index.is_none_or(|index| *last > index)) else {
            return Ok(false);
        };
        let keep = index.filter(|index| *index >= self.first);
        let tail_keep = keep.map_or(0, |keep| (keep + 1).saturating_sub(self.tail_first(last)) as usize);
        for cached in self.tail.drain(tail_keep.min(self.tail.len())..) {
            self.tail_bytes -= cached.bytes.len() as u64;
        }
        self.last = keep.map(|keep| {
            let cached = self.tail.back().map(|cached| cached.term);
            let term = cached.or_else(|| disk?.slot(keep).map(|slot| slot.term));
            (keep, term.expect("an entry that is not in memory is on disk"))
        });
        Ok(true)
    }

    /// Drops entries up to `upto`, inclusive; `false` when that was done before.
    pub fn purge(&mut self, upto: u64, log_id: Bytes) -> bool {
        if self.purged.as_ref().is_some_and(|(purged, _)| *purged >= upto) {
            return false;
        }
        self.purged = Some((upto, log_id));
        if let Some((last, _)) = self.last {
            let gone = upto.saturating_add(1).saturating_sub(self.tail_first(last)) as usize;
            for cached in self.tail.drain(..gone.min(self.tail.len())) {
                self.tail_bytes -= cached.bytes.len() as u64;
            }
            self.first = self.first.max(upto.saturating_add(1));
            self.last = self.last.filter(|(last, _)| *last > upto);
        }
        true
    }

    fn tail_first(&self, last: u64) -> u64 {
        last + 1 - self.tail.len() as u64
    }

    /// First and last live index.
    pub fn bounds(&self) -> Option<(u64, u64)> {
        self.last.map(|(last, _)| (self.first, last))
    }

    /// An entry, if it is in memory.
    pub fn cached(&self, index: u64) -> Option<WalEntry> {
        let (last, _) = self.last?;
        let at = usize::try_from(index.checked_sub(self.tail_first(last))?).ok()?;
        self.tail.get(at).map(|cached| WalEntry { index, term: cached.term, bytes: cached.bytes.clone() })
    }

    /// Forgets the oldest entries in memory that are durable, down to `bytes_max`.
    pub fn evict(&mut self, durable: Ticket, bytes_max: u64) {
        while self.tail_bytes > bytes_max
            && let Some(cached) = self.tail.pop_front_if(|cached| cached.ticket <= durable)
        {
            self.tail_bytes -= cached.bytes.len() as u64;
        }
    }
}
