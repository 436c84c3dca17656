//! Activation: from an id and a leadership to a live instance.
//!
//! Confirms the leadership, loads the header, bumps the activation through the log (which fences every older instance),
//! opens the actor's key, loads its names, and runs the class's constructor. The first activation creates the actor.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use lethe_proto::ActorId;
use lethe_runtime::{
    engine::ActorStart,
    host::{CallError, Outcome},
};
use uuid::Uuid;

use super::{
    ActorRef,
    actors::{Config, Deps},
    committer::{self, Writer},
    error,
    host::{ActorHost, DestroySelf, Proof},
    live::Live,
    logs::Logs,
    output_gate::OutputGate,
    outside::Outside,
    storage::{ActorStorage, Records, StorageHandle},
};
use crate::{
    clock,
    deploy::Version,
    shard::{Applied, Command, Create, Epoch, ProposeError, Rejection, Shard, Shards},
    store::{Header, HeaderOrTombstone, RecordId},
    vault::{self, NewKey, Owner, Sealer, Vault},
};

/// The record that a sealed actor name is bound to. No storage name has this id: ids are keyed digests.
const ACTOR_NAME: RecordId = RecordId([0; 16]);

/// What a start needs.
pub(super) struct Activation<'a> {
    pub config: &'a Config,
    pub deps: &'a Deps,
    pub destroy: DestroySelf,
}

/// The leadership to act in: waits until this node leads the shard, and until everything acknowledged is applied here.
pub(super) async fn lead(shard: &Shard, timeout: Duration) -> Result<Epoch, CallError> {
    let refused = |message: String| error::unavailable(message, Outcome::NotDone);
    let mut leadership = shard.leadership();
    let leads = tokio::time::timeout(timeout, leadership.wait_for(Option::is_some)).await;
    leads
        .map_err(|_| refused("this node does not lead the actor's shard".into()))?
        .map_err(|_| refused("the shard stopped".into()))?;
    shard.read_index().await.map_err(|reason| refused(reason.to_string()))
}

/// The shard of an actor, if this node has a replica of it.
pub(super) fn home(shards: &Shards, actor: ActorId) -> Result<Shard, CallError> {
    let refused = || error::unavailable("this node has no replica of the actor's shard", Outcome::NotDone);
    shards.shard(actor).ok_or_else(refused)
}

/// Starts an instance of `me`.
pub(super) async fn start(with: &Activation<'_>, me: ActorRef) -> Result<Arc<Live>, CallError> {
    let version = with.deps.deployments.current();
    let class_name = version.class_of(&me.namespace).map_err(|reason| error::invalid_target(reason.to_string()))?;
    let class_name = class_name.to_owned();
    let shard = home(&with.deps.shards, me.id)?;
    let epoch = lead(&shard, with.config.leader_timeout).await?;
    let (header, sealer) = activate(with, &shard, epoch, &me).await?;
    let proof = Proof { shard: shard.clone(), epoch };
    let name = me.name.clone().or_else(|| opened_name(&header, &sealer));
    let names = names(&shard, &header, &sealer).await?;

    let gate = OutputGate::new();
    let records = Records { shard, actor: me.id, incarnation: header.incarnation, sealer };
    let (storage, queue) = ActorStorage::new(records, names, gate.clone(), with.config.read_bytes_max);
    let writer = Writer { epoch, activation: header.activation, seq: header.seq };
    tokio::spawn(committer::run(storage.clone(), gate.clone(), writer, queue));

    let sent = Arc::new(AtomicU64::new(0));
    let host = ActorHost {
        outside: outside(with, version.clone()),
        proof: proof.clone(),
        gate: gate.clone(),
        storage: StorageHandle(storage.clone()),
        logs: Logs::start(gate.clone(), format!("{} {}", me.namespace, me.id)),
        destroy: with.destroy.clone(),
        sent: sent.clone(),
        me: me.clone(),
    };
    let start = ActorStart { class_name, id: me.id.to_string(), name };
    tracing::debug!(actor = %me.id, incarnation = %header.incarnation, activation = header.activation, %epoch, "actor starts");
    let started = with.deps.engine.instantiate(version.program(), start, Arc::new(host)).await;
    let instance = started.map_err(|failure| {
        gate.fail(error::reset("the actor's constructor failed"));
        error::from_invocation(failure)
    })?;
    Ok(Live::new(version.id(), proof, gate, storage, instance, sent, with.config.calls_max))
}

fn outside(with: &Activation<'_>, version: Arc<Version>) -> Outside {
    let (call, fetcher) = (with.deps.call.clone(), with.deps.fetcher.clone());
    Outside { version, call, fetcher, call_timeout: with.config.call_timeout }
}

/// Bumps the activation; creates the actor if it never was.
async fn activate(
    with: &Activation<'_>,
    shard: &Shard,
    epoch: Epoch,
    me: &ActorRef,
) -> Result<(Header, Sealer), CallError> {
    let known = shard.header(me.id).await.map_err(|reason| error::internal(reason.to_string(), Outcome::NotDone))?;
    let (create, key) = match known {
        Some(HeaderOrTombstone::Tombstone(_)) => return Err(error::destroyed(Outcome::NotDone)),
        Some(HeaderOrTombstone::Header(header)) => {
            (None, Key::Old(open_key(with, shard, me, header.incarnation).await?))
        }
        None => {
            let (create, new) = create(with, shard, me).await?;
            (Some(create), Key::New(new))
        }
    };
    let command = Command::Activate { actor: me.id, namespace: me.namespace.clone(), create };
    match shard.propose(epoch, command).await {
        Ok(Applied::Activated(header)) => Ok((header, key.kept(with).await?)),
        Ok(Applied::Rejected(Rejection::Destroyed)) => Err(error::destroyed(Outcome::NotDone)),
        Ok(Applied::Rejected(reason @ Rejection::OtherNamespace(_))) => Err(error::invalid_target(reason.to_string())),
        Ok(other) => Err(error::unavailable(format!("the actor could not be activated: {other:?}"), Outcome::NotDone)),
        Err(ProposeError::NotDone(reason)) => Err(error::unavailable(reason.to_string(), Outcome::NotDone)),
        // The caller's own call surely did not run; a creation that did happen is found by the next start.
        Err(ProposeError::Unknown(reason)) => Err(error::unavailable(reason, Outcome::NotDone)),
    }
}

/// The key of an actor that is being activated.
enum Key {
    /// It has lived before.
    Old(Sealer),
    /// It is being created; applying the creation stores the key.
    New(NewKey),
}

impl Key {
    /// The sealer, once the key is durable here.
    async fn kept(self, with: &Activation<'_>) -> Result<Sealer, CallError> {
        match self {
            Self::Old(sealer) => Ok(sealer),
            Self::New(new) => {
                let sealer = new.sealer();
                match with_vault(with, move |vault| vault.keep(&new)).await? {
                    true => Ok(sealer),
                    // Somebody else destroyed it already.
                    false => Err(error::destroyed(Outcome::NotDone)),
                }
            }
        }
    }
}

/// A new incarnation, its key sealed to the members of the group.
async fn create(with: &Activation<'_>, shard: &Shard, me: &ActorRef) -> Result<(Create, NewKey), CallError> {
    let recipients = with.deps.keys.recipients(shard).await;
    let recipients = recipients.map_err(|reason| error::unavailable(reason.to_string(), Outcome::NotDone))?;
    let incarnation = Uuid::now_v7();
    let id = me.id;
    let shared = move |vault: &Vault| {
        let new = vault.generate(id, incarnation)?;
        Ok((vault.share(&new, &recipients)?, new))
    };
    let (key_shares, new) = with_vault(with, shared).await?;
    let failed = |reason| vault_failed(&reason);
    let sealed_name = match &me.name {
        Some(name) => Some(new.sealer().seal_name(ACTOR_NAME, name.as_bytes()).map_err(failed)?),
        None => None,
    };
    Ok((Create { incarnation, created_at_ms: clock::now_ms(), sealed_name, key_shares }, new))
}

async fn open_key(with: &Activation<'_>, shard: &Shard, me: &ActorRef, incarnation: Uuid) -> Result<Sealer, CallError> {
    let owner = Owner { actor: me.id, incarnation };
    with.deps.keys.sealer(shard, owner).await.map_err(|reason| vault_failed(&reason))
}

/// Asks the vault, whose calls may block on the disk.
async fn with_vault<T: Send + 'static>(
    with: &Activation<'_>,
    work: impl FnOnce(&Vault) -> Result<T, vault::Error> + Send + 'static,
) -> Result<T, CallError> {
    let vault = with.deps.keys.vault().clone();
    match tokio::task::spawn_blocking(move || work(&vault)).await {
        Ok(result) => result.map_err(|reason| vault_failed(&reason)),
        Err(_) => Err(error::internal("asking for the actor's key failed", Outcome::NotDone)),
    }
}

fn vault_failed(reason: &vault::Error) -> CallError {
    error::internal(format!("the actor's key: {reason}"), Outcome::NotDone)
}

/// The name an actor's id was made from, opened.
pub(super) fn opened_name(header: &Header, sealer: &Sealer) -> Option<String> {
    let opened = sealer.open_name(ACTOR_NAME, header.sealed_name.as_ref()?).ok()?;
    String::from_utf8(opened).ok()
}

async fn names(shard: &Shard, header: &Header, sealer: &Sealer) -> Result<Vec<String>, CallError> {
    let unreadable = |what: String| error::internal(format!("stored names cannot be read: {what}"), Outcome::NotDone);
    let sealed =
        shard.names(header.actor, header.incarnation).await.map_err(|reason| unreadable(reason.to_string()))?;
    let mut names = Vec::with_capacity(sealed.len());
    for (id, name) in sealed {
        let name = sealer.open_name(id, &name).map_err(|reason| unreadable(reason.to_string()))?;
        names.push(String::from_utf8(name).map_err(|_| unreadable("one is not text".into()))?);
    }
    Ok(names)
}
