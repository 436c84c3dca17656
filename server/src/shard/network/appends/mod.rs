//! Log entries to one replica: a stream of append messages that are sent before earlier ones are answered.
//!
//! A window bounds what is unanswered, in bytes and in messages. When the oldest message stays without an answer for
//! too long the stream is given up, and openraft begins another one.
//!
//! openraft tells a replica of every commit at once, by a message without entries if there are none to send. That would be
//! a second round trip for each write of a group that is not busy. Such a message waits for a moment, and if another one
//! follows, which tells the same or more, that one goes alone: its answer counts for both.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use lethe_proto::NodeId;
use openraft::error::RPCError;
use openraft::raft::{AppendEntriesRequest, StreamAppendResult};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{lost, rpc_error, wire};
use crate::peer::{Answers, Error, Head, Transport};
use crate::shard::types::Types;

/// Unanswered bytes of one stream, in KiB.
const WINDOW_KIB: usize = 16 << 10;
/// What a message counts for at least, in KiB; so at most 256 of them are unanswered.
const MESSAGE_KIB: usize = WINDOW_KIB / 256;

/// How long a message that tells only of a commit waits for the next one.
const COMMIT_WAIT: Duration = Duration::from_millis(20);

type Result<T> = std::result::Result<T, RPCError<Types>>;

/// What was sent and is not answered.
struct Window {
    room: Arc<Semaphore>,
    sent: Mutex<VecDeque<(Instant, OwnedSemaphorePermit)>>,
}

/// Begins a stream of the messages in `input`, once there is a first one. Where a replica could not be reached, openraft
/// waits in `input`, and only there: a stream that failed before would be begun again at once, without end.
pub(super) async fn stream<S>(
    transport: Arc<dyn Transport>,
    to: NodeId,
    head: Head,
    stall: Duration,
    mut input: S,
) -> Result<BoxStream<'static, Result<StreamAppendResult<Types>>>>
where
    S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static,
{
    let Some(first) = input.next().await else { return Ok(stream::empty().boxed()) };
    let input = stream::iter([first]).chain(sparing(input));
    let window = Arc::new(Window { room: Arc::new(Semaphore::new(WINDOW_KIB)), sent: Mutex::default() });
    let messages = outgoing(input, window.clone());
    let answers = transport.stream(to, head, messages).await.map_err(rpc_error)?;
    let state = Some((answers, window));
    Ok(Box::pin(stream::unfold(state, move |state| async move {
        let (mut answers, window) = state?;
        let result = next(&mut answers, &window, stall).await?;
        let goes_on = matches!(result, Ok(Ok(_)));
        Some((result, goes_on.then_some((answers, window))))
    })))
}

/// Leaves out messages without entries that are followed by another one soon.
pub(super) fn sparing<S>(input: S) -> impl Stream<Item = AppendEntriesRequest<Types>> + Send + 'static
where
    S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static,
{
    stream::unfold(input, |mut input| async move {
        let mut message = input.next().await?;
        let until = tokio::time::Instant::now() + COMMIT_WAIT;
        while message.entries.is_empty() {
            match tokio::time::timeout_at(until, input.next()).await {
                Ok(Some(next)) => message = next,
                Ok(None) | Err(_) => break,
            }
        }
        Some((message, input))
    })
}

fn outgoing<S>(input: S, window: Arc<Window>) -> BoxStream<'static, Bytes>
where
    S: Stream<Item = AppendEntriesRequest<Types>> + Send + 'static,
{
    let sending = input.then(move |request| {
        let window = window.clone();
        async move {
            let bytes = wire::encode_append(&request);
            drop(request);
            let kib = bytes.len().div_ceil(1 << 10).clamp(MESSAGE_KIB, WINDOW_KIB);
            // Nobody closes the semaphore; if it were, the stream would end.
            let permit = window.room.clone().acquire_many_owned(kib as u32).await.ok()?;
            window.sent.lock().push_back((Instant::now(), permit));
            Some(bytes)
        }
    });
    Box::pin(sending.take_while(|bytes| std::future::ready(bytes.is_some())).filter_map(std::future::ready))
}

/// The next answer; none at the end.
async fn next(
    answers: &mut Answers<Error>,
    window: &Window,
    stall: Duration,
) -> Option<Result<StreamAppendResult<Types>>> {
    loop {
        match tokio::time::timeout(stall / 2, answers.next()).await {
            Err(_) => {
                let oldest = window.sent.lock().front().map(|(at, _)| *at);
                if oldest.is_some_and(|at| at.elapsed() >= stall) {
                    return Some(Err(lost("an append message was not answered in time")));
                }
            }
            Ok(None) => return None,
            Ok(Some(Err(error))) => return Some(Err(rpc_error(error))),
            Ok(Some(Ok(bytes))) => {
                let answered = window.sent.lock().pop_front();
                if answered.is_none() {
                    return Some(Err(lost("there are more answers than messages")));
                }
                return Some(wire::decode_append_result(&bytes).map_err(|refusal| lost(&refusal.to_string())));
            }
        }
    }
}
