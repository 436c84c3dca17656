//! The two ends of a stream of calls against a server that is this test.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, stream};
use lethe_proto::v1::{self, call_request::Args, numbered_answer::Answer, numbered_call::What};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tonic::Status;

use super::{BATCH_BYTES_MAX, Caller, Failure, QUEUE_MAX, Writer, now};

/// No test waits as long as this.
const LONG: Duration = Duration::from_secs(60);

type Said = Result<v1::CallsResponse, Status>;

/// A stream as the server sees it.
struct Stream {
    calls: Writer,
    say: mpsc::UnboundedSender<Said>,
}

/// Streams that were opened and not looked at yet.
#[derive(Clone, Default)]
struct Server {
    streams: Arc<Mutex<Vec<Stream>>>,
    /// What is said as soon as a stream is opened.
    first: Arc<Mutex<Option<v1::CallsResponse>>>,
}

impl Server {
    fn caller(&self) -> Caller {
        self.caller_within(LONG)
    }

    /// One that waits this long for the first word.
    fn caller_within(&self, patience: Duration) -> Caller {
        let server = self.clone();
        Caller::with_patience(patience, move |calls| {
            let (say, said) = mpsc::unbounded_channel();
            if let Some(first) = server.first.lock().take() {
                say.send(Ok(first)).expect("somebody listens");
            }
            server.streams.lock().push(Stream { calls, say });
            let said = stream::unfold(said, |mut said| async { Some((said.recv().await?, said)) }).boxed();
            async move { Ok(said) }.boxed()
        })
    }

    /// The stream that was opened last.
    fn stream(&self) -> Stream {
        self.streams.lock().pop().expect("a stream was opened")
    }
}

impl Stream {
    /// The next message, which must be there already.
    fn message(&mut self) -> v1::CallsRequest {
        self.calls.next().now_or_never().expect("there is a message").expect("the stream goes on")
    }

    fn says_nothing(&mut self) -> bool {
        self.calls.next().now_or_never().is_none()
    }

    fn say(&self, message: v1::CallsResponse) {
        self.say.send(Ok(message)).expect("somebody listens");
    }

    fn takes(&self, calls_max: u32) {
        self.say(v1::CallsResponse { calls_max, ..Default::default() });
    }

    fn answers(&self, numbers: impl IntoIterator<Item = u64>) {
        let answers = numbers.into_iter().map(|number| v1::NumberedAnswer { number, answer: Some(result(number)) });
        self.say(v1::CallsResponse { answers: answers.collect(), ..Default::default() });
    }

    fn is_last(&self, last: u64) {
        self.say(v1::CallsResponse { last: Some(last), ..Default::default() });
    }
}

/// The answer to a call is its number.
fn result(number: u64) -> Answer {
    let result = Some(v1::call_response::Result::Json(number.to_string()));
    Answer::Called(v1::CallResponse { result, ..Default::default() })
}

fn request(bytes: usize) -> v1::CallRequest {
    let args = Some(Args::V8(Bytes::from(vec![0; bytes])));
    v1::CallRequest { args, ..Default::default() }
}

type Call = tokio::task::JoinHandle<Result<String, Failure>>;

/// Starts a call that waits this long for its answer.
fn call_for(caller: &Caller, wait: Duration, bytes: usize) -> Call {
    let (caller, deadline) = (caller.clone(), now() + wait);
    tokio::spawn(async move {
        match caller.call(request(bytes), deadline, deadline).await?.result {
            Some(v1::call_response::Result::Json(text)) => Ok(text),
            other => panic!("{other:?}"),
        }
    })
}

fn call(caller: &Caller) -> Call {
    call_for(caller, LONG, 10)
}

/// Lets every other task of this test run until none has anything to do.
async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

fn numbers(message: &v1::CallsRequest) -> Vec<u64> {
    message.calls.iter().map(|call| call.number).collect()
}

/// A caller whose stream is open and takes `calls_max` calls; its first call was answered.
async fn opened(server: &Server, calls_max: u32) -> (Caller, Stream) {
    let caller = server.caller();
    let first = call(&caller);
    settle().await;
    let mut stream = server.stream();
    stream.takes(calls_max);
    settle().await;
    assert_eq!(numbers(&stream.message()), [1]);
    stream.answers([1]);
    assert_eq!(first.await.unwrap().unwrap(), "1");
    (caller, stream)
}

fn outcome(failure: &Failure) -> &'static str {
    match failure {
        Failure::Answered(_) => "answered",
        Failure::Late { sent: true } => "late, sent",
        Failure::Late { sent: false } => "late, not sent",
        Failure::NotTaken => "not taken",
        Failure::Full => "full",
        Failure::NotSent(_) => "not sent",
        Failure::Lost(_) => "lost",
    }
}

async fn outcomes(calls: impl IntoIterator<Item = Call>) -> Vec<&'static str> {
    let mut outcomes = Vec::new();
    for call in calls {
        outcomes.push(outcome(&call.await.unwrap().unwrap_err()));
    }
    outcomes
}

#[tokio::test]
async fn calls_made_at_the_same_moment_go_together_and_are_answered_in_any_order() {
    let server = Server::default();
    let (caller, mut stream) = opened(&server, 10).await;
    let calls: Vec<Call> = (0..3).map(|_| call(&caller)).collect();
    settle().await;
    assert_eq!(numbers(&stream.message()), [2, 3, 4]);
    stream.answers([4, 2]);
    stream.answers([3]);
    for (call, expected) in calls.into_iter().zip(["2", "3", "4"]) {
        assert_eq!(call.await.unwrap().unwrap(), expected);
    }
    assert!(server.streams.lock().is_empty(), "a second stream was opened");
}

#[tokio::test]
async fn no_call_is_sent_before_the_server_says_how_many_it_takes_and_no_more_than_that_later() {
    let server = Server::default();
    let caller = server.caller();
    let calls: Vec<Call> = (0..4).map(|_| call(&caller)).collect();
    settle().await;
    let mut stream = server.stream();
    assert!(stream.says_nothing());
    stream.takes(3);
    settle().await;
    assert_eq!(numbers(&stream.message()), [1, 2, 3]);
    assert!(stream.says_nothing());
    stream.answers([2]);
    settle().await;
    assert_eq!(numbers(&stream.message()), [4]);
    stream.answers([1, 3, 4]);
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_message_is_bounded_and_what_is_larger_goes_alone() {
    let server = Server::default();
    let (caller, mut stream) = opened(&server, 100).await;
    let bytes = [10, BATCH_BYTES_MAX / 2, BATCH_BYTES_MAX / 2, BATCH_BYTES_MAX, 10];
    let _calls: Vec<Call> = bytes.into_iter().map(|bytes| call_for(&caller, LONG, bytes)).collect();
    settle().await;
    let messages: Vec<_> = (0..4).map(|_| numbers(&stream.message())).collect();
    assert_eq!(messages, [vec![2, 3], vec![4], vec![5], vec![6]]);
    assert!(!Caller::takes(&request(BATCH_BYTES_MAX)) && Caller::takes(&request(BATCH_BYTES_MAX - 100)));
}

#[tokio::test]
async fn the_server_hears_how_long_the_caller_waits() {
    let server = Server::default();
    let (caller, mut stream) = opened(&server, 10).await;
    let _call = call(&caller);
    settle().await;
    let timeout = Duration::from_micros(stream.message().calls[0].timeout_us);
    assert!(timeout <= LONG && timeout > LONG / 2, "{timeout:?}");
}

#[tokio::test]
async fn a_call_that_is_dropped_unsent_never_leaves_and_one_that_was_sent_is_taken_back_before_others_begin() {
    let server = Server::default();
    let (caller, mut stream) = opened(&server, 2).await;
    let mut calls: Vec<Call> = (0..4).map(|_| call(&caller)).collect();
    settle().await;
    assert_eq!(numbers(&stream.message()), [2, 3]);
    for at in [2, 0] {
        calls[at].abort();
    }
    settle().await;
    let message = stream.message();
    assert_eq!((message.dropped.clone(), numbers(&message)), (vec![2], vec![5]));
    // An answer may cross its caller's going.
    stream.answers([2, 3, 5]);
    assert_eq!(calls.remove(3).await.unwrap().unwrap(), "5");
    assert_eq!(calls.remove(1).await.unwrap().unwrap(), "3");
}

#[tokio::test]
async fn an_error_is_the_answer_of_its_own_call_only() {
    let server = Server::default();
    let (caller, mut stream) = opened(&server, 10).await;
    let (wrong, right) = (call(&caller), call(&caller));
    settle().await;
    stream.message();
    let error = v1::Error { message: "oops".into(), ..Default::default() };
    let answers = vec![
        v1::NumberedAnswer { number: 2, answer: Some(Answer::Error(error.clone())) },
        v1::NumberedAnswer { number: 3, answer: Some(result(3)) },
    ];
    stream.say(v1::CallsResponse { answers, ..Default::default() });
    assert!(matches!(wrong.await.unwrap(), Err(Failure::Answered(told)) if told == error));
    assert_eq!(right.await.unwrap().unwrap(), "3");
}

#[tokio::test]
async fn an_answer_of_another_kind_or_to_an_unsent_call_is_not_believed() {
    let server = Server::default();
    let (caller, mut stream) = opened(&server, 1).await;
    let (asked, unsent) = (call(&caller), call(&caller));
    settle().await;
    stream.message();
    stream.answers([3]);
    let destroyed = Some(Answer::Destroyed(v1::DestroyResponse::default()));
    let answers = vec![v1::NumberedAnswer { number: 2, answer: destroyed }];
    stream.say(v1::CallsResponse { answers, ..Default::default() });
    assert_eq!(outcomes([asked]).await, ["lost"]);
    settle().await;
    assert_eq!(numbers(&stream.message()), [3]);
    stream.answers([3]);
    assert_eq!(unsent.await.unwrap().unwrap(), "3");
}

#[tokio::test]
async fn a_stream_that_breaks_leaves_sent_calls_unknown_and_the_next_call_opens_another() {
    let server = Server::default();
    let (caller, mut stream) = opened(&server, 2).await;
    let calls: Vec<Call> = (0..3).map(|_| call(&caller)).collect();
    settle().await;
    assert_eq!(numbers(&stream.message()), [2, 3]);
    stream.say.send(Err(Status::unavailable("snap"))).unwrap();
    assert_eq!(outcomes(calls).await, ["lost", "lost", "not sent"]);
    assert!(stream.calls.next().now_or_never().is_some_and(|message| message.is_none()), "the stream goes on");
    let next = call(&caller);
    settle().await;
    let mut stream = server.stream();
    stream.takes(1);
    settle().await;
    assert_eq!(numbers(&stream.message()), [1]);
    stream.answers([1]);
    assert_eq!(next.await.unwrap().unwrap(), "1");
}

#[tokio::test]
async fn of_a_stream_that_is_not_opened_no_call_was_done() {
    let caller = Caller::new(|mut calls| {
        async move {
            // The server's refusal may come late, but it can only be that nothing was sent.
            settle().await;
            assert!(calls.next().now_or_never().is_none(), "a call was sent");
            Err(Status::unavailable("it is stopping"))
        }
        .boxed()
    });
    assert_eq!(outcomes([call(&caller), call(&caller)]).await, ["not sent", "not sent"]);
}

#[tokio::test]
async fn of_a_stream_on_which_the_server_says_nothing_no_call_was_done() {
    let server = Server::default();
    let caller = server.caller_within(Duration::from_millis(1));
    assert_eq!(outcomes([call(&caller), call(&caller)]).await, ["not sent", "not sent"]);
    let mut stream = server.stream();
    assert!(stream.calls.next().now_or_never().is_some_and(|message| message.is_none()), "a call was sent");
}

#[tokio::test]
async fn a_server_may_be_silent_once_it_has_said_its_first_word() {
    const PATIENCE: Duration = Duration::from_millis(1);
    let server = Server::default();
    *server.first.lock() = Some(v1::CallsResponse { calls_max: 1, ..Default::default() });
    let caller = server.caller_within(PATIENCE);
    let call = call(&caller);
    settle().await;
    let mut stream = server.stream();
    assert_eq!(numbers(&stream.message()), [1]);
    tokio::time::sleep(3 * PATIENCE).await;
    stream.answers([1]);
    assert_eq!(call.await.unwrap().unwrap(), "1");
}

#[tokio::test]
async fn a_server_that_stops_has_not_done_what_comes_after_its_last_call_and_answers_what_came_before() {
    let server = Server::default();
    let (caller, mut stream) = opened(&server, 3).await;
    let mut calls: Vec<Call> = (0..4).map(|_| call(&caller)).collect();
    settle().await;
    assert_eq!(numbers(&stream.message()), [2, 3, 4]);
    stream.is_last(3);
    assert_eq!(outcomes(calls.drain(2..)).await, ["not taken", "not taken"]);
    stream.answers([3]);
    drop(stream.say);
    assert_eq!(calls.remove(1).await.unwrap().unwrap(), "3");
    // It promised to answer this one.
    assert_eq!(outcomes(calls).await, ["lost"]);
}

#[tokio::test]
async fn the_call_after_a_server_stopped_opens_another_stream_while_the_old_one_ends() {
    let server = Server::default();
    let (caller, mut old) = opened(&server, 3).await;
    let before = call(&caller);
    settle().await;
    assert_eq!(numbers(&old.message()), [2]);
    old.is_last(2);
    settle().await;
    let after = call(&caller);
    settle().await;
    let mut new = server.stream();
    new.takes(1);
    settle().await;
    assert_eq!(numbers(&new.message()), [1]);
    old.answers([2]);
    new.answers([1]);
    assert_eq!((before.await.unwrap().unwrap(), after.await.unwrap().unwrap()), ("2".into(), "1".into()));
}

#[tokio::test]
async fn late_calls_are_let_go_each_in_its_time_and_the_server_hears_of_those_it_has() {
    let server = Server::default();
    let (caller, mut stream) = opened(&server, 2).await;
    let began = now();
    let waits = [90, 60, 30].map(Duration::from_millis);
    let mut calls = waits.map(|wait| Box::pin(caller.call(request(10), began + LONG, began + wait)));
    // Sent before the reader has its first turn, so none is late yet.
    for call in &mut calls {
        assert!(call.now_or_never().is_none());
    }
    assert_eq!(numbers(&stream.message()), [2, 3]);
    let mut gone = Vec::new();
    for (call, wait) in calls.into_iter().zip(waits).rev() {
        gone.push(outcome(&call.await.unwrap_err()));
        assert!(began.elapsed() >= wait);
    }
    assert_eq!(gone, ["late, not sent", "late, sent", "late, sent"]);
    settle().await;
    let mut dropped = stream.message().dropped;
    dropped.sort_unstable();
    assert_eq!(dropped, [2, 3]);
}

#[tokio::test]
async fn a_call_whose_deadline_passed_before_its_turn_came_is_not_sent() {
    let server = Server::default();
    let (caller, mut stream) = opened(&server, 1).await;
    let first = call(&caller);
    settle().await;
    assert_eq!(numbers(&stream.message()), [2]);
    // The server would have no time for it, though the caller would wait.
    let now = now();
    let late = tokio::spawn({
        let caller = caller.clone();
        async move { caller.call(request(1), now, now + LONG).await.map(|_| String::new()) }
    });
    settle().await;
    stream.answers([2]);
    first.await.unwrap().unwrap();
    assert!(stream.says_nothing());
    assert_eq!(outcomes([late]).await, ["late, not sent"]);
}

#[tokio::test]
async fn a_destruction_goes_the_same_way() {
    let server = Server::default();
    let (caller, mut stream) = opened(&server, 1).await;
    let deadline = now() + LONG;
    let destroy = tokio::spawn(async move { caller.destroy(v1::DestroyRequest::default(), deadline, deadline).await });
    settle().await;
    assert!(matches!(stream.message().calls[0].what, Some(What::Destroy(_))));
    let destroyed = v1::DestroyResponse { id: "x".into() };
    let answers = vec![v1::NumberedAnswer { number: 2, answer: Some(Answer::Destroyed(destroyed.clone())) }];
    stream.say(v1::CallsResponse { answers, ..Default::default() });
    assert_eq!(destroy.await.unwrap().unwrap(), destroyed);
}

#[tokio::test]
async fn the_stream_ends_with_the_last_clone() {
    let server = Server::default();
    let (caller, mut stream) = opened(&server, 1).await;
    let clone = caller.clone();
    drop(caller);
    settle().await;
    assert!(stream.says_nothing());
    drop(clone);
    assert!(stream.calls.next().await.is_none());
    stream.say.closed().await;
}

#[tokio::test]
async fn a_queue_that_is_full_refuses_and_what_was_dropped_leaves_it() {
    let server = Server::default();
    let caller = server.caller();
    let deadline = now() + LONG;
    let mut waiting: Vec<_> = (0..QUEUE_MAX).map(|_| Box::pin(caller.call(request(0), deadline, deadline))).collect();
    for call in &mut waiting {
        assert!(call.now_or_never().is_none());
    }
    let full = caller.call(request(0), deadline, deadline).now_or_never().expect("it is refused at once");
    assert_eq!(outcome(&full.unwrap_err()), "full");
    waiting.truncate(1);
    assert!(Box::pin(caller.call(request(0), deadline, deadline)).as_mut().now_or_never().is_none());
    let mut stream = server.stream();
    stream.takes(1);
    settle().await;
    assert_eq!(numbers(&stream.message()), [1]);
}
