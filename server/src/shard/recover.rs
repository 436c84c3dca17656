//! Brings a group's state to where its log can take over.
//!
//! The log is the truth from where it was purged; a verified snapshot stands for what is before. State that ends
//! before the log begins, or that does not belong to this log, is replaced by the newest snapshot that is whole and
//! reaches the log. If there is none the node refuses to start: an empty replica must never vote as if it knew.
//!
//! State may also be ahead of the log: other replicas can commit an entry before this node's own disk has it, and the
//! entry is applied at once. What then died with the process was never promised; the state is rebuilt from what the log
//! has, and the rest comes from the leader. Only a node that votes alone must have had everything in its own log.

use std::sync::Arc;

use super::log::Log;
use super::machine::load;
use super::{Error, codec};
use crate::store::snapshot::{self, Found};
use crate::store::state::{Group, Store};

/// A group's state, and its newest sound snapshot.
pub(super) struct Recovered {
    pub group: Arc<Group>,
    pub current: Option<Found>,
    /// The state was loaded from a snapshot.
    pub loaded: bool,
}

/// Opens a group's state. Blocks.
pub(super) fn recover(
    store: &Store,
    snapshots: &snapshot::Dir,
    log: &Log,
    id: u32,
    incarnation: u64,
) -> Result<Recovered, Error> {
    let io = |source| Error::Refused(format!("group {id}: {source}"));
    let (purged, last) = log.state().map_err(io)?;
    let found = snapshots.list(id)?;
    let mut group = store.group(id, incarnation)?;
    let why = match foreign(&group, log, &found).map_err(io)? {
        Some(why) => Some(why),
        None => ahead(&group, last.map(|log_id| log_id.index), &found, id)?,
    };
    if let Some(why) = why {
        tracing::warn!(group = id, why, "state does not belong to the log; it is dropped and rebuilt");
        drop(group);
        group = store.reset(id, incarnation)?;
    }
    let begin = purged.map(|log_id| log_id.index);
    let applied = group.mark().index();
    // Those ahead of the state are tried here, and openraft hears of none that is damaged: it would install it.
    let reaches = |snapshot: &&Found| snapshot.head.mark.index() > applied && snapshot.head.mark.index() >= begin;
    for snapshot in found.iter().filter(reaches) {
        match load(&group, snapshots, snapshot) {
            Ok(()) => {
                tracing::info!(group = id, path = %snapshot.path.display(), "state is rebuilt from a snapshot");
                return Ok(Recovered { group, current: Some(snapshot.clone()), loaded: true });
            }
            Err(error) => tracing::error!(group = id, %error, "a snapshot is refused"),
        }
    }
    if applied >= begin {
        let current = found.into_iter().find(|snapshot| snapshot.head.mark.index() <= applied);
        return Ok(Recovered { group, current, loaded: false });
    }
    Err(Error::Refused(format!(
        "group {id}: its log begins behind entry {}, its state ends at {}, and no whole snapshot reaches the log; this \
         replica is lost and must be replaced by a new node",
        begin.unwrap_or(0),
        group.mark().index().map_or("nothing".to_owned(), |index| format!("entry {index}")),
    )))
}

/// Why the state cannot have come from this log, if so.
fn foreign(group: &Group, log: &Log, found: &[Found]) -> std::io::Result<Option<&'static str>> {
    let Some(applied) = group.mark().applied else { return Ok(None) };
    let log_id = match codec::decode_log_id(&applied.log_id) {
        Ok(log_id) => log_id,
        Err(_) => return Ok(Some("its position cannot be read")),
    };
    let same_place = found.iter().filter_map(|snapshot| snapshot.head.mark.applied.as_ref());
    if same_place.into_iter().any(|position| position.index == applied.index && position.log_id != applied.log_id) {
        return Ok(Some("a snapshot has another entry at its position"));
    }
    match log.log_id(applied.index)? {
        Some(logged) if logged != log_id => Ok(Some("the log has another entry at its position")),
        Some(_) | None => Ok(None),
    }
}

/// Why the state must be rebuilt because it is ahead of the log, if so.
fn ahead(group: &Group, last: Option<u64>, found: &[Found], id: u32) -> Result<Option<&'static str>, Error> {
    let mark = group.mark();
    let applied = mark.index();
    let covered = found.iter().any(|snapshot| snapshot.head.mark.index() >= applied);
    if applied <= last || covered {
        return Ok(None);
    }
    let membership = codec::decode_membership(&mark.membership);
    let membership = membership.map_err(|error| Error::Refused(format!("group {id}: {error}")))?;
    if membership.voter_ids().count() > 1 {
        return Ok(Some("other replicas committed its last entries before this log had them"));
    }
    Err(Error::Refused(format!(
        "group {id}: its state is at entry {}, its log ends at {}; the log lost entries that were acknowledged",
        applied.unwrap_or(0),
        last.map_or("nothing".to_owned(), |index| format!("entry {index}")),
    )))
}
