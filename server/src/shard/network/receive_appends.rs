//! `Intake`: append messages of all groups of one node, given to their replicas, and what these say.
//!
//! One task does it all, the one that sends the answers. It never waits for a replica: a message is handed to openraft
//! at once, and its answer is one of many that are waited for. So a replica that is stuck delays nobody; what it holds
//! is bounded by its sender's window, and a sender that goes beyond it loses that opening.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::task::AtomicWaker;
use futures::{FutureExt, Stream, StreamExt};
use lethe_proto::NodeId;
use openraft::Raft;
use openraft::raft::AppendEntriesResponse;
use parking_lot::Mutex;

use super::appends::{WINDOW_BYTES, WINDOW_MESSAGES};
use super::batch::{self, Answer, Part, Why};
use super::receive::{find, stopped};
use super::wire::{self, malformed};
use crate::peer::{Error, Refusal};
use crate::shard::machine::Machine;
use crate::shard::shards::Hosted;
use crate::shard::types::Types;

/// Openings of one sender; it has one for each group, and for a moment two.
const OPENINGS_MAX: usize = 16 << 10;
/// Bytes that are taken in before answers are looked at.
const TAKEN_BYTES: usize = 1 << 20;

type Messages = BoxStream<'static, Result<Bytes, Error>>;
/// What a replica says to a message, or why it has stopped.
type Work = BoxFuture<'static, Result<AppendEntriesResponse<Types>, String>>;

/// Answers to the messages of one node.
pub(super) struct Intake {
    /// Goes away when the node stops.
    hosted: Weak<Hosted>,
    from: NodeId,
    /// Until there are no more.
    messages: Option<Messages>,
    /// Why there are no more, if they did not end well.
    refusal: Option<Refusal>,
    openings: HashMap<u64, Opening>,
    ready: Arc<Ready>,
    /// Answers that are about to be sent.
    answers: Vec<u8>,
    /// Others had a chance to add to them.
    gathered: bool,
}

/// One group's messages to a replica.
struct Opening {
    raft: Raft<Types, Machine>,
    /// Messages that are not answered, in their order.
    waiting: VecDeque<Waiting>,
    bytes: usize,
    waker: Arc<OpeningWaker>,
    /// It ends when those that wait are answered, for this reason.
    end: Option<Why>,
}

struct Waiting {
    bytes: usize,
    work: Work,
    /// What it came to, if it was looked at before its turn.
    done: Option<Result<AppendEntriesResponse<Types>, String>>,
}

/// Openings that may have an answer.
#[derive(Default)]
struct Ready {
    numbers: Mutex<Vec<u64>>,
    task: AtomicWaker,
}

struct OpeningWaker {
    number: u64,
    listed: AtomicBool,
    ready: Arc<Ready>,
}

impl Wake for OpeningWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.listed.swap(true, Ordering::AcqRel) {
            self.ready.numbers.lock().push(self.number);
            self.ready.task.wake();
        }
    }
}

impl Intake {
    pub fn new(hosted: Weak<Hosted>, from: NodeId, messages: Messages) -> Self {
        Self {
            hosted,
            from,
            messages: Some(messages),
            refusal: None,
            openings: HashMap::new(),
            ready: Arc::default(),
            answers: Vec::new(),
            gathered: false,
        }
    }

    /// Takes in what there is, or some of it.
    fn take_in(&mut self, cx: &mut Context<'_>) {
        let mut taken = 0;
        while let Some(messages) = &mut self.messages {
            let ended = match messages.poll_next_unpin(cx) {
                Poll::Pending => return,
                Poll::Ready(None) => Ok(()),
                Poll::Ready(Some(Err(error))) => Err(stopped(&error.to_string())),
                Poll::Ready(Some(Ok(bytes))) => {
                    taken += bytes.len();
                    match self.batch(bytes) {
                        Ok(()) if taken < TAKEN_BYTES => continue,
                        Ok(()) => return cx.waker().wake_by_ref(),
                        Err(refusal) => Err(refusal),
                    }
                }
            };
            self.messages = None;
            self.refusal = ended.err();
        }
    }

    fn batch(&mut self, bytes: Bytes) -> Result<(), Refusal> {
        for part in batch::parts(bytes) {
            match part? {
                Part::Open { opening, group, incarnation } => self.open(opening, group, incarnation)?,
                Part::Append { opening, message } => self.append(opening, message),
                Part::Close { opening } => drop(self.openings.remove(&opening)),
            }
        }
        Ok(())
    }

    fn open(&mut self, number: u64, group: u32, incarnation: u64) -> Result<(), Refusal> {
        if self.openings.contains_key(&number) {
            return Err(malformed("two openings have the same number"));
        }
        if self.openings.len() >= OPENINGS_MAX {
            return Err(malformed("there are too many openings"));
        }
        let hosted = self.hosted.upgrade().ok_or_else(|| stopped("the node stops"))?;
        match find(&hosted, group, incarnation) {
            Ok(replica) => {
                let waker = OpeningWaker { number, listed: AtomicBool::new(false), ready: self.ready.clone() };
                let opening = Opening {
                    raft: replica.raft.clone(),
                    waiting: VecDeque::new(),
                    bytes: 0,
                    waker: Arc::new(waker),
                    end: None,
                };
                self.openings.insert(number, opening);
            }
            Err(_) => self.answer(&Answer::Ended { opening: number, why: Why::NoReplica { group, incarnation } }),
        }
        Ok(())
    }

    /// A message of an opening that is over reaches nobody.
    fn append(&mut self, number: u64, message: Bytes) {
        let Some(opening) = self.openings.get_mut(&number) else { return };
        if opening.end.is_some() {
            return;
        }
        if let Err(why) = opening.append(self.from, message) {
            opening.end = Some(why);
            opening.waker.wake_by_ref();
        }
    }

    /// Gathers what replicas have said since.
    fn gather(&mut self) {
        let numbers = mem::take(&mut *self.ready.numbers.lock());
        for number in numbers {
            let Some(opening) = self.openings.get_mut(&number) else { continue };
            opening.waker.listed.store(false, Ordering::Release);
            let taken = opening.take_done();
            if taken.count > 0 {
                self.answer(&Answer::Taken { opening: number, count: taken.count });
            }
            if let Some(last) = taken.last {
                self.openings.remove(&number);
                self.answer(&last.answer(number));
            }
        }
    }

    fn answer(&mut self, answer: &Answer) {
        if self.answers.is_empty() {
            self.answers = batch::begin(0);
        }
        batch::put_answer(&mut self.answers, answer);
    }
}

/// What an opening has to say.
struct Taken {
    /// So many messages are in the log.
    count: u32,
    /// And that was all.
    last: Option<Last>,
}

enum Last {
    Conflict,
    HigherVote(crate::shard::types::Vote),
    Ended(Why),
}

impl Last {
    fn answer(self, opening: u64) -> Answer {
        match self {
            Self::Conflict => Answer::Conflict { opening },
            Self::HigherVote(vote) => Answer::HigherVote { opening, vote },
            Self::Ended(why) => Answer::Ended { opening, why },
        }
    }
}

impl Opening {
    fn append(&mut self, from: NodeId, message: Bytes) -> Result<(), Why> {
        if self.waiting.len() >= WINDOW_MESSAGES || self.bytes >= WINDOW_BYTES {
            return Err(Why::Malformed("more messages are unanswered than may be".to_owned()));
        }
        let bytes = message.len();
        let request = wire::decode_append(from, message).map_err(|refusal| Why::Malformed(refusal.to_string()))?;
        let raft = self.raft.clone();
        let work = async move { raft.append_entries(request).await.map_err(|error| error.to_string()) };
        // This hands the message to openraft, so it must not be put off for the sake of other tasks: a later one would
        // come first.
        let mut work: Work = tokio::task::unconstrained(work).boxed();
        let done = match work.poll_unpin(&mut Context::from_waker(&Waker::from(self.waker.clone()))) {
            Poll::Pending => None,
            Poll::Ready(done) => {
                self.waker.wake_by_ref();
                Some(done)
            }
        };
        self.bytes += bytes;
        self.waiting.push_back(Waiting { bytes, work, done });
        Ok(())
    }

    /// Takes the answers that are there, in the order of their messages.
    fn take_done(&mut self) -> Taken {
        let waker = Waker::from(self.waker.clone());
        let mut count = 0;
        while let Some(Waiting { bytes, work, done }) = self.waiting.front_mut() {
            let done = match done.take() {
                Some(done) => done,
                None => match work.poll_unpin(&mut Context::from_waker(&waker)) {
                    Poll::Ready(done) => done,
                    Poll::Pending => return Taken { count, last: None },
                },
            };
            self.bytes -= *bytes;
            self.waiting.pop_front();
            let last = match done {
                Ok(AppendEntriesResponse::Success) => {
                    count += 1;
                    continue;
                }
                Ok(AppendEntriesResponse::Conflict) => Last::Conflict,
                Ok(AppendEntriesResponse::HigherVote(vote)) => Last::HigherVote(vote),
                Ok(AppendEntriesResponse::PartialSuccess(_)) => Last::Ended(Why::Stopped("it took a part".to_owned())),
                Err(fatal) => Last::Ended(Why::Stopped(fatal)),
            };
            return Taken { count, last: Some(last) };
        }
        Taken { count, last: self.end.take().map(Last::Ended) }
    }
}

impl Stream for Intake {
    type Item = Result<Bytes, Refusal>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        this.ready.task.register(cx.waker());
        this.take_in(cx);
        this.gather();
        if !this.answers.is_empty() {
            if !mem::replace(&mut this.gathered, true) {
                // Replicas that are done at the same moment get a chance to say so in this message.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            this.gathered = false;
            return Poll::Ready(Some(Ok(Bytes::from(mem::take(&mut this.answers)))));
        }
        if let Some(refusal) = this.refusal.take() {
            this.openings.clear();
            return Poll::Ready(Some(Err(refusal)));
        }
        let idle = |opening: &Opening| opening.waiting.is_empty();
        match this.messages.is_none() && this.openings.values().all(idle) {
            true => Poll::Ready(None),
            false => Poll::Pending,
        }
    }
}
