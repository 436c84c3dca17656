//! `Opening`: one group's stream of append messages to one life of a replica. openraft's own task drives it.
//!
//! openraft tells a replica of every commit at once, by a message without entries if there are none to send. That
//! would be a second round trip for each write of a group that is not busy. Such a message waits for a moment, and if
//! another one follows, which tells the same or more, that one goes alone: its answer counts for both.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use openraft::raft::{AppendEntriesRequest, StreamAppendResult};

use super::session::Session;
use super::slot::{Found, Slot};
use super::{Result, Whom};
use crate::peer::Error;
use crate::shard::network::{batch, rpc_error, wire};
use crate::shard::types::Types;

/// How long a message that tells only of a commit waits for the next one.
pub(super) const COMMIT_WAIT: Duration = Duration::from_millis(20);

type Request = AppendEntriesRequest<Types>;

/// A stream of the answers; polling it also sends.
pub(super) struct Opening<S> {
    session: Arc<Session>,
    slot: Arc<Slot>,
    number: u64,
    whom: Whom,
    /// The other side has been told of it.
    told: bool,
    first: Option<Request>,
    /// Where messages come from, until there are no more.
    input: Option<S>,
    /// Tells only of a commit, and waits until then.
    commit: Option<(Instant, Request)>,
    over: bool,
}

impl<S> Opening<S> {
    pub fn new(session: Arc<Session>, whom: Whom, first: Request, input: S) -> std::result::Result<Self, Error> {
        let (number, slot) = session.enter()?;
        let (first, input) = (Some(first), Some(input));
        Ok(Self { session, slot, number, whom, told: false, first, input, commit: None, over: false })
    }

    fn send(&mut self, request: &Request) {
        let bytes = wire::append_bytes(request);
        self.slot.note(request, bytes);
        self.clear_commit();
        let (number, told) = (self.number, std::mem::replace(&mut self.told, true));
        let Whom { group, incarnation, .. } = self.whom;
        self.session.outbox.push(bytes, |out| {
            if !told {
                batch::put_open(out, number, group, incarnation);
            }
            batch::put_append(out, number, request);
        });
    }

    fn hold(&mut self, request: Request) {
        let due = match self.commit.take() {
            Some((due, _)) => due,
            None => {
                let due = Instant::now() + COMMIT_WAIT;
                self.session.commit_waits(&self.slot, due);
                due
            }
        };
        self.commit = Some((due, request));
    }

    fn clear_commit(&mut self) {
        if self.commit.take().is_some() {
            self.slot.commit_went();
        }
    }
}

impl<S: Stream<Item = Request> + Unpin> Opening<S> {
    /// Sends what there is and what may be sent.
    fn advance(&mut self, cx: &mut Context<'_>) {
        while self.slot.has_room() && self.session.outbox.has_room(self.number, cx) {
            if let Some(first) = self.first.take() {
                self.send(&first);
                continue;
            }
            let next = match &mut self.input {
                Some(input) => input.poll_next_unpin(cx),
                None => Poll::Ready(None),
            };
            match next {
                Poll::Ready(Some(request)) if request.entries.is_empty() => self.hold(request),
                Poll::Ready(Some(request)) => self.send(&request),
                Poll::Ready(None) => {
                    self.input = None;
                    let Some((_, request)) = self.commit.take() else { return };
                    self.slot.commit_went();
                    self.send(&request);
                }
                Poll::Pending => {
                    let due = self.commit.take_if(|(due, _)| *due <= Instant::now());
                    let Some((_, request)) = due else { return };
                    self.slot.commit_went();
                    self.send(&request);
                }
            }
        }
    }
}

impl<S: Stream<Item = Request> + Unpin> Stream for Opening<S> {
    type Item = Result<StreamAppendResult<Types>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(None);
        }
        let found = loop {
            // Sending comes first: an answer is then worked on while these messages are on their way.
            this.advance(cx);
            match this.slot.find(cx) {
                Found::Ripe => {}
                found => break found,
            }
        };
        let item = match found {
            Found::Result(result) => Ok(result),
            Found::End(error) => Err(rpc_error(error)),
            Found::Nothing if this.input.is_none() && this.commit.is_none() && this.slot.is_idle() => {
                this.over = true;
                return Poll::Ready(None);
            }
            Found::Nothing | Found::Ripe => return Poll::Pending,
        };
        this.over = !matches!(item, Ok(Ok(_)));
        Poll::Ready(Some(item))
    }
}

impl<S> Drop for Opening<S> {
    fn drop(&mut self) {
        self.session.leave(self.number, self.told);
    }
}
