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

#[cfg(test)]
mod tests {
    use futures::task::noop_waker;
    use lethe_proto::v1::{NumberedAnswer, numbered_answer::Answer};

    use super::*;

    fn answer(number: u64, bytes: usize) -> NumberedAnswer {
        let destroyed = v1::DestroyResponse { id: "x".repeat(bytes) };
        NumberedAnswer { number, answer: Some(Answer::Destroyed(destroyed)) }
    }

    fn next(out: &Out) -> Poll<Option<Vec<u64>>> {
        let numbers =
            |message: v1::CallsResponse| message.answers.into_iter().map(|answer| answer.number).collect::<Vec<_>>();
        out.batch(&mut Context::from_waker(&noop_waker())).map(|message| message.map(|said| numbers(said.unwrap())))
    }

    #[test]
    fn what_is_there_goes_together_within_a_bound_and_what_is_large_goes_alone() {
        let out = Out::new(5);
        assert_eq!((next(&out), next(&out)), (Poll::Ready(Some(vec![])), Poll::Pending));
        let sizes = [(1, 10), (2, 10), (3, 2 * BATCH_BYTES_MAX), (4, 10)];
        out.push(&mut sizes.map(|(number, bytes)| answer(number, bytes)).into());
        out.end(Ok(()));
        let said: Vec<_> = (0..4).map(|_| next(&out)).collect();
        let expected = [Some(vec![1, 2]), Some(vec![3]), Some(vec![4]), None];
        assert_eq!(said, expected.map(Poll::Ready));
    }

    #[test]
    fn there_is_no_room_for_calls_while_too_much_waits_and_the_task_hears_when_there_is() {
        let (out, (waker, woken)) = (Out::new(0), counting());
        let mut cx = Context::from_waker(&waker);
        out.push(&mut vec![answer(1, ANSWERS_BYTES_MAX / 2), answer(2, ANSWERS_BYTES_MAX / 2)]);
        assert!(!out.has_room(&mut cx));
        assert_eq!((woken(), next(&out), woken()), (0, Poll::Ready(Some(vec![1])), 1));
        assert!(out.has_room(&mut cx));
    }

    /// A waker, and how often it was used.
    fn counting() -> (Waker, impl Fn() -> usize) {
        use std::sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        };
        struct Count(AtomicUsize);
        impl std::task::Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let count = Arc::new(Count(AtomicUsize::new(0)));
        (count.clone().into(), move || count.0.load(Ordering::Relaxed))
    }
}
