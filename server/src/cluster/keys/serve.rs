//! Answers other nodes that ask for keys.

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use lethe_proto::NodeId;
use tokio::task::spawn_blocking;

use super::{
    Inner,
    message::{Answer, Ask, Found, PAGE, decode, encode},
};
use crate::{
    peer::{Handler, Head, Refusal},
    shard::Shard,
    store::HeaderOrTombstone,
    vault::{Owner, Recipient},
};

impl Handler for Inner {
    fn call(&self, from: NodeId, head: Head, message: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        let shards = self.shards();
        let vault = self.vault.clone();
        async move {
            let malformed = |what: &str| Refusal::Malformed(what.to_owned());
            let answer = match decode::<Ask>(&message).map_err(malformed)? {
                Ask::Epoch => Answer::Epoch(vault.recipient()),
                Ask::Keys { wanted, .. } if wanted.len() > PAGE => return Err(malformed("it asks for too much")),
                Ask::Keys { to, wanted } => {
                    let here = shards.and_then(|shards| shards.group(head.group));
                    let none = Refusal::NoReplica { group: head.group, incarnation: head.incarnation };
                    let shard = here.ok_or(none)?;
                    check(&shard, from, &to)?;
                    let owner = |(actor, incarnation)| Owner { actor, incarnation };
                    let mut found = Vec::with_capacity(wanted.len());
                    for owner in wanted.into_iter().map(owner) {
                        found.push(match life(&shard, owner).await? {
                            Life::Here => {
                                let vault = vault.clone();
                                let exported = spawn_blocking(move || vault.export(owner, &to)).await;
                                exported.ok().and_then(Result::ok).map_or(Found::Missing, Found::Share)
                            }
                            Life::Unknown => Found::Missing,
                            Life::Over => Found::Gone,
                        });
                    }
                    Answer::Keys(found)
                }
            };
            Ok(encode(&answer).into())
        }
        .boxed()
    }
}

/// Keys of a group go to its members only, and sealed only to whoever asks.
fn check(shard: &Shard, from: NodeId, to: &Recipient) -> Result<(), Refusal> {
    if to.node != from {
        return Err(Refusal::Sender(format!("it asks for keys that only node {} could open", to.node)));
    }
    match shard.members().incarnation(from) {
        Some(_) => Ok(()),
        None => Err(Refusal::Sender(format!("it is no member of group {}", shard.id()))),
    }
}

/// What the applied state says of an incarnation.
enum Life {
    Here,
    Unknown,
    Over,
}

async fn life(shard: &Shard, owner: Owner) -> Result<Life, Refusal> {
    let known = shard.header(owner.actor).await.map_err(|error| Refusal::Unavailable(error.to_string()))?;
    Ok(match known {
        Some(HeaderOrTombstone::Header(header)) if header.incarnation == owner.incarnation => Life::Here,
        Some(_) => Life::Over,
        None => Life::Unknown,
    })
}
