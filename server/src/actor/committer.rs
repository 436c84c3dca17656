//! Committer: one task per instance that seals its batches and proposes them, in order.
//!
//! Batches that gathered while a proposal was under way go out together. A proposal that was refused, or whose fate is
//! unknown, breaks the output gate: an instance whose memory may differ from the log must never speak again.

use std::sync::Arc;

use lethe_runtime::host::{CallError, Outcome};
use tokio::sync::mpsc;

use super::{
    buffer::{BATCH_BYTES_MAX, Batch},
    error,
    output_gate::OutputGate,
    storage::{ActorStorage, Pending, Records},
};
use crate::shard::{Applied, Command, Epoch, NotDone, ProposeError, RecordOp, Rejection};
use crate::vault::Nonces;

/// The activation under which an instance writes.
pub(super) struct Writer {
    pub epoch: Epoch,
    pub activation: u64,
    /// Sequence of the last applied write.
    pub seq: u64,
}

/// Commits batches until the storage is dropped or a commit fails.
pub(super) async fn run(
    storage: Arc<ActorStorage>,
    gate: Arc<OutputGate>,
    mut writer: Writer,
    mut queue: mpsc::UnboundedReceiver<Pending>,
) {
    loop {
        let first = tokio::select! {
            biased;
            _ = gate.until_broken() => return,
            first = queue.recv() => match first {
                Some(first) => first,
                None => return,
            },
        };
        let group = gather(first, &mut queue);
        if let Err(reason) = commit(&storage, &gate, &mut writer, group).await {
            gate.fail(reason);
            return;
        }
    }
}

/// Bytes of batches that go out together, beyond which no further one is added.
const GROUP_BYTES_MAX: usize = BATCH_BYTES_MAX / 6;

fn gather(first: Pending, queue: &mut mpsc::UnboundedReceiver<Pending>) -> Vec<Pending> {
    let mut bytes = first.batch.bytes();
    let mut group = vec![first];
    while bytes < GROUP_BYTES_MAX {
        let Ok(next) = queue.try_recv() else { break };
        bytes += next.batch.bytes();
        group.push(next);
    }
    group
}

/// Proposes a group of batches as one write. Nothing is proposed once the gate is broken: whoever broke it told callers so.
async fn commit(
    storage: &ActorStorage,
    gate: &OutputGate,
    writer: &mut Writer,
    group: Vec<Pending>,
) -> Result<(), CallError> {
    let mut ops = Vec::new();
    let mut tickets = Vec::with_capacity(group.len());
    let (mut number, mut bytes) = (0, 0);
    for Pending { batch, ticket, mut reads } in group {
        // Ends with an error once every reader is gone; nothing is ever sent.
        let _ = reads.changed().await;
        (number, bytes) = (batch.number, bytes + batch.bytes());
        seal(&storage.records, batch, &mut ops)?;
        tickets.extend(ticket);
    }
    let Records { shard, actor, incarnation, .. } = &storage.records;
    let (activation, seq) = (writer.activation, writer.seq + 1);
    gate.broken().map_or(Ok(()), Err)?;
    let command = Command::Write { actor: *actor, incarnation: *incarnation, activation, seq, ops };
    match shard.propose(writer.epoch, command).await {
        Ok(Applied::Written) => {
            writer.seq = seq;
            storage.committed(number, bytes);
            tickets.into_iter().for_each(|ticket| ticket.release());
            Ok(())
        }
        result => {
            let reason = refusal(result);
            tickets.into_iter().for_each(|ticket| ticket.fail(reason.clone()));
            Err(reason)
        }
    }
}

fn seal(records: &Records, batch: Batch, ops: &mut Vec<RecordOp>) -> Result<(), CallError> {
    let sealer = &records.sealer;
    if batch.clear {
        ops.push(RecordOp::DeleteAll);
    }
    let puts = batch.writes.iter().filter(|(_, value)| value.is_some()).count();
    let mut nonces = Nonces::new(2 * puts);
    for (name, value) in batch.writes {
        let id = sealer.record_id(name.as_bytes());
        ops.push(match value {
            None => RecordOp::Delete { id },
            Some(value) => {
                let failed = |_| error::internal("a write could not be sealed", Outcome::NotDone);
                let sealed = sealer.seal_record(&mut nonces, id, name.as_bytes(), &value);
                let (name, value) = sealed.map_err(failed)?;
                RecordOp::Put { id, name, value }
            }
        });
    }
    Ok(())
}

/// What becomes of the calls that rest on a batch that was not written.
fn refusal(result: Result<Applied, ProposeError>) -> CallError {
    match result {
        Ok(Applied::Rejected(Rejection::Destroyed)) => error::destroyed(Outcome::NotDone),
        Ok(Applied::Rejected(rejection)) => {
            error::unavailable(format!("this instance was replaced: {rejection}"), Outcome::NotDone)
        }
        Ok(other) => error::internal(format!("a write was answered with {other:?}"), Outcome::Unknown),
        // Asking again, here or elsewhere, would only use up what is left of the logs.
        Err(ProposeError::NotDone(reason @ NotDone::DisksFull { .. })) => {
            error::overloaded(format!("the write was not committed: {reason}"))
        }
        Err(ProposeError::NotDone(reason)) => {
            error::unavailable(format!("the write was not committed: {reason}"), Outcome::NotDone)
        }
        Err(ProposeError::Unknown(reason)) => {
            error::unavailable(format!("it is not known whether the write was committed: {reason}"), Outcome::Unknown)
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;
    use tokio::sync::watch;

    use super::*;
    use crate::actor::{Config, buffer::Buffer, tests::rig::Rig};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_batch_that_was_taken_before_the_gate_broke_is_not_proposed_after_it() {
        let rig = Rig::start(Config::default()).await;
        rig.call("a", "put", json!(["k", 1])).await.unwrap();
        let (live, header) = (rig.live_actor("a"), rig.header("a").await);
        let mut writer = Writer { epoch: live.proof.epoch, activation: header.activation, seq: header.seq };
        let pending = || {
            let mut buffer = Buffer::new(Vec::new());
            buffer.put(vec![("raw".to_owned(), Bytes::from_static(b"x"))], false).unwrap();
            let batch = buffer.cut().expect("something was written");
            Pending { batch, ticket: Some(live.gate.lock()), reads: watch::channel(()).1 }
        };
        let taken = pending();
        let reason = error::reset("on purpose");
        live.gate.fail(reason.clone());
        assert_eq!(commit(&live.storage, &live.gate, &mut writer, vec![taken]).await, Err(reason));
        assert_eq!(rig.header("a").await.seq, header.seq, "nothing was written");
    }
}
