//! What a command does to the state. A deterministic function: the same state and command give the same result.
//!
//! The fences that do not rest on Raft are here. A write must carry the newest activation and the next sequence; a
//! tombstone refuses everything; an actor that exists is not created again. The registry's is the revision that a change
//! expects.

use lethe_proto::ActorId;
use uuid::Uuid;

use super::command::{BorrowedOp, REGISTER_OPS_MAX, RegistryLimit, Write};
use super::{Applied, Command, Create, Created, Expect, RecordOp, RegistryOp, Rejection};
use crate::store::state::{Actor, Error, Life, NAME_BYTES_MAX, Txn, VALUE_BYTES_MAX};
use crate::store::{Header, Tombstone};

/// What a batch of commands does to data keys before any of them is answered.
#[derive(Default)]
pub(super) struct Lives {
    /// Actors that began.
    pub created: Vec<Created>,
    /// Incarnations that ended.
    pub ended: Vec<(ActorId, Uuid)>,
}

/// Applies the command of the entry at `index`.
pub(super) fn apply(txn: &mut Txn<'_>, index: u64, command: Command, lives: &mut Lives) -> Result<Applied, Error> {
    let result = match command {
        Command::Activate { actor, namespace, create } => {
            let life = txn.life(actor)?;
            activate(txn, life, actor, namespace, create, lives)
        }
        Command::Write { actor, incarnation, activation, seq, ops } => {
            let ops = ops.iter().map(RecordOp::borrowed).collect();
            return write(txn, Write { actor, incarnation, activation, seq, ops });
        }
        Command::Destroy { actor, expected, destroyed_at_ms, reason } => {
            let life = txn.life(actor)?;
            let tombstone = Tombstone { actor, incarnation: None, destroyed_at_ms, reason };
            destroy(txn, life, expected, tombstone, lives)
        }
        Command::Register { expect, ops } => register(txn, index, &expect, &ops)?,
    };
    Ok(result.unwrap_or_else(Applied::Rejected))
}

fn activate(
    txn: &mut Txn<'_>,
    life: Option<Life>,
    actor: ActorId,
    namespace: String,
    create: Option<Create>,
    lives: &mut Lives,
) -> Result<Applied, Rejection> {
    let mut actor = match (life, create) {
        (Some(Life::Dead(_)), _) => return Err(Rejection::Destroyed),
        (None, None) => return Err(Rejection::NoSuchActor),
        (None, Some(create)) => {
            lives.created.push(Created { actor, incarnation: create.incarnation, shares: create.key_shares.clone() });
            Actor::new(first_header(actor, namespace, create))
        }
        (Some(Life::Live(actor)), create) => {
            if actor.header.namespace != namespace {
                return Err(Rejection::OtherNamespace(actor.header.namespace));
            }
            if create.is_some_and(|create| create.incarnation != actor.incarnation()) {
                return Err(Rejection::Exists(actor.incarnation()));
            }
            actor
        }
    };
    actor.header.activation += 1;
    let header = actor.header.clone();
    txn.set_actor(actor);
    Ok(Applied::Activated(header))
}

fn first_header(actor: ActorId, namespace: String, create: Create) -> Header {
    Header {
        actor,
        incarnation: create.incarnation,
        namespace,
        activation: 0,
        seq: 0,
        created_at_ms: create.created_at_ms,
        sealed_name: create.sealed_name,
        records: 0,
        bytes: 0,
    }
}

/// The actor, if it may write, with its sequence already moved on.
fn writer(life: Option<Life>, incarnation: Uuid, activation: u64, seq: u64) -> Result<Actor, Rejection> {
    let mut actor = match life {
        None => return Err(Rejection::NoSuchActor),
        Some(Life::Dead(_)) => return Err(Rejection::Destroyed),
        Some(Life::Live(actor)) => actor,
    };
    if actor.incarnation() != incarnation {
        return Err(Rejection::OtherIncarnation(actor.incarnation()));
    }
    if actor.header.activation != activation {
        return Err(Rejection::StaleActivation(actor.header.activation));
    }
    if actor.header.seq.checked_add(1) != Some(seq) {
        return Err(Rejection::StaleSequence(actor.header.seq));
    }
    actor.header.seq = seq;
    Ok(actor)
}

/// Applies one atomic batch of an actor's storage operations.
pub(super) fn write(txn: &mut Txn<'_>, command: Write<'_>) -> Result<Applied, Error> {
    let Write { actor, incarnation, activation, seq, ops } = command;
    let mut actor = match writer(txn.life(actor)?, incarnation, activation, seq) {
        Ok(actor) => actor,
        Err(rejection) => return Ok(Applied::Rejected(rejection)),
    };
    for op in ops {
        match op {
            BorrowedOp::Put { id, name, value } => txn.put(&mut actor, id, name, value)?,
            BorrowedOp::Delete { id } => txn.delete(&mut actor, id)?,
            BorrowedOp::DeleteAll => txn.delete_all(&mut actor),
        }
    }
    txn.set_actor(actor);
    Ok(Applied::Written)
}

fn destroy(
    txn: &mut Txn<'_>,
    life: Option<Life>,
    expected: Option<Uuid>,
    mut tombstone: Tombstone,
    lives: &mut Lives,
) -> Result<Applied, Rejection> {
    let is = |incarnation: Option<Uuid>| expected.is_none() || expected == incarnation;
    let other = |incarnation: Option<Uuid>| match incarnation {
        Some(incarnation) => Rejection::OtherIncarnation(incarnation),
        None => Rejection::NoSuchActor,
    };
    match life {
        Some(Life::Dead(before)) => match is(before.incarnation) {
            true => Ok(Applied::Destroyed { incarnation: before.incarnation, already: true }),
            false => Err(other(before.incarnation)),
        },
        Some(Life::Live(actor)) => {
            let incarnation = actor.incarnation();
            if !is(Some(incarnation)) {
                return Err(other(Some(incarnation)));
            }
            tombstone.incarnation = Some(incarnation);
            lives.ended.push((actor.id(), incarnation));
            txn.destroy(Some(&actor), tombstone);
            Ok(Applied::Destroyed { incarnation: Some(incarnation), already: false })
        }
        None if expected.is_some() => Err(Rejection::NoSuchActor),
        None => {
            txn.destroy(None, tombstone);
            Ok(Applied::Destroyed { incarnation: None, already: false })
        }
    }
}

/// All expectations are looked at before the first change is made.
fn register(
    txn: &mut Txn<'_>,
    index: u64,
    expect: &[Expect],
    ops: &[RegistryOp],
) -> Result<Result<Applied, Rejection>, Error> {
    for expect in expect {
        if txn.registry_revision(&expect.key)? != expect.revision {
            return Ok(Err(Rejection::Conflict { key: expect.key.clone() }));
        }
    }
    if let Some(limit) = over_limit(txn, expect, ops)? {
        return Ok(Err(Rejection::RegistryLimit(limit)));
    }
    for op in ops {
        match op {
            RegistryOp::Put { key, value } => txn.registry_put(key, index, value)?,
            RegistryOp::Delete { key } => txn.registry_delete(key)?,
        }
    }
    txn.registry_advance(index)?;
    Ok(Ok(Applied::Registered { revision: index }))
}

fn over_limit(txn: &mut Txn<'_>, expect: &[Expect], ops: &[RegistryOp]) -> Result<Option<RegistryLimit>, Error> {
    if expect.len() + ops.len() > REGISTER_OPS_MAX {
        return Ok(Some(RegistryLimit::Ops));
    }
    let mut bytes = 0;
    for op in ops {
        let (key, value) = match op {
            RegistryOp::Put { key, value } => (key, value.len()),
            RegistryOp::Delete { key } => (key, 0),
        };
        if !(1..=NAME_BYTES_MAX).contains(&key.len()) {
            return Ok(Some(RegistryLimit::NameBytes));
        }
        if value > VALUE_BYTES_MAX {
            return Ok(Some(RegistryLimit::ValueBytes));
        }
        if matches!(op, RegistryOp::Put { .. }) {
            bytes += (key.len() + value) as u64;
        }
    }
    Ok((!txn.registry_has_room(bytes)?).then_some(RegistryLimit::TotalBytes))
}
