//! The control loop: looks what is to be done, and does it, several groups at a time and one step each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use lethe_proto::NodeId;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::task::TaskTracker;

use super::config::ms;
use super::govern::{Change, govern};
use super::hand_over::{Asked, Patience, Wanted, Wish};
use super::handle::Inner;
use super::map::Map;
use super::message::{Confirmed, Report};
use super::steps::{Here, Leads, Step, View, replicas, steps};
use crate::shard::{ChangeError, Epoch, Shard};

/// A group whose step did not end well is left alone for so long.
const REST: Duration = Duration::from_millis(500);

/// What is done at the same time as other things only if it is about something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Group(u32),
    Registry,
}

/// A step that is over.
struct Done {
    subject: Subject,
    transfer: bool,
    /// Why it was not done.
    failed: Option<String>,
}

/// Steps under way, and groups that rest.
struct Work {
    steps: JoinSet<Done>,
    /// Who waits for the steps when the room is stopped.
    tasks: TaskTracker,
    busy: BTreeSet<Subject>,
    resting: BTreeMap<Subject, Instant>,
    transfers: usize,
    /// Whether this node's log could not grow when it was looked last.
    full: bool,
}

/// Controls this node's replicas until the room is stopped.
pub(super) async fn run(inner: Arc<Inner>) {
    let mut tick = tokio::time::interval(ms(inner.config.control_ms));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut maps = inner.map.subscribe();
    let mut work = Work::new(inner.tasks.clone());
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            changed = maps.changed() => if changed.is_err() { return },
            Some(done) = work.steps.join_next() => match done {
                Ok(done) => work.end(done),
                // A panic in a step is a defect, and what it held is not known: its group is not touched again.
                Err(error) => tracing::error!(%error, "a change of a group broke off"),
            }
        }
        let map = maps.borrow_and_update().clone();
        if let Some(map) = map {
            inner.look(&map, &mut work);
        }
    }
}

impl Work {
    fn new(tasks: TaskTracker) -> Self {
        Self {
            steps: JoinSet::new(),
            tasks,
            busy: BTreeSet::new(),
            resting: BTreeMap::new(),
            transfers: 0,
            full: false,
        }
    }

    fn free(&self, subject: Subject, now: Instant) -> bool {
        !self.busy.contains(&subject) && self.resting.get(&subject).is_none_or(|until| *until <= now)
    }

    fn begin(
        &mut self,
        subject: Subject,
        transfer: bool,
        step: impl Future<Output = Result<(), String>> + Send + 'static,
    ) {
        self.busy.insert(subject);
        self.resting.remove(&subject);
        self.transfers += usize::from(transfer);
        let step = async move { Done { subject, transfer, failed: step.await.err() } };
        self.steps.spawn(self.tasks.track_future(step));
    }

    fn end(&mut self, done: Done) {
        let Done { subject, transfer, failed } = done;
        self.busy.remove(&subject);
        self.transfers -= usize::from(transfer);
        if let Some(reason) = failed {
            tracing::debug!(?subject, reason, "a step was not done; it is looked at again");
            self.resting.insert(subject, Instant::now() + REST);
        }
    }
}

/// What `View` borrows.
struct Seen {
    here: BTreeMap<u32, Here>,
    reports: BTreeMap<NodeId, Report>,
    reachable: BTreeSet<NodeId>,
    well: BTreeSet<NodeId>,
    fresh: BTreeSet<NodeId>,
    unwell: BTreeSet<NodeId>,
}

impl Inner {
    /// Begins what is to be done and can be done now.
    fn look(self: &Arc<Self>, map: &Map, work: &mut Work) {
        let now = Instant::now();
        let seen = self.see(now);
        let stopping = self.stopping.load(Ordering::Relaxed);
        let log_full = self.is_log_full();
        let full = log_full && self.shards.log_full().is_some();
        if std::mem::replace(&mut work.full, full) != full {
            // Leaders must not send what this node cannot write.
            self.news.notify_one();
        }
        let view = View {
            me: self.me,
            map,
            here: &seen.here,
            reports: &seen.reports,
            reachable: &seen.reachable,
            well: &seen.well,
            fresh: &seen.fresh,
            lag_max: self.config.lag_max,
            stale: self.lease.stale_for(ms(self.config.resign_ms)),
            stopping,
            log_full,
        };
        let steps = steps(&view);
        self.steer(&steps, now);
        self.hands_over.store(steps.iter().any(|step| matches!(step, Step::Transfer { .. })), Ordering::Relaxed);
        for step in steps {
            let subject = Subject::Group(step.group());
            let transfer = matches!(step, Step::Transfer { .. });
            // Hand-overs wait for calls first, all of them at the same time.
            let full = !transfer && work.busy.len() - work.transfers >= self.config.steps_max;
            if !full && work.free(subject, now) {
                work.begin(subject, transfer, self.clone().take(step));
            }
        }
        if !stopping && work.free(Subject::Registry, now) {
            let (moves, repairs) = (self.config.moves_max, self.config.repairs_max);
            if let Some(change) = govern(&view, &seen.unwell, moves, repairs) {
                work.begin(Subject::Registry, false, self.clone().write(change));
            }
        }
    }

    fn see(&self, now: Instant) -> Seen {
        let here = self.shards.all().iter().map(|shard| (shard.id(), self.see_replica(shard))).collect();
        let mut contacts = self.contacts.lock();
        contacts.look(now, &self.config);
        Seen {
            here,
            reports: contacts.reports(),
            reachable: contacts.reachable(now, &self.config),
            well: contacts.well(now, &self.config),
            fresh: contacts.fresh(now, &self.config),
            unwell: contacts.unwell(),
        }
    }

    fn see_replica(&self, shard: &Shard) -> Here {
        let metrics = shard.metrics();
        let leads = metrics.epoch.and_then(|epoch| {
            let progress = shard.progress()?;
            let confirmed = self.confirmed_in(shard.id(), epoch);
            Some(Leads { last: metrics.last, progress, confirmed })
        });
        Here { incarnation: shard.incarnation(), members: shard.members(), leads }
    }

    /// What this node has confirmed of a group in this leadership.
    pub fn confirmed_in(&self, group: u32, epoch: Epoch) -> Option<Confirmed> {
        self.confirmed.lock().get(&group).filter(|(known, _)| *known == epoch).map(|(_, confirmed)| confirmed.clone())
    }

    /// Writes a change into the registry, and waits until this node sees it, lest it be planned again.
    async fn write(self: Arc<Self>, change: Change) -> Result<(), String> {
        let written = self.registry.write(change.expect, change.ops).await;
        let revision = written.map_err(|error| error.to_string())?;
        self.sees(revision, Instant::now() + ms(self.config.message_ms)).await
    }

    /// Waits until the map has this revision.
    async fn sees(&self, revision: u64, deadline: Instant) -> Result<(), String> {
        match self.map_at(revision, deadline).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) | Err(_) => Err("this node does not follow the registry".to_owned()),
        }
    }

    async fn take(self: Arc<Self>, step: Step) -> Result<(), String> {
        tracing::debug!(?step, "changes a group");
        let shard = |group| self.shards.group(group).ok_or_else(|| "the replica is gone".to_owned());
        let change = |result: Result<(), ChangeError>| result.map_err(|error| error.to_string());
        match step {
            Step::Create { group, incarnation, begin } => {
                let created = self.shards.create(group, incarnation, begin).await;
                created.map(drop).map_err(|error| error.to_string())
            }
            Step::Remove { group } => {
                self.confirmed.lock().remove(&group);
                self.shards.remove(group).await.map_err(|error| error.to_string())
            }
            Step::Confirm { group } => self.confirm(&shard(group)?).await,
            Step::AddLearner { group, replica } => {
                change(shard(group)?.add_learner(replica.node, replica.incarnation).await)
            }
            Step::ChangeVoters { group, voters, keep: true } => {
                change(shard(group)?.change_voters_and_keep(voters).await)
            }
            Step::ChangeVoters { group, voters, keep: false } => change(shard(group)?.change_voters(voters).await),
            Step::RemoveLearner { group, node } => change(shard(group)?.remove_learner(node).await),
            Step::Transfer { group, to, patience } => change(self.transfer(&shard(group)?, to, patience).await),
        }
    }

    /// Tells hand-overs that are under way what is wanted now.
    fn steer(&self, steps: &[Step], now: Instant) {
        for (group, wanted) in &*self.hand_overs.lock() {
            match steps.iter().find(|step| step.group() == *group) {
                Some(Step::Transfer { to, patience, .. }) => wanted.want(*to, *patience),
                Some(_) | None => wanted.unwant(now),
            }
        }
    }

    /// Hands a group's leadership over, its actors first. They are not disturbed for a node that cannot lead, or that
    /// entries do not reach (one that has just come back answers heartbeats before it is sent what it missed), nor when it
    /// turns out meanwhile that there is no reason any more.
    pub async fn transfer(self: &Arc<Self>, shard: &Shard, to: NodeId, patience: Patience) -> Result<(), ChangeError> {
        shard.can_lead(to).map_err(ChangeError::Refused)?;
        shard.catch_up(to, ms(self.config.message_ms)).await?;
        let (group, wanted, began) = (shard.id(), Wanted::new(to, patience), Instant::now());
        self.hand_overs.lock().insert(group, wanted.clone());
        let released = match self.hand_over.get().and_then(Weak::upgrade) {
            Some(hand_over) => hand_over.release(group, self.turns.clone(), self.asked(shard, &wanted)).await,
            None => Some(Box::new(self.turns.clone().acquire_owned().await.ok()) as Box<dyn Send>),
        };
        let release = began.elapsed();
        self.hand_overs.lock().remove(&group);
        let transferred = match wanted.to() {
            Some(to) if released.is_some() && self.would_lead(to) => shard.transfer(to).await,
            _ => Err(ChangeError::Refused(format!("the hand-over of group {group} was given up"))),
        };
        let transfer = began.elapsed() - release;
        tracing::debug!(group, %to, ?release, ?transfer, done = transferred.is_ok(), "a hand-over ended");
        drop(released);
        transferred
    }

    /// What a hand-over asks while it waits.
    fn asked(self: &Arc<Self>, shard: &Shard, wanted: &Arc<Wanted>) -> Asked {
        let (inner, shard, wanted) = (Arc::downgrade(self), shard.clone(), wanted.clone());
        Arc::new(move || match inner.upgrade() {
            Some(inner) if shard.leadership().borrow().is_some() => {
                let able = |to| shard.can_lead(to).is_ok() && inner.would_lead(to);
                wanted.wish(Instant::now(), able)
            }
            Some(_) | None => Wish::GiveUp,
        })
    }

    /// Whether a node has not said since it was chosen that it is about to stop: it would only hand everything on.
    fn would_lead(&self, node: NodeId) -> bool {
        self.contacts.lock().report(node).is_none_or(|report| !report.stopping)
    }

    /// Confirms the newest placement, then the leadership, then who the members are: in the middle of a change of voters
    /// old and new ones, so that a leader who comes upon it can end it.
    async fn confirm(&self, shard: &Shard) -> Result<(), String> {
        let group = shard.id();
        let deadline = Instant::now() + ms(self.config.message_ms);
        let newest = self.registry.confirm(deadline).await.map_err(|error| error.to_string())?;
        self.sees(newest, deadline).await?;
        let placed = self.now().and_then(|map| Some(map.groups.get(&group)?.revision));
        let revision = placed.ok_or_else(|| "the group has no place".to_owned())?;
        let epoch = shard.read_index().await.map_err(|error| error.to_string())?;
        let members = shard.members();
        if epoch.node != self.me || members.pending {
            return Err("its members are changing".to_owned());
        }
        let confirmed =
            Confirmed { revision, voters: replicas(&members.voters), learners: replicas(&members.learners) };
        self.confirmed.lock().insert(group, (epoch, confirmed));
        Ok(())
    }
}
