//! The receiving end of a stream of calls, and its timer: one for all calls, which wait for about equally long.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures::{FutureExt, StreamExt};
use tokio::time::Sleep;
use tonic::Status;

use super::{
    Incoming, Opening,
    line::{Line, Watched},
    now,
};

/// Messages taken in a row before other tasks have their turn.
const MESSAGES_MAX: usize = 64;

/// A task for as long as the stream lives: it opens the stream, hands out answers, and lets go of late calls.
pub(super) struct Reader {
    ends: Ends,
    stage: Stage,
    /// Until the server has said its first word.
    silent: Option<Pin<Box<Sleep>>>,
    alarm: Option<Instant>,
    sleep: Pin<Box<Sleep>>,
}

enum Stage {
    Opening(Opening),
    Open(Incoming),
}

impl Reader {
    pub fn new(ends: Ends, opening: Opening, within: Duration) -> Self {
        // Set when it is used.
        let sleep = Box::pin(tokio::time::sleep_until(now().into()));
        let silent = Some(Box::pin(tokio::time::sleep(within)));
        Self { ends, stage: Stage::Opening(opening), silent, alarm: None, sleep }
    }

    /// Takes what has arrived. Ready when nothing more will.
    fn read(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        for _ in 0..MESSAGES_MAX {
            match &mut self.stage {
                Stage::Opening(opening) => match std::task::ready!(opening.poll_unpin(cx)) {
                    Ok(incoming) => self.stage = Stage::Open(incoming),
                    Err(status) => return Poll::Ready(status),
                },
                Stage::Open(incoming) => match std::task::ready!(incoming.poll_next_unpin(cx)) {
                    Some(Ok(message)) => {
                        self.silent = None;
                        self.ends.0.take(message);
                    }
                    Some(Err(status)) => return Poll::Ready(status),
                    None => return Poll::Ready(Status::unavailable("the server ended the stream of calls")),
                },
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Ready when the server has been silent for too long, so that nothing was sent.
    fn lose_patience(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        let Some(silent) = &mut self.silent else { return Poll::Pending };
        silent.as_mut().poll(cx).map(|()| Status::unavailable("the server did not open the stream of calls in time"))
    }

    /// Lets go of what is late. Ready when the line was closed.
    fn watch(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.ends.0.watch(cx, self.alarm) {
                Watched::Closed => return Poll::Ready(()),
                Watched::Moved(alarm) => {
                    self.alarm = alarm;
                    if let Some(alarm) = alarm {
                        self.sleep.as_mut().reset(alarm.into());
                    }
                }
                Watched::Same => {
                    if self.alarm.is_none() || self.sleep.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    self.ends.0.expire(now());
                }
            }
        }
    }
}

impl Future for Reader {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        for over in [Self::read, Self::lose_patience] {
            if let Poll::Ready(status) = over(&mut self, cx) {
                self.ends.0.end(&status);
                return Poll::Ready(());
            }
        }
        self.watch(cx)
    }
}

/// Ends a line however its reader ends, so that nobody waits for ever.
pub(super) struct Ends(pub Arc<Line>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.end(&Status::cancelled("the task of the stream of calls ended"));
    }
}
