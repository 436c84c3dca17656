//! Streams: both ways, in order, with back-pressure, and with an end that is told from a break.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use tokio::sync::mpsc;

use super::rig::*;
use crate::peer::{self, Error, Refusal, Topic, Transport};

type Answers = peer::Answers<Error>;

const MESSAGE_BYTES: usize = 64 << 10;
/// Messages that may be on their way to a reader who does not read: windows and buffers of both ends.
const AHEAD_MAX: u64 = 128;
const MESSAGES: u64 = 1_000;

fn numbered(number: u64) -> Bytes {
    let mut message = vec![0; MESSAGE_BYTES];
    message[..8].copy_from_slice(&number.to_le_bytes());
    message.into()
}

fn number(message: &Bytes) -> u64 {
    u64::from_le_bytes(message[..8].try_into().unwrap())
}

/// `MESSAGES` numbered ones; `made` counts those that were taken.
fn messages(made: Arc<AtomicU64>) -> impl Stream<Item = Bytes> + Send + 'static {
    stream::iter(0..MESSAGES).map(move |number| {
        made.store(number + 1, Ordering::SeqCst);
        numbered(number)
    })
}

/// Opens a stream of snapshot chunks, for these tests of no group.
async fn open(one: &Served, two: &Served, sent: impl Stream<Item = Bytes> + Send + 'static) -> Answers {
    soon("the stream", one.peers.stream(two.node, head(Topic::Snapshot), sent.boxed())).await.unwrap()
}

/// Opens a stream, sends one message and waits until it was read and answered; more never comes.
async fn open_and_ask(one: &Served, two: &Served, told: &mut mpsc::UnboundedReceiver<Heard>) -> Answers {
    let sent = stream::iter([Bytes::from_static(b"a")]).chain(stream::pending());
    let mut answers = open(one, two, sent).await;
    assert_eq!(soon("the message", told.recv()).await.unwrap(), Heard::Message(Bytes::from_static(b"a")));
    assert_eq!(soon("an answer", answers.next()).await, Some(Ok(Bytes::from_static(b"read"))));
    answers
}

/// Waits until the other side has run ahead at least a little.
async fn some_ahead(made: &AtomicU64) {
    soon("messages to be made", async {
        while made.load(Ordering::SeqCst) < 4 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn messages_and_answers_keep_their_order_and_the_end_is_an_end() {
    let (one, two) = two(Echo).await;
    let sent = stream::iter((0..500_u64).map(|number| Bytes::copy_from_slice(&number.to_le_bytes())));
    let answers = soon("the stream", one.peers.stream(two.node, head(Topic::AppendStream), sent.boxed())).await;
    let answers: Vec<_> = soon("the answers", answers.unwrap().collect()).await;
    let numbers: Vec<u64> = answers.into_iter().map(|answer| number(&answer.unwrap())).collect();
    assert_eq!(numbers, (0..500).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_does_not_run_ahead_of_a_reader() {
    let made = Arc::new(AtomicU64::new(0));
    let seen = made.clone();
    let (one, two) = two(streams(move |mut messages: Incoming| {
        let made = seen.clone();
        let last = async move {
            some_ahead(&made).await;
            let mut read = 0;
            while let Some(message) = messages.next().await {
                assert_eq!(number(&message.unwrap()), read);
                read += 1;
                let ahead = made.load(Ordering::SeqCst).saturating_sub(read);
                if ahead > AHEAD_MAX {
                    return Err(Refusal::Unavailable(format!("{ahead} messages wait")));
                }
            }
            Ok(Bytes::copy_from_slice(&read.to_le_bytes()))
        };
        stream::once(last).boxed()
    }))
    .await;
    let answers = open(&one, &two, messages(made)).await;
    let answers: Vec<_> = soon("the answer", answers.collect()).await;
    assert_eq!(answers, [Ok(Bytes::copy_from_slice(&MESSAGES.to_le_bytes()))]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_do_not_run_ahead_of_their_reader() {
    let made = Arc::new(AtomicU64::new(0));
    let counted = made.clone();
    let (one, two) = two(streams(move |_| messages(counted.clone()).map(Ok).boxed())).await;
    let mut answers = open(&one, &two, stream::pending()).await;
    some_ahead(&made).await;
    for read in 0..MESSAGES {
        let answer = soon("an answer", answers.next()).await.unwrap();
        assert_eq!(number(&answer.unwrap()), read);
        let ahead = made.load(Ordering::SeqCst).saturating_sub(read);
        assert!(ahead <= AHEAD_MAX, "{ahead} answers wait");
    }
    assert_eq!(soon("the end", answers.next()).await, None);
}

/// What became of a stream at its handler.
#[derive(Debug, PartialEq)]
enum Heard {
    Message(Bytes),
    Break(Error),
    End,
    /// The handler's stream was dropped.
    Dropped,
}

struct Teller(mpsc::UnboundedSender<Heard>);

impl Drop for Teller {
    fn drop(&mut self) {
        self.0.send(Heard::Dropped).ok();
    }
}

/// A handler that tells what it hears and answers each message.
fn telling() -> (impl crate::peer::Handler, mpsc::UnboundedReceiver<Heard>) {
    let (tell, told) = mpsc::unbounded_channel();
    let handler = streams(move |messages: Incoming| {
        let state = Some((messages, Teller(tell.clone())));
        let answers = stream::unfold(state, |state| async move {
            let (mut messages, tell) = state?;
            let (heard, goes_on) = match messages.next().await {
                Some(Ok(message)) => (Heard::Message(message), true),
                Some(Err(error)) => (Heard::Break(error), false),
                None => (Heard::End, false),
            };
            tell.0.send(heard).ok();
            Some((Ok(Bytes::from_static(b"read")), goes_on.then_some((messages, tell))))
        });
        answers.boxed()
    });
    (handler, told)
}

#[tokio::test]
async fn dropping_the_answers_breaks_the_stream_off_and_is_no_proper_end() {
    let (handler, mut told) = telling();
    let (one, two) = two(handler).await;
    let answers = open_and_ask(&one, &two, &mut told).await;
    drop(answers);
    // The handler hears of a break, or is dropped itself; an end it must not hear.
    let heard = soon("the break", told.recv()).await.unwrap();
    assert!(matches!(heard, Heard::Dropped | Heard::Break(Error::Lost(_))), "{heard:?}");
}

#[tokio::test]
async fn a_receiver_that_goes_away_ends_the_stream_with_an_error() {
    let (handler, mut told) = telling();
    let (one, two) = two(handler).await;
    let mut answers = open_and_ask(&one, &two, &mut told).await;
    drop(two.handle);
    let end = soon("the break", answers.next()).await;
    assert!(matches!(end, Some(Err(Error::Lost(_)))), "{end:?}");
}

#[tokio::test]
async fn a_receiver_that_stops_says_so_to_its_streams() {
    let (handler, mut told) = telling();
    let (one, two) = two(handler).await;
    let mut answers = open_and_ask(&one, &two, &mut told).await;
    let drain = tokio::spawn(two.handle.drain());
    let end = soon("the end", answers.next()).await;
    assert_eq!(end, Some(Err(Error::Refused(Refusal::Unavailable("the node is stopping".into())))));
    soon("the drain", drain).await.unwrap();
}

#[tokio::test]
async fn a_stream_that_is_refused_never_opens() {
    let (one, two) = two(Nobody).await;
    let opened = one.peers.stream(two.node, head(Topic::Snapshot), stream::pending().boxed());
    let Err(error) = soon("a refusal", opened).await else { panic!("it was taken") };
    assert_eq!(error, Error::Refused(Refusal::Malformed("this topic has no streams".into())));
}
