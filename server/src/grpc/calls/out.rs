//! Answers on their way from a stream's task to its body.

use std::{
    collections::VecDeque,
    task::{Context, Poll, Waker},
};

use lethe_proto::v1;
use parking_lot::Mutex;
use prost::Message;
use tonic::Status;

use super::{ANSWERS_BYTES_MAX, BATCH_BYTES_MAX};

pub(super) struct Out {
    state: Mutex<State>,
}

struct State {
    /// Answers and their sizes.
    answers: VecDeque<(v1::NumberedAnswer, usize)>,
    bytes: usize,
    /// 0 once it was said.
    calls_max: u32,
    last: Option<u64>,
    end: Option<Result<(), Status>>,
    /// Waits for answers.
    body: Option<Waker>,
    /// Waits until fewer answers wait.
    task: Option<Waker>,
}

impl Out {
    /// Begins with saying how many calls may be under way.
    pub fn new(calls_max: u32) -> Self {
        let (answers, bytes, last, end) = (VecDeque::new(), 0, None, None);
        Self { state: Mutex::new(State { answers, bytes, calls_max, last, end, body: None, task: None }) }
    }

    /// Whether further calls may be taken; if not, the task is woken when they may.
    pub fn has_room(&self, cx: &mut Context<'_>) -> bool {
        let mut state = self.state.lock();
        let has_room = state.bytes <= ANSWERS_BYTES_MAX;
        if !has_room {
            state.task = Some(cx.waker().clone());
        }
        has_room
    }

    /// Answers go out in this order; `answers` is left empty.
    pub fn push(&self, answers: &mut Vec<v1::NumberedAnswer>) {
        if answers.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        for answer in answers.drain(..) {
            let bytes = answer.encoded_len();
            state.bytes += bytes;
            state.answers.push_back((answer, bytes));
        }
        wake(state.body.take(), state);
    }

    /// Says which call was the last one taken.
    pub fn announce(&self, last: u64) {
        let mut state = self.state.lock();
        state.last = Some(last);
        wake(state.body.take(), state);
    }

    /// Nothing more will be said, after what waits.
    pub fn end(&self, end: Result<(), Status>) {
        let mut state = self.state.lock();
        state.end.get_or_insert(end);
        wake(state.body.take(), state);
    }

    /// The next message: whatever is there, within its bounds.
    pub fn batch(&self, cx: &mut Context<'_>) -> Poll<Option<Result<v1::CallsResponse, Status>>> {
        let mut state = self.state.lock();
        let (calls_max, last) = (std::mem::take(&mut state.calls_max), state.last.take());
        let mut message = v1::CallsResponse { answers: Vec::new(), calls_max, last };
        let mut bytes = 0;
        while let Some((_, size)) = state.answers.front()
            && (bytes == 0 || bytes + size <= BATCH_BYTES_MAX)
            && let Some((answer, size)) = state.answers.pop_front()
        {
            bytes += size;
            message.answers.push(answer);
        }
        state.bytes -= bytes;
        let says_something = calls_max > 0 || last.is_some() || !message.answers.is_empty();
        if says_something {
            let task = if state.bytes <= ANSWERS_BYTES_MAX { state.task.take() } else { None };
            wake(task, state);
            return Poll::Ready(Some(Ok(message)));
        }
        match state.end.replace(Ok(())) {
            Some(Ok(())) => Poll::Ready(None),
            Some(Err(status)) => Poll::Ready(Some(Err(status))),
            None => {
                state.end = None;
                if !state.body.as_ref().is_some_and(|body| body.will_wake(cx.waker())) {
                    state.body = Some(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }
}

/// Wakes somebody, without the lock.
fn wake(waker: Option<Waker>, state: parking_lot::MutexGuard<'_, State>) {
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}
