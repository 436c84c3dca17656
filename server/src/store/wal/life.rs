//! `Life`: whether a group of the log exists, and as which incarnation.
//!
//! A replica that left its group is destroyed: its entries, vote and marks are gone, and a tombstone with its incarnation
//! stays, in every checkpoint from then on. Nothing that was meant for it reaches a later life, and only a higher
//! incarnation begins one.
//!
//! ```text
//! nothing --first change--> Implied (incarnation 0) --.
//!    |                                                 |-- destroy(n) --> Destroyed(n) -- create(m > n) --> Lives(m)
//!    `------create(n)-----> Lives(n) ------------------'
//! ```

use std::{collections::BTreeMap, fmt};

use super::{
    Done, Error, GroupId, GroupLog, Wal,
    front::Front,
    record::{self, Record},
    shared::Op,
};

/// Where a group is in its life on this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Life {
    /// It began with its first change, without being created. Counts as incarnation 0.
    #[default]
    Implied,
    /// It was created as this incarnation.
    Lives(u64),
    /// It was destroyed. No life up to this incarnation comes back.
    Destroyed(u64),
}

impl Life {
    /// The incarnation that lives, if one does.
    pub fn incarnation(self) -> Option<u64> {
        match self {
            Self::Implied => Some(0),
            Self::Lives(incarnation) => Some(incarnation),
            Self::Destroyed(_) => None,
        }
    }

    /// Whether creating `incarnation` changes anything; `None` if it is not possible. A blank group has nothing in it.
    pub(super) fn create(self, incarnation: u64, is_blank: bool) -> Option<bool> {
        match self {
            Self::Implied if is_blank => Some(true),
            Self::Implied => (incarnation == 0).then_some(false),
            Self::Lives(now) => (incarnation == now).then_some(false),
            Self::Destroyed(last) => (incarnation > last).then_some(true),
        }
    }

    /// Whether destroying all lives up to `incarnation` changes anything; `None` if a later one lives.
    pub(super) fn destroy(self, incarnation: u64) -> Option<bool> {
        match self {
            Self::Implied => Some(true),
            Self::Lives(now) => (now <= incarnation).then_some(true),
            Self::Destroyed(last) => Some(incarnation > last),
        }
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Implied => write!(f, "lives without having been created"),
            Self::Lives(incarnation) => write!(f, "lives as incarnation {incarnation}"),
            Self::Destroyed(incarnation) => write!(f, "was destroyed up to incarnation {incarnation}"),
        }
    }
}

impl Wal {
    /// Creates a group, empty, and gives its handle. A repeat changes nothing; `done` gets `Life` if another incarnation
    /// lives or the group was destroyed up to this one or a later one.
    pub fn create(&self, id: GroupId, incarnation: u64, done: Done) -> GroupLog {
        let log = GroupLog::of(id, incarnation, self.handle.clone());
        log.change_life(done, |front| {
            let is_new = front.life().create(incarnation, front.is_blank());
            is_new.map(|is_new| (is_new, Life::Lives(incarnation), Record::Created(incarnation)))
        });
        log
    }

    /// Destroys a group, and keeps it from coming back as this or an earlier incarnation, whether it ever was here or not.
    /// `done` gets `Life` if a later one lives. Segments that only this group needed are deleted afterwards.
    pub fn destroy(&self, id: GroupId, incarnation: u64, done: Done) {
        GroupLog::of(id, incarnation, self.handle.clone()).destroy(done);
    }

    /// The groups that live or were destroyed. One that nothing was ever written to is not there.
    pub fn groups(&self) -> BTreeMap<GroupId, Life> {
        let state = self.handle.shared.state.lock();
        let known = state.fronts.iter().filter(|(_, front)| front.life() != Life::Implied || !front.is_blank());
        known.map(|(id, front)| (*id, front.life())).collect()
    }
}

impl GroupLog {
    /// Destroys this incarnation and all before it; see [`Wal::destroy`].
    pub fn destroy(&self, done: Done) {
        let incarnation = self.incarnation();
        self.change_life(done, |front| {
            let is_new = front.life().destroy(incarnation);
            is_new.map(|is_new| (is_new, Life::Destroyed(incarnation), Record::Destroyed(incarnation)))
        });
    }

    /// Begins or ends a life. What was in the group is gone.
    fn change_life(&self, done: Done, change: impl FnOnce(&Front) -> Option<(bool, Life, Record)>) {
        let (id, incarnation) = (self.id(), self.incarnation());
        // Destroying makes room, as purging does, and creating is rare and small: both may use the whole reserve.
        self.shared().queue(id, record::HEADER + 8, 0, done, |front, _, _| {
            let Some((is_new, life, record)) = change(front) else {
                return Err(Error::Life { group: id, incarnation, life: front.life() });
            };
            if !is_new {
                return Ok(Op::Nothing);
            }
            *front = Front::born(life);
            Ok(Op::Record(record))
        });
    }
}
