//! A model of the log, and scripts that run on both. After a power cut the log must be in a state that the model was in,
//! and not an earlier one than the last acknowledged.
//!
//! The model remembers every state it went through, one per entry appended or other change, over all groups together,
//! because durability is a prefix over all groups.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::mpsc::Receiver,
};

use super::*;
use crate::store::vfs::fault::Random;

/// Groups that scripts use.
pub const GROUPS: u32 = 3;

/// One change.
#[derive(Clone, Debug)]
pub enum Step {
    Append {
        group: u32,
        count: u64,
        term_step: u64,
        bytes: usize,
    },
    Vote {
        group: u32,
    },
    /// Keeps so many of the newest entries' predecessors: truncates to `last - back`.
    Truncate {
        group: u32,
        back: u64,
    },
    TruncateAll {
        group: u32,
    },
    /// Purges up to `last - back`; beyond the last entry when negative.
    Purge {
        group: u32,
        back: i64,
    },
    Committed {
        group: u32,
    },
    /// Ends the group.
    Destroy {
        group: u32,
    },
    /// Begins the group again after it was destroyed.
    Create {
        group: u32,
    },
    /// Waits until everything is answered and the keeper rests.
    Settle,
}

/// One group as it must be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    life: Life,
    vote: Option<Bytes>,
    purged: Option<(u64, Bytes)>,
    entries: BTreeMap<u64, WalEntry>,
}

/// All groups as they must be.
pub type State = BTreeMap<u32, Group>;

/// What one step asks of the log.
#[derive(Clone, Debug)]
pub enum Change {
    Append(Vec<WalEntry>),
    Vote(Bytes),
    TruncateAfter(Option<u64>),
    Purge(u64, Bytes),
    Committed(Bytes),
    Destroy,
    Create(u64),
}

impl Group {
    fn last(&self) -> Option<(u64, u64)> {
        self.entries.last_key_value().map(|(index, entry)| (*index, entry.term))
    }

    fn next(&self) -> u64 {
        let after_purge = self.purged.as_ref().map_or(0, |(upto, _)| upto + 1);
        self.last().map_or(after_purge, |(last, _)| last + 1)
    }
}

/// The model.
#[derive(Default)]
pub struct Model {
    /// Every state so far; the first is empty.
    pub states: Vec<State>,
    committed: BTreeMap<u32, Vec<Bytes>>,
    changes: u64,
}

impl Model {
    pub fn new(start: State) -> Self {
        Self { states: vec![start], ..Self::default() }
    }

    /// Goes on from a state that the log was found in.
    pub fn after(&self, found: State) -> Self {
        Self { states: vec![found], committed: self.committed.clone(), changes: self.changes }
    }

    fn now(&self) -> &State {
        &self.states[self.states.len() - 1]
    }

    fn group(&self, group: u32) -> Group {
        self.now().get(&group).cloned().unwrap_or_default()
    }

    fn push(&mut self, id: u32, group: Group) {
        let mut state = self.now().clone();
        state.insert(id, group);
        self.states.push(state);
    }

    /// Takes a step; `None` when it would change nothing.
    pub fn step(&mut self, step: &Step) -> Option<(u32, Change)> {
        self.changes += 1;
        let number = self.changes;
        match *step {
            Step::Create { group: id } => return self.create(id),
            Step::Destroy { group: id } => return self.destroy(id),
            Step::Append { group, .. }
            | Step::Vote { group }
            | Step::Truncate { group, .. }
            | Step::TruncateAll { group }
            | Step::Purge { group, .. }
            | Step::Committed { group } => self.group(group).life.incarnation()?,
            Step::Settle => return None,
        };
        match *step {
            Step::Settle | Step::Create { .. } | Step::Destroy { .. } => None,
            Step::Append { group: id, count, term_step, bytes } => {
                let mut group = self.group(id);
                let term = group.last().map_or(1, |(_, term)| term) + term_step;
                let list: Vec<_> = (group.next()..group.next() + count)
                    .map(|index| {
                        let mut data = format!("{id}/{index}/{number}/").into_bytes();
                        data.resize(bytes.max(data.len()), number as u8);
                        WalEntry { index, term, bytes: data.into() }
                    })
                    .collect();
                for entry in &list {
                    group.entries.insert(entry.index, entry.clone());
                    self.push(id, group.clone());
                }
                Some((id, Change::Append(list)))
            }
            Step::Vote { group: id } => {
                let vote: Bytes = format!("{number:08}").into();
                let group = Group { vote: Some(vote.clone()), ..self.group(id) };
                self.push(id, group);
                Some((id, Change::Vote(vote)))
            }
            Step::Truncate { group: id, back } => {
                let mut group = self.group(id);
                let first = *group.entries.first_key_value()?.0;
                let keep = group.last()?.0.checked_sub(back).filter(|keep| *keep >= first)?;
                group.entries.split_off(&(keep + 1));
                self.push(id, group);
                Some((id, Change::TruncateAfter(Some(keep))))
            }
            Step::TruncateAll { group: id } => {
                let mut group = self.group(id);
                group.entries.clear();
                self.push(id, group);
                Some((id, Change::TruncateAfter(None)))
            }
            Step::Purge { group: id, back } => self.purge(id, back, number),
            Step::Committed { group: id } => {
                let committed: Bytes = format!("committed {number}").into();
                self.committed.entry(id).or_default().push(committed.clone());
                Some((id, Change::Committed(committed)))
            }
        }
    }

    fn create(&mut self, id: u32) -> Option<(u32, Change)> {
        let Life::Destroyed(last) = self.group(id).life else { return None };
        self.push(id, Group { life: Life::Lives(last + 2), ..Group::default() });
        Some((id, Change::Create(last + 2)))
    }

    fn destroy(&mut self, id: u32) -> Option<(u32, Change)> {
        let incarnation = self.group(id).life.incarnation()?;
        self.push(id, Group { life: Life::Destroyed(incarnation), ..Group::default() });
        Some((id, Change::Destroy))
    }

    fn purge(&mut self, id: u32, back: i64, number: u64) -> Option<(u32, Change)> {
        let mut group = self.group(id);
        let upto = group.last()?.0.checked_add_signed(-back)?;
        if group.purged.as_ref().is_some_and(|(purged, _)| *purged >= upto) {
            return None;
        }
        group.entries = group.entries.split_off(&(upto + 1));
        let log_id: Bytes = format!("purged {number}").into();
        group.purged = Some((upto, log_id.clone()));
        self.push(id, group);
        Some((id, Change::Purge(upto, log_id)))
    }

    /// Checks that the log is in a state the model was in at or after `acknowledged`, and gives it.
    pub fn check(&self, wal: &Wal, acknowledged: usize) -> State {
        let found = observe(wal);
        let Some(at) = self.states.iter().rposition(|state| same(state, &found)) else {
            panic!("the log is in a state it never was in: {found:#?}");
        };
        assert!(at >= acknowledged, "state {acknowledged} was acknowledged, the log is back at {at}");
        for id in 1..=GROUPS {
            if let Some(committed) = group(wal, id).state().committed {
                assert!(self.committed[&id].contains(&committed), "nobody saved {committed:?}");
            }
        }
        found
    }
}

impl Model {
    /// Checks one group of a model that used no other.
    pub fn check_group(&self, wal: &Wal, id: u32, acknowledged: usize) {
        let found = observe(wal);
        let default = Group::default();
        let group = |state: &State| state.get(&id).cloned().unwrap_or_default();
        let at = self.states.iter().rposition(|state| group(state) == *found.get(&id).unwrap_or(&default));
        let at = at.unwrap_or_else(|| panic!("group {id} is in a state it never was in: {:#?}", found.get(&id)));
        assert!(at >= acknowledged, "group {id}: state {acknowledged} was acknowledged, the log is back at {at}");
    }
}

/// Whether two states differ only in groups that were never touched.
fn same(one: &State, other: &State) -> bool {
    let default = Group::default();
    (1..=GROUPS).all(|id| one.get(&id).unwrap_or(&default) == other.get(&id).unwrap_or(&default))
}

/// What the log says.
pub fn observe(wal: &Wal) -> State {
    (1..=GROUPS)
        .map(|id| {
            let log = group(wal, id);
            let state = log.state();
            let entries: BTreeMap<_, _> = log
                .read(0..u64::MAX)
                .expect("entries are readable")
                .into_iter()
                .map(|entry| (entry.index, entry))
                .collect();
            let last = entries.last_key_value().map(|(index, entry)| (*index, entry.term));
            assert_eq!(state.last, last, "group {id}");
            assert_eq!(state.first, entries.first_key_value().map(|(index, _)| *index), "group {id}");
            let life = wal.groups().get(&GroupId(id)).copied().unwrap_or_default();
            (id, Group { life, vote: state.vote, purged: state.purged, entries })
        })
        .collect()
}

/// Runs a script on a log and its model.
pub struct Run {
    pub model: Model,
    /// The state that must survive whatever happens.
    pub acknowledged: usize,
    waiting: VecDeque<(usize, Receiver<Result<(), Error>>)>,
    /// Answers that may be outstanding.
    window: usize,
}

impl Run {
    /// From a new log, with so many changes in flight.
    pub fn new(window: usize) -> Self {
        Self::from(Model::new(State::new()), window)
    }

    /// From a log that the model knows.
    pub fn from(model: Model, window: usize) -> Self {
        Self { model, acknowledged: 0, waiting: VecDeque::new(), window }
    }

    /// Takes one step; fails when the log has failed.
    pub fn step(&mut self, wal: &Wal, step: &Step) -> Result<(), Error> {
        if matches!(step, Step::Settle) {
            self.drain(0)?;
            wal.settle();
            return Ok(());
        }
        let Some((id, change)) = self.model.step(step) else { return Ok(()) };
        let log = group(wal, id);
        let (done, answer) = done();
        match change {
            Change::Append(list) => log.append(list, done),
            Change::Vote(vote) => log.save_vote(vote, done),
            Change::TruncateAfter(index) => log.truncate_after(index, done),
            Change::Purge(upto, log_id) => log.purge(upto, log_id, done),
            Change::Destroy => log.destroy(done),
            Change::Create(incarnation) => drop(wal.create(GroupId(id), incarnation, done)),
            Change::Committed(log_id) => {
                log.save_committed(Some(log_id));
                return Ok(());
            }
        }
        self.waiting.push_back((self.model.states.len() - 1, answer));
        self.drain(self.window)
    }

    /// Waits until at most so many answers are outstanding.
    pub fn drain(&mut self, outstanding: usize) -> Result<(), Error> {
        while self.waiting.len() > outstanding {
            let Some((state, answer)) = self.waiting.pop_front() else { break };
            match answer.recv_timeout(DEADLINE).expect("every change is answered") {
                Ok(()) => self.acknowledged = self.acknowledged.max(state),
                Err(error) => {
                    for (_, answer) in self.waiting.drain(..) {
                        let later = answer.recv_timeout(DEADLINE).expect("every change is answered");
                        assert!(later.is_err(), "a change was acknowledged after an earlier one had failed");
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Takes all steps, until one fails.
    pub fn all(&mut self, wal: &Wal, script: &[Step]) -> Result<(), Error> {
        script.iter().try_for_each(|step| self.step(wal, step))?;
        self.drain(0)
    }
}

/// A random script that passes through several segments.
pub fn script(seed: u64, steps: usize) -> Vec<Step> {
    let mut random = Random::new(seed);
    (0..steps)
        .map(|_| {
            let group = 1 + random.below(u64::from(GROUPS)) as u32;
            match random.below(22) {
                0..10 => Step::Append {
                    group,
                    count: 1 + random.below(6),
                    term_step: u64::from(random.percent(20)),
                    bytes: [20, 300, 700, 2000][random.below(4) as usize],
                },
                10..12 => Step::Vote { group },
                12..14 => Step::Truncate { group, back: random.below(5) },
                14 => Step::TruncateAll { group },
                15 => Step::Purge { group, back: -(random.below(3) as i64) },
                16..18 => Step::Purge { group, back: random.below(8) as i64 },
                18 => Step::Committed { group },
                19 => Step::Destroy { group },
                20 => Step::Create { group },
                _ => Step::Settle,
            }
        })
        .collect()
}

/// Where scripts run.
pub fn dir() -> PathBuf {
    PathBuf::from("/wal")
}
