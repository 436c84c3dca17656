//! What both ends of a stream of calls share: calls that wait for their turn, and callers that wait for an answer.
//!
//! Pure: it does what it is told under one lock, and wakes the stream's two ends. A call is *unsent* while its request is
//! here, and *sent* from the moment the writer has taken it. A call leaves when it is answered, given up or late, or when
//! the stream ends; whichever comes first tells the caller, and the others find nothing.

use std::{
    collections::{HashMap, VecDeque},
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll, Waker},
    time::Instant,
};

use lethe_proto::v1::{self, numbered_answer::Answer, numbered_call::What};
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::oneshot;
use tonic::Status;

use super::{BATCH_BYTES_MAX, Failure, QUEUE_MAX, Tell, Told};

/// Calls sent before the server has said how many it takes, which it does as soon as it opens the stream. So no call is
/// sent on a stream that is then not opened, of which nobody could say whether it was done.
const CALLS_MAX_UNTOLD: usize = 0;
/// Numbers of calls that were given up unsent are swept from the queue when there are this many more than others.
const STALE_MAX: usize = 64;

/// Numbers of calls that nobody waits for in one message.
const DROPPED_MAX: usize = 4_096;

pub(super) struct Line {
    state: Mutex<State>,
    /// Whether calls are still taken; a copy for those who only look.
    takes_calls: AtomicBool,
}

struct State {
    /// Calls that are not answered, by number.
    waiting: HashMap<u64, Waiting>,
    /// Numbers of the unsent, in order, and of some that were given up.
    queue: VecDeque<u64>,
    unsent: usize,
    /// Numbers of sent calls that nobody waits for; the server does not know yet.
    dropped: Vec<u64>,
    /// Number of the newest call.
    newest: u64,
    /// Calls that the server takes at the same time.
    calls_max: usize,
    /// When to look for late calls; some call may be late then, and none before.
    alarm: Option<Instant>,
    /// Why no calls are taken any more.
    over: Option<Failure>,
    /// Nothing is sent any more.
    ended: bool,
    writer: Option<Waker>,
    reader: Option<Waker>,
}

struct Waiting {
    /// None once it was sent.
    what: Option<What>,
    deadline: Instant,
    until: Instant,
    tell: Tell,
}

impl State {
    /// Sent calls that are not answered.
    fn under_way(&self) -> usize {
        self.waiting.len() - self.unsent
    }

    /// Takes a call off the line, if it is still there, and says whether it was sent.
    fn remove(&mut self, number: u64) -> Option<(Waiting, bool)> {
        let waiting = self.waiting.remove(&number)?;
        let sent = waiting.what.is_none();
        if !sent {
            self.unsent -= 1;
            if self.queue.len() > 2 * self.unsent + STALE_MAX {
                let waiting = &self.waiting;
                self.queue.retain(|number| waiting.get(number).is_some_and(|call| call.what.is_some()));
            }
        }
        Some((waiting, sent))
    }

    /// The writer, if there is something for it.
    fn writer_if_due(&mut self) -> Option<Waker> {
        let due = self.ended || !self.dropped.is_empty() || (self.unsent > 0 && self.under_way() < self.calls_max);
        if due { self.writer.take() } else { None }
    }
}

impl Line {
    pub fn new() -> Self {
        let state = State {
            waiting: HashMap::new(),
            queue: VecDeque::new(),
            unsent: 0,
            dropped: Vec::new(),
            newest: 0,
            calls_max: CALLS_MAX_UNTOLD,
            alarm: None,
            over: None,
            ended: false,
            writer: None,
            reader: None,
        };
        Self { state: Mutex::new(state), takes_calls: AtomicBool::new(true) }
    }

    pub fn takes_calls(&self) -> bool {
        self.takes_calls.load(Ordering::Relaxed)
    }

    /// Puts a call on the line. If no calls are taken any more, it is answered at once.
    pub fn push(&self, what: What, deadline: Instant, until: Instant) -> (u64, Told) {
        let (tell, told) = oneshot::channel();
        let mut state = self.state.lock();
        let refused = match &state.over {
            Some(failure) => Some(failure.clone()),
            None => (state.unsent >= QUEUE_MAX).then_some(Failure::Full),
        };
        if let Some(failure) = refused {
            drop(state);
            answer(tell, Err(failure));
            return (0, told);
        }
        state.newest += 1;
        let number = state.newest;
        state.waiting.insert(number, Waiting { what: Some(what), deadline, until, tell });
        state.queue.push_back(number);
        state.unsent += 1;
        let mut reader = None;
        if state.alarm.is_none_or(|alarm| until < alarm) {
            state.alarm = Some(until);
            reader = state.reader.take();
        }
        let writer = state.writer_if_due();
        drop(state);
        wake([writer, reader]);
        (number, told)
    }

    /// The caller does not wait any more.
    pub fn give_up(&self, number: u64) {
        let mut state = self.state.lock();
        let Some((call, sent)) = state.remove(number) else { return };
        if sent && !state.ended {
            state.dropped.push(number);
        }
        let writer = state.writer_if_due();
        drop(state);
        drop(call);
        wake([writer, None]);
    }

    /// The next message: whatever may be sent now, within its bounds. None when the stream is over.
    pub fn batch(&self, cx: &mut Context<'_>, now: Instant) -> Poll<Option<v1::CallsRequest>> {
        let mut late = Vec::new();
        let mut state = self.state.lock();
        if state.ended {
            return Poll::Ready(None);
        }
        let dropped = state.dropped.len().min(DROPPED_MAX);
        let mut message = v1::CallsRequest { dropped: state.dropped.drain(..dropped).collect(), calls: Vec::new() };
        let mut bytes = 0;
        // The server makes room before it takes calls.
        while state.dropped.is_empty()
            && state.under_way() < state.calls_max
            && let Some(number) = state.queue.front().copied()
        {
            let Some(call) = state.waiting.get_mut(&number) else {
                state.queue.pop_front();
                continue;
            };
            if call.deadline <= now {
                state.queue.pop_front();
                late.extend(state.remove(number));
                continue;
            }
            let size = call.what.as_ref().map_or(0, bytes_of);
            if bytes > 0 && bytes + size > BATCH_BYTES_MAX {
                break;
            }
            bytes += size;
            let timeout = u64::try_from((call.deadline - now).as_micros()).unwrap_or(u64::MAX);
            let what = call.what.take();
            message.calls.push(v1::NumberedCall { number, timeout_us: timeout.max(1), what });
            state.queue.pop_front();
            state.unsent -= 1;
        }
        let empty = message.calls.is_empty() && message.dropped.is_empty();
        if empty && !state.writer.as_ref().is_some_and(|writer| writer.will_wake(cx.waker())) {
            state.writer = Some(cx.waker().clone());
        }
        drop(state);
        late.into_iter().for_each(|(call, sent)| answer(call.tell, Err(Failure::Late { sent })));
        if empty { Poll::Pending } else { Poll::Ready(Some(message)) }
    }

    /// Takes a message of the server.
    pub fn take(&self, message: v1::CallsResponse) {
        let mut told = Vec::with_capacity(message.answers.len());
        let mut passed_over = Vec::new();
        let mut state = self.state.lock();
        if message.calls_max > 0 {
            state.calls_max = message.calls_max as usize;
        }
        for v1::NumberedAnswer { number, answer } in message.answers {
            // An answer may cross its caller's giving up.
            if state.waiting.get(&number).is_some_and(|call| call.what.is_none())
                && let Some((call, _)) = state.remove(number)
            {
                told.push((call.tell, answer));
            }
        }
        if let Some(last) = message.last {
            self.takes_calls.store(false, Ordering::Relaxed);
            state.over.get_or_insert(Failure::NotTaken);
            let passed: Vec<u64> = state.waiting.keys().copied().filter(|number| *number > last).collect();
            passed_over = passed.into_iter().filter_map(|number| state.remove(number)).collect();
        }
        let writer = state.writer_if_due();
        drop(state);
        wake([writer, None]);
        for (tell, told) in told {
            answer(tell, told.ok_or_else(|| Failure::Lost(Status::internal("the answer says nothing"))));
        }
        passed_over.into_iter().for_each(|(call, _)| answer(call.tell, Err(Failure::NotTaken)));
    }

    /// Lets go of calls that are late, and sets the alarm to when to look next; a call that is late before that moves it.
    pub fn expire(&self, now: Instant) {
        let mut state = self.state.lock();
        if state.alarm.is_none_or(|alarm| alarm > now) {
            return;
        }
        let late: Vec<u64> = state.waiting.iter().filter(|(_, call)| call.until <= now).map(|(at, _)| *at).collect();
        let mut told = Vec::with_capacity(late.len());
        for number in late {
            let Some((call, sent)) = state.remove(number) else { continue };
            if sent {
                state.dropped.push(number);
            }
            told.push((call.tell, sent));
        }
        state.alarm = state.waiting.values().map(|call| call.until).min();
        let writer = state.writer_if_due();
        drop(state);
        wake([writer, None]);
        told.into_iter().for_each(|(tell, sent)| answer(tell, Err(Failure::Late { sent })));
    }

    /// Looks whether anything changed for the reader, which thinks that the alarm is at `alarm`; if not, it is woken
    /// when something does.
    pub fn watch(&self, cx: &mut Context<'_>, alarm: Option<Instant>) -> Watched {
        let mut state = self.state.lock();
        if state.ended {
            return Watched::Closed;
        }
        if state.alarm != alarm {
            return Watched::Moved(state.alarm);
        }
        if !state.reader.as_ref().is_some_and(|reader| reader.will_wake(cx.waker())) {
            state.reader = Some(cx.waker().clone());
        }
        Watched::Same
    }

    /// The stream is over. Every call that waits has failed; whether it may have been done depends on how far it got.
    pub fn end(&self, status: &Status) {
        let mut state = self.state.lock();
        if state.ended {
            return;
        }
        self.takes_calls.store(false, Ordering::Relaxed);
        state.ended = true;
        state.over.get_or_insert_with(|| Failure::NotSent(status.clone()));
        let waiting = std::mem::take(&mut state.waiting);
        (state.unsent, state.queue, state.dropped) = (0, VecDeque::new(), Vec::new());
        let wakers = [state.writer.take(), state.reader.take()];
        drop(state);
        wake(wakers);
        for call in waiting.into_values() {
            let failure = match call.what {
                Some(_) => Failure::NotSent(status.clone()),
                None => Failure::Lost(status.clone()),
            };
            answer(call.tell, Err(failure));
        }
    }

    /// Nobody will call any more, and nobody waits.
    pub fn close(&self) {
        self.end(&Status::cancelled("the client is gone"));
    }
}

/// What the reader finds when it looks at the line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Watched {
    /// Nothing is to be done; it will be woken.
    Same,
    /// Late calls are to be looked for at this time.
    Moved(Option<Instant>),
    /// The stream has ended.
    Closed,
}

/// Bytes of a call in a message, nearly.
fn bytes_of(what: &What) -> usize {
    match what {
        What::Call(request) => request.encoded_len(),
        What::Destroy(request) => request.encoded_len(),
    }
}

/// A caller that is gone needs no answer.
fn answer(tell: Tell, told: Result<Answer, Failure>) {
    drop(tell.send(told));
}

fn wake(wakers: [Option<Waker>; 2]) {
    wakers.into_iter().flatten().for_each(Waker::wake);
}
