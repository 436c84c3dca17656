//! `Registry`: names with revisions, held by the system group, which every node has a replica of.
//!
//! Reads are local, and as old as this node's replica; `confirm` tells how new they are. Writes go to the leader of the
//! system group, wherever it is, and compare revisions, so they can be repeated: one whose answer is lost is tried again,
//! and if then a conflict is found, the names are looked at. Exactly-once follows from the comparison, not from the way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lethe_proto::NodeId;
use tokio::sync::watch;

use super::config::{Config, ms};
use super::error::{Error, WriteError, not_delivered};
use super::map::{Map, Row, SYSTEM};
use super::message::{Ask, Told, decode, encode};
use super::pause::Pause;
use crate::peer::{Head, Lane, Topic, Transport};
use crate::shard::{Applied, Command, Expect, NotDone, ProposeError, ReadError, RegistryOp, Rejection, Shard, Shards};

/// Pauses before a write is tried again: at first, and at most.
const RETRY_MIN: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_millis(200);
/// Names read at once.
const PAGE_NAMES: usize = 1024;
/// Times that a read of several pages is begun again because the registry changed meanwhile.
const READS_MAX: usize = 1000;
/// What is said where nobody is known to lead.
const NO_LEADER: &str = "the system group has no leader";
/// What is said when a read is given up.
const BUSY: &str = "the registry changes too fast to be read";
/// Writes from this size on do not stand before what is urgent, in bytes.
const LARGE_BYTES: usize = 64 << 10;
/// Beginnings of the names that make up the map.
const MAP_NAMES: [&str; 4] =
    [super::record::CLUSTER, super::record::NODE, super::record::GROUP, super::record::SLOT_MAP];

/// The registry, as this node reaches it. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    shards: Arc<Shards>,
    transport: Arc<dyn Transport>,
    config: Arc<Config>,
}

/// One name of the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub name: Bytes,
    /// The revision it was last put at.
    pub revision: u64,
    /// Its value.
    pub value: Bytes,
}

impl Registry {
    pub(super) fn new(shards: Arc<Shards>, transport: Arc<dyn Transport>, config: Arc<Config>) -> Self {
        Self { shards, transport, config }
    }

    /// A name's revision and value, as this node has it.
    pub async fn get(&self, name: &str) -> Result<Option<(u64, Bytes)>, Error> {
        Ok(self.system()?.registry_get(Bytes::copy_from_slice(name.as_bytes())).await?)
    }

    /// All names that begin with `prefix`, in order, as this node has them, and the newest revision when they were read.
    /// They are of one revision.
    pub async fn range(&self, prefix: &str) -> Result<(u64, Vec<Entry>), Error> {
        let system = self.system()?;
        'again: for _ in 0..READS_MAX {
            let (mut revision, mut after, mut entries) = (None, None, Vec::new());
            loop {
                let from = Bytes::copy_from_slice(prefix.as_bytes());
                let page = system.registry_range(from, after, PAGE_NAMES).await?;
                if *revision.get_or_insert(page.revision) != page.revision {
                    continue 'again;
                }
                let rows = page.entries.into_iter();
                entries.extend(rows.map(|row| Entry { name: row.name, revision: row.revision, value: row.value }));
                after = entries.last().map(|entry: &Entry| entry.name.clone());
                if !page.more {
                    return Ok((page.revision, entries));
                }
            }
        }
        Err(Error::NotNow(BUSY.to_owned()))
    }

    /// The newest revision that this node has, as it changes.
    pub fn changed(&self) -> Result<watch::Receiver<u64>, Error> {
        Ok(self.system()?.registry_changed())
    }

    /// Changes names, all or none, if the expected revisions are so (none: the name must not exist). Says at which
    /// revision it was done; this node may not have that one yet.
    pub async fn write(&self, expect: Vec<Expect>, ops: Vec<RegistryOp>) -> Result<u64, WriteError> {
        let deadline = Instant::now() + ms(self.config.write_ms);
        let (mut pause, mut unknown) = (Pause::new(RETRY_MIN, RETRY_MAX), None);
        loop {
            let told = self.ask(Ask::Write { expect: expect.clone(), ops: ops.clone() }, deadline).await;
            let reason = match told {
                Told::Revision(revision) => return Ok(revision),
                Told::Conflict(name) if unknown.is_none() => return Err(WriteError::Conflict(name)),
                Told::Conflict(name) => return self.resolve(&ops, name, deadline).await,
                Told::Refused(reason) => return Err(WriteError::Refused(reason)),
                Told::NotLeader(_) => NO_LEADER.to_owned(),
                Told::NotNow(reason) => reason,
                Told::Unknown(reason) => unknown.insert(reason).clone(),
            };
            if !pause.before(deadline).await {
                return Err(unknown.map_or(WriteError::NotDone(reason), WriteError::Unknown));
            }
        }
    }

    /// Waits until this node has everything that was written before the call. Says the newest revision then.
    pub async fn confirm(&self, deadline: Instant) -> Result<u64, WriteError> {
        let not_done = |reason: &str| WriteError::NotDone(reason.to_owned());
        let mut pause = Pause::new(RETRY_MIN, RETRY_MAX);
        let revision = loop {
            let reason = match self.ask(Ask::Confirm, deadline).await {
                Told::Revision(revision) => break revision,
                Told::Conflict(reason) | Told::Refused(reason) | Told::NotNow(reason) | Told::Unknown(reason) => reason,
                Told::NotLeader(_) => NO_LEADER.to_owned(),
            };
            if !pause.before(deadline).await {
                return Err(WriteError::NotDone(reason));
            }
        };
        let mut changed = self.changed().map_err(|error| WriteError::NotDone(error.to_string()))?;
        let have = tokio::time::timeout_at(deadline.into(), changed.wait_for(|here| *here >= revision));
        match have.await {
            Ok(Ok(now)) => Ok(*now),
            Ok(Err(_)) => Err(not_done("the node stops")),
            Err(_) => Err(not_done("this node lags behind")),
        }
    }

    /// The map, as this node has it; none before the cluster is made.
    pub(super) async fn map(&self) -> Result<Option<Map>, Error> {
        'again: for _ in 0..READS_MAX {
            let (mut rows, mut revision) = (Vec::<Row>::new(), None);
            for prefix in MAP_NAMES {
                let (now, entries) = self.range(prefix).await?;
                if *revision.get_or_insert(now) != now {
                    continue 'again;
                }
                rows.extend(entries.into_iter().map(|entry| (entry.name, entry.revision, entry.value)));
            }
            return Ok(Map::read(revision.unwrap_or(0), rows)?);
        }
        Err(Error::NotNow(BUSY.to_owned()))
    }

    /// Answers another node that takes this one for the leader.
    pub(super) async fn answer(&self, ask: Ask) -> Told {
        let Ok(system) = self.system() else { return Told::NotLeader(None) };
        let epoch = *system.leadership().borrow();
        let Some(epoch) = epoch else { return Told::NotLeader(*system.leader().borrow()) };
        match ask {
            Ask::Confirm => match system.read_index().await {
                Ok(_) => Told::Revision(*system.registry_changed().borrow()),
                Err(ReadError::NotLeader { leader }) => Told::NotLeader(leader),
                Err(error) => Told::NotNow(error.to_string()),
            },
            Ask::Write { expect, ops } => match system.propose(epoch, Command::Register { expect, ops }).await {
                Ok(applied) => told(applied),
                Err(ProposeError::NotDone(NotDone::NotLeader { leader })) => Told::NotLeader(leader),
                Err(ProposeError::NotDone(reason)) => Told::NotNow(reason.to_string()),
                Err(ProposeError::Unknown(reason)) => Told::Unknown(reason),
            },
        }
    }

    /// Asks the leader of the system group, this node or another.
    async fn ask(&self, ask: Ask, deadline: Instant) -> Told {
        let Ok(system) = self.system() else { return Told::NotLeader(None) };
        let leader = *system.leader().borrow();
        match leader {
            None => Told::NotLeader(None),
            Some(node) if node == self.shards.node() => {
                match tokio::time::timeout_at(deadline.into(), self.answer(ask)).await {
                    Ok(told) => told,
                    Err(_) => Told::Unknown("there was no result in time".to_owned()),
                }
            }
            Some(node) => self.ask_node(node, &ask, deadline).await,
        }
    }

    async fn ask_node(&self, node: NodeId, ask: &Ask, deadline: Instant) -> Told {
        let message = encode(ask);
        let lane = if message.len() < LARGE_BYTES { Lane::Control } else { Lane::Bulk };
        let head = Head { lane, topic: Topic::Registry, group: SYSTEM, incarnation: 0 };
        let deadline = deadline.min(Instant::now() + ms(self.config.message_ms));
        match self.transport.call(node, head, message, deadline).await {
            Ok(answer) => match decode(&answer) {
                Ok(told) => told,
                Err(refusal) => Told::Unknown(refusal.to_string()),
            },
            Err(error) if not_delivered(&error) => Told::NotNow(error.to_string()),
            Err(error) => Told::Unknown(error.to_string()),
        }
    }

    /// A write was tried more than once, and the last try found that a name is not as expected: perhaps by an earlier try.
    async fn resolve(&self, ops: &[RegistryOp], conflict: String, deadline: Instant) -> Result<u64, WriteError> {
        let unknown = |error: &dyn std::fmt::Display| WriteError::Unknown(error.to_string());
        self.confirm(deadline).await.map_err(|error| unknown(&error))?;
        let system = self.system().map_err(|error| unknown(&error))?;
        let mut done_at = None;
        for op in ops {
            let (name, wanted) = match op {
                RegistryOp::Put { key, value } => (key, Some(value)),
                RegistryOp::Delete { key } => (key, None),
            };
            let found = system.registry_get(name.clone()).await.map_err(|error| unknown(&error))?;
            if found.as_ref().map(|(_, value)| value) != wanted {
                return Err(unknown(&format!("`{conflict}` was changed by an earlier try or by somebody else")));
            }
            done_at = done_at.max(found.map(|(revision, _)| revision));
        }
        done_at.ok_or_else(|| unknown(&format!("`{conflict}` is gone, by an earlier try or by somebody else")))
    }

    pub(super) fn system(&self) -> Result<Shard, Error> {
        self.shards.group(SYSTEM).ok_or(Error::Stopped)
    }
}

fn told(applied: Applied) -> Told {
    match applied {
        Applied::Registered { revision } => Told::Revision(revision),
        Applied::Rejected(Rejection::Conflict { key }) => Told::Conflict(String::from_utf8_lossy(&key).into_owned()),
        Applied::Rejected(rejection) => Told::Refused(rejection.to_string()),
        Applied::Activated(_) | Applied::Written | Applied::Destroyed { .. } => {
            Told::Refused("it was taken for something else".to_owned())
        }
    }
}
