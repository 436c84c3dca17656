//! `Outbox`: append messages of all groups on their way to one node, gathered into batches.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::Mutex;

use super::super::batch;

/// Size of a batch in bytes; a message that is larger goes alone.
const BATCH_BYTES: usize = 256 << 10;
/// Bytes that wait to be sent; nobody adds a message while there are more.
const QUEUED_BYTES: usize = 4 << 20;
/// A message of this size is written before the lock is taken.
const LARGE_BYTES: usize = 32 << 10;

/// What waits to be sent. At most `QUEUED_BYTES` and one message per thread more.
#[derive(Default)]
pub(super) struct Outbox {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Batches that are full.
    full: VecDeque<Vec<u8>>,
    /// The batch that still grows.
    open: Vec<u8>,
    /// Bytes of all of them.
    bytes: usize,
    /// Takes the batches.
    taker: Option<Waker>,
    /// Who waits for room, by the numbers of their openings.
    waiting: HashMap<u64, Waker>,
}

impl Outbox {
    /// Whether a message may be added now; if not, `number`'s task is woken when it may.
    pub fn has_room(&self, number: u64, cx: &Context<'_>) -> bool {
        let mut state = self.state.lock();
        if state.bytes < QUEUED_BYTES {
            return true;
        }
        state.waiting.insert(number, cx.waker().clone());
        false
    }

    /// `number` does not wait for room any more.
    pub fn forget(&self, number: u64) {
        self.state.lock().waiting.remove(&number);
    }

    /// Adds what `write` writes, about `bytes` long, behind everything before it.
    pub fn push(&self, bytes: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let taker = if bytes > LARGE_BYTES {
            let mut large = batch::begin(bytes);
            write(&mut large);
            let mut state = self.state.lock();
            if state.open.len() + large.len() > BATCH_BYTES {
                state.close();
                state.bytes += large.len();
                state.full.push_back(large);
            } else {
                state.add(|open| batch::join(open, &large));
            }
            state.taker.take()
        } else {
            let mut state = self.state.lock();
            if state.open.len() + bytes > BATCH_BYTES {
                state.close();
            }
            state.add(write);
            state.taker.take()
        };
        if let Some(taker) = taker {
            taker.wake();
        }
    }

    /// Whether there is something to take; if not, the task is woken when there is.
    pub fn poll_some(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if state.bytes > 0 {
            return Poll::Ready(());
        }
        state.taker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The next batch.
    pub fn take(&self) -> Option<Bytes> {
        let (batch, waiting) = {
            let mut state = self.state.lock();
            let batch = match state.full.pop_front() {
                Some(batch) => batch,
                None if state.open.is_empty() => return None,
                None => mem::take(&mut state.open),
            };
            state.bytes -= batch.len();
            let room = state.bytes <= QUEUED_BYTES / 2;
            (batch, if room { mem::take(&mut state.waiting) } else { HashMap::new() })
        };
        waiting.into_values().for_each(Waker::wake);
        Some(Bytes::from(batch))
    }
}

impl State {
    fn add(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.open.len();
        if before == 0 {
            self.open = batch::begin(0);
        }
        write(&mut self.open);
        self.bytes += self.open.len() - before;
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.full.push_back(mem::take(&mut self.open));
        }
    }
}
