//! Activation: from an id and a leadership to a live instance.
//!
//! Confirms the leadership, loads the header, bumps the activation through the log (which fences every older instance),
//! opens the actor's key, loads its names, and runs the class's constructor. The first activation creates the actor.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

use lethe_proto::{ActorId, NodeId};
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
    home::Homes,
    host::{ActorHost, DestroySelf, Proof},
    live::Live,
    logs::Logs,
    output_gate::OutputGate,
    outside::Outside,
    place::Failed,
    release::Releases,
    storage::{ActorStorage, Records, StorageHandle},
};
use crate::{
    clock,
    deploy::Version,
    shard::{Applied, Command, Create, Epoch, ProposeError, ReadError, Rejection, Shard},
    store::{Header, HeaderOrTombstone, RecordId},
    vault::{self, NewKey, Owner, Sealer, Vault},
};

/// The record that a sealed actor name is bound to. No storage name has this id: ids are keyed digests.
const ACTOR_NAME: RecordId = RecordId([0; 16]);

/// What a start needs.
pub(super) struct Activation<'a> {
    pub config: &'a Config,
    pub deps: &'a Deps,
    pub releases: &'a Releases,
    pub destroy: DestroySelf,
}

/// The leadership to act in, once everything acknowledged is applied here. Waits at most `timeout` while nobody is
/// known to lead; another leader is told at once.
pub(super) async fn lead(deps: &Deps, shard: &Shard, timeout: Duration) -> Result<Epoch, Failed> {
    let refused = |message: String| Failed::Call(error::unavailable(message, Outcome::NotDone));
    match tokio::time::timeout(timeout, leads(deps.homes.node(), shard)).await {
        Ok(Some(())) => {}
        Ok(None) => return Err(Failed::NotLeader { leader: *shard.leader().borrow() }),
        Err(_) => return Err(Failed::NotLeader { leader: None }),
    }
    shard.read_index().await.map_err(|reason| match reason {
        ReadError::NotLeader { leader } => Failed::NotLeader { leader },
        ReadError::Overloaded | ReadError::Timeout | ReadError::Stopped(_) => refused(reason.to_string()),
    })
}

/// Waits until this node leads the shard; none as soon as another one does.
async fn leads(me: NodeId, shard: &Shard) -> Option<()> {
    let (mut leadership, mut leader) = (shard.leadership(), shard.leader());
    loop {
        if leadership.borrow_and_update().is_some() {
            return Some(());
        }
        let known = *leader.borrow_and_update();
        if known.is_some_and(|known| known != me) {
            return None;
        }
        tokio::select! {
            changed = leadership.changed() => changed.ok()?,
            changed = leader.changed() => changed.ok()?,
        }
    }
}

/// The shard of an actor, if this node has a replica of it.
pub(super) fn home(homes: &dyn Homes, actor: ActorId) -> Result<Shard, Failed> {
    let home = homes.home(actor).ok_or_else(|| error::unavailable("the node is starting", Outcome::NotDone))?;
    home.here.ok_or(Failed::NotLeader { leader: home.leader })
}

/// The version to start an instance of `me` on, and the class in it.
fn pin(with: &Activation<'_>, me: &ActorRef) -> Result<(Arc<Version>, String), CallError> {
    let version = with.deps.deployments.pin();
    let version = version.map_err(|stale| error::unavailable(stale.to_string(), Outcome::NotDone))?;
    let class_name = version.class_of(&me.namespace).map_err(|reason| error::invalid_target(reason.to_string()))?;
    let class_name = class_name.to_owned();
    Ok((version, class_name))
}

/// Starts an instance of `me`.
pub(super) async fn start(with: &Activation<'_>, me: ActorRef) -> Result<Arc<Live>, Failed> {
    // Nothing is created for a namespace that does not exist.
    pin(with, &me)?;
    let shard = home(&*with.deps.homes, me.id)?;
    let began = Instant::now();
    with.releases.over(shard.id(), shard.leader()).await?;
    let epoch = lead(with.deps, &shard, with.config.leader_timeout).await?;
    let lead = began.elapsed();
    let (header, sealer) = activate(with, &shard, epoch, &me).await?;
    let activate = began.elapsed() - lead;
    let (group, proof) = (shard.id(), Proof { shard: shard.clone(), epoch });
    let name = me.name.clone().or_else(|| opened_name(&header, &sealer));
    let names = names(&shard, &header, &sealer).await?;
    // As late as can be: whatever was deployed while the above took its time.
    let (version, class_name) = pin(with, &me)?;

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
    let instantiate = began.elapsed() - activate - lead;
    tracing::debug!(actor = %me.id, group, ?lead, ?activate, ?instantiate, done = started.is_ok(), "a start ended");
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
) -> Result<(Header, Sealer), Failed> {
    let known = shard.header(me.id).await.map_err(|reason| error::internal(reason.to_string(), Outcome::NotDone))?;
    let (create, key) = match known {
        Some(HeaderOrTombstone::Tombstone(_)) => return Err(error::destroyed(Outcome::NotDone).into()),
        Some(HeaderOrTombstone::Header(header)) => {
            (None, Key::Old(open_key(with, shard, me, header.incarnation).await?))
        }
        None => {
            let (create, new) = create(with, shard, me).await?;
            (Some(create), Key::New(new))
        }
    };
    let command = Command::Activate { actor: me.id, namespace: me.namespace.clone(), create };
    let failed = match shard.propose(epoch, command).await {
        Ok(Applied::Activated(header)) => return Ok((header, key.kept(with).await?)),
        Ok(Applied::Rejected(Rejection::Destroyed)) => error::destroyed(Outcome::NotDone),
        Ok(Applied::Rejected(reason @ Rejection::OtherNamespace(_))) => error::invalid_target(reason.to_string()),
        Ok(other) => error::unavailable(format!("the actor could not be activated: {other:?}"), Outcome::NotDone),
        Err(ProposeError::NotDone(reason)) => return Err(reason.into()),
        // The caller's own call surely did not run; a creation that did happen is found by the next start.
        Err(ProposeError::Unknown(reason)) => error::unavailable(reason, Outcome::NotDone),
    };
    Err(failed.into())
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
