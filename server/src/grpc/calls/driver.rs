//! The task of one stream of calls.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use futures::StreamExt;
use lethe_proto::v1::{self, ErrorCode, numbered_answer::Answer};
use lethe_runtime::host::Outcome;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::{Status, Streaming};

use super::{alarm::Alarm, crew::Crew, out::Out};
use crate::{
    actor::error,
    grpc::{
        call::Begun,
        entry::{self, EnteredStream},
        error::{envelope, of_call, of_refusal, status},
        service::Service,
    },
    peer::Admission,
};

/// Messages taken in a row before calls have their turn.
const MESSAGES_MAX: usize = 32;

pub(super) struct Driver {
    service: Service,
    /// Of all calls under way on the server.
    places: Arc<Semaphore>,
    /// None once the caller says nothing more.
    incoming: Option<Streaming<v1::CallsRequest>>,
    crew: Crew<Running>,
    alarm: Alarm,
    out: Arc<Out>,
    /// Answers that are not in `out` yet; empty between polls.
    answers: Vec<v1::NumberedAnswer>,
    /// Of another node.
    admission: Option<Admission>,
    /// Number of the last call that was taken.
    last: u64,
    end: End,
    _stream: OwnedSemaphorePermit,
}

/// How far the server's own end has come.
enum End {
    /// Calls are taken until this.
    NotYet(Pin<Box<WaitForCancellationFutureOwned>>),
    /// No more are taken; those under way may run until this.
    Stopping(Pin<Box<WaitForCancellationFutureOwned>>),
    /// Nothing runs any more.
    Cut,
}

impl Driver {
    pub fn new(
        service: Service,
        entered: EnteredStream,
        incoming: Streaming<v1::CallsRequest>,
        out: Arc<Out>,
        admission: Option<Admission>,
    ) -> Self {
        // The peer port knows itself when it ends.
        let stop = admission.as_ref().map_or_else(|| service.stop.clone(), Admission::stopping);
        Self {
            service,
            places: entered.places,
            incoming: Some(incoming),
            crew: Crew::new(),
            alarm: Alarm::new(),
            out,
            answers: Vec::new(),
            admission,
            last: 0,
            end: End::NotYet(Box::pin(stop.cancelled_owned())),
            _stream: entered.stream,
        }
    }

    /// Takes what has arrived. An error ends the stream.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<(), Status> {
        for _ in 0..MESSAGES_MAX {
            let Some(incoming) = self.incoming.as_mut().filter(|_| self.out.has_room(cx)) else { return Ok(()) };
            match incoming.poll_next_unpin(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Some(Ok(message))) => {
                    self.take(message)?;
                    // What was refused counts at once.
                    self.out.push(&mut self.answers);
                }
                Poll::Ready(Some(Err(status))) => return Err(status),
                Poll::Ready(None) => self.incoming = None,
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    fn take(&mut self, message: v1::CallsRequest) -> Result<(), Status> {
        if self.admission.as_ref().is_some_and(Admission::is_withdrawn) {
            let text = "the node was removed from the cluster";
            return Err(status(&error::unavailable(text, Outcome::Unknown)));
        }
        if !message.dropped.is_empty() {
            let dropped: std::collections::HashSet<u64> = message.dropped.into_iter().collect();
            self.crew.retain(|call| !dropped.contains(&call.number));
        }
        if !matches!(self.end, End::NotYet(_)) {
            // The caller is told that these were not taken.
            return Ok(());
        }
        let now = Instant::now();
        for call in message.calls {
            if call.number <= self.last {
                let text = format!("call {} comes after call {}: numbers only grow", call.number, self.last);
                return Err(envelope(&of_refusal(ErrorCode::InvalidRequest, text)));
            }
            self.last = call.number;
            if let Err(error) = self.begin(call, now) {
                self.answers.push(v1::NumberedAnswer { number: self.last, answer: Some(Answer::Error(error)) });
            }
        }
        Ok(())
    }

    fn begin(&mut self, call: v1::NumberedCall, now: Instant) -> Result<(), v1::Error> {
        let what = call.what.ok_or_else(|| of_refusal(ErrorCode::InvalidRequest, "the call says not what to do"))?;
        if self.crew.len() >= self.service.stream_calls_max as usize {
            let text = "the stream has as many calls under way as it takes";
            return Err(of_call(&error::overloaded(text)));
        }
        let place = self.places.clone().try_acquire_owned().map_err(|_| entry::overloaded())?;
        let timeout = (call.timeout_us > 0).then(|| Duration::from_micros(call.timeout_us));
        let deadline = entry::deadline_after(now, timeout);
        let begun = catch_unwind(AssertUnwindSafe(|| self.service.begin(what, deadline)));
        let begun = begun.unwrap_or_else(|_| Err(panicked()))?;
        self.alarm.by(deadline);
        self.crew.add(Running { number: call.number, deadline, begun, _place: place });
        Ok(())
    }

    /// Ends calls whose deadline has passed.
    fn expire(&mut self, cx: &mut Context<'_>) {
        while self.alarm.poll(cx).is_ready() {
            let (now, answers, alarm) = (Instant::now(), &mut self.answers, &mut self.alarm);
            self.crew.retain(|call| {
                let in_time = call.deadline > now;
                if in_time {
                    alarm.by(call.deadline);
                } else {
                    answers.push(call.failed(entry::deadline_passed()));
                }
                in_time
            });
        }
    }

    /// Follows the server's own end.
    fn follow(&mut self, cx: &mut Context<'_>) {
        if let End::NotYet(stop) = &mut self.end
            && stop.as_mut().poll(cx).is_ready()
        {
            self.out.announce(self.last);
            self.end = End::Stopping(Box::pin(self.service.cut.clone().cancelled_owned()));
        }
        if let End::Stopping(cut) = &mut self.end
            && cut.as_mut().poll(cx).is_ready()
        {
            let answers = &mut self.answers;
            self.crew.retain(|call| {
                answers.push(call.failed(entry::stopping()));
                false
            });
            self.end = End::Cut;
        }
    }

    /// Whether nothing more will be said.
    fn is_done(&self) -> bool {
        self.crew.len() == 0 && (self.incoming.is_none() || !matches!(self.end, End::NotYet(_)))
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if let Err(status) = this.read(cx) {
            this.out.push(&mut this.answers);
            this.out.end(Err(status));
            return Poll::Ready(());
        }
        let answers = &mut this.answers;
        this.crew.poll(cx, |answer| answers.push(answer));
        this.expire(cx);
        // Last, so that what had arrived is taken.
        this.follow(cx);
        this.out.push(&mut this.answers);
        if this.is_done() {
            this.out.end(Ok(()));
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

/// Whatever ends the task, its caller does not wait for ever.
impl Drop for Driver {
    fn drop(&mut self) {
        let text = "the task of the stream ended";
        self.out.end(Err(status(&error::internal(text, Outcome::Unknown))));
    }
}

/// A call under way, with its place among all.
struct Running {
    number: u64,
    deadline: Instant,
    begun: Begun,
    _place: OwnedSemaphorePermit,
}

impl Running {
    fn failed(&self, error: v1::Error) -> v1::NumberedAnswer {
        v1::NumberedAnswer { number: self.number, answer: Some(Answer::Error(error)) }
    }
}

impl Future for Running {
    type Output = v1::NumberedAnswer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<v1::NumberedAnswer> {
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut self.begun).poll(cx)));
        let answer = match polled {
            Ok(poll) => ready!(poll).unwrap_or_else(Answer::Error),
            Err(_) => Answer::Error(panicked()),
        };
        Poll::Ready(v1::NumberedAnswer { number: self.number, answer: Some(answer) })
    }
}

fn panicked() -> v1::Error {
    of_call(&error::internal("the call ended with a fault of the server's", Outcome::Unknown))
}
