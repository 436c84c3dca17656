//! Streams of calls as any gRPC client sees them.

use std::{
    collections::BTreeMap,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use lethe_client::{Code, Id, Outcome};
use lethe_proto::{
    CALLS_MESSAGE_BYTES_MAX, PAYLOAD_BYTES_MAX,
    v1::{
        self, actors_client::ActorsClient, call_request::Args, call_response::Result as WireResult,
        numbered_answer::Answer, numbered_call::What,
    },
};
use prost::Message;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Streaming, transport::Endpoint};

use crate::{
    fake::{KINDS, OUTCOMES, ids},
    server::{Server, serve, serve_with},
};

/// No test waits as long as this.
const LONG: Duration = Duration::from_secs(60);

struct Stream {
    say: mpsc::UnboundedSender<v1::CallsRequest>,
    said: Streaming<v1::CallsResponse>,
    /// What it said at first.
    calls_max: u32,
}

fn stub(server: &Server) -> ActorsClient<tonic::transport::Channel> {
    let channel = Endpoint::from_shared(server.address.clone()).unwrap().connect_lazy();
    ActorsClient::new(channel).max_decoding_message_size(64 << 20)
}

impl Stream {
    async fn open(server: &Server) -> Self {
        let (say, messages) = mpsc::unbounded_channel();
        let said = stub(server).calls(UnboundedReceiverStream::new(messages)).await.unwrap().into_inner();
        let mut stream = Self { say, said, calls_max: 0 };
        let first = stream.message().await;
        assert_eq!((first.answers.len(), first.last), (0, None));
        stream.calls_max = first.calls_max;
        stream
    }

    fn say(&self, calls: Vec<v1::NumberedCall>, dropped: Vec<u64>) {
        self.say.send(v1::CallsRequest { calls, dropped }).unwrap();
    }

    /// What is said next.
    async fn message(&mut self) -> v1::CallsResponse {
        let message = tokio::time::timeout(LONG, self.said.message()).await.expect("nothing is said");
        message.expect("the stream broke").expect("the stream ended")
    }

    /// The next answers, as many as there are numbers; JSON, or the error's code and outcome.
    async fn answers(&mut self, count: usize) -> BTreeMap<u64, String> {
        let mut answers = BTreeMap::new();
        while answers.len() < count {
            for answer in self.message().await.answers {
                assert!(answers.insert(answer.number, text(answer.answer)).is_none(), "{} came twice", answer.number);
            }
        }
        answers
    }

    /// How the stream ends, when nothing more is said.
    async fn end(&mut self) -> Result<(), tonic::Status> {
        let last = tokio::time::timeout(LONG, self.said.message()).await.expect("the stream does not end")?;
        assert_eq!(last, None);
        Ok(())
    }
}

fn text(answer: Option<Answer>) -> String {
    match answer.expect("an answer says something") {
        Answer::Called(v1::CallResponse { result: Some(WireResult::Json(text)), .. }) => text,
        Answer::Error(error) => format!("{:?}, {:?}", error.code(), error.outcome()),
        other => format!("{other:?}"),
    }
}

fn request(method: &str, args: serde_json::Value) -> v1::CallRequest {
    let id = Some(v1::actor::Id::Name("lobby".into()));
    let actor = Some(v1::Actor { namespace: "chat/Room".into(), id, known_name: None });
    v1::CallRequest { actor, method: method.into(), args: Some(Args::Json(args.to_string())), without_id: true }
}

fn call(number: u64, method: &str, args: serde_json::Value) -> v1::NumberedCall {
    let timeout_us = u64::try_from(LONG.as_micros()).unwrap();
    v1::NumberedCall { number, timeout_us, what: Some(What::Call(request(method, args))) }
}

/// Waits until so many calls have arrived at actors.
async fn arrived(server: &Server, count: usize) {
    let deadline = Instant::now() + LONG;
    while server.fake.calls.load(Ordering::SeqCst) < count {
        assert!(Instant::now() < deadline, "calls do not arrive");
        tokio::task::yield_now().await;
    }
}

fn answers<const N: usize>(expected: [(u64, &str); N]) -> BTreeMap<u64, String> {
    expected.into_iter().map(|(number, text)| (number, text.to_owned())).collect()
}

#[tokio::test]
async fn calls_of_a_stream_run_side_by_side_and_are_answered_as_they_end() {
    let server = serve_with(|config| config.connection_calls_max = 7).await;
    let mut stream = Stream::open(&server).await;
    assert_eq!(stream.calls_max, 7);
    stream.say(vec![call(1, "wait", json!([1])), call(2, "echo", json!([2])), call(5, "echo", json!([5]))], vec![]);
    assert_eq!(stream.answers(2).await, answers([(2, "[2]"), (5, "[5]")]));
    server.fake.go.notify_one();
    assert_eq!(stream.answers(1).await, answers([(1, "[1]")]));
}

#[tokio::test]
async fn a_destruction_and_a_call_that_wants_to_know_the_id_are_answered_with_it() {
    let server = serve().await;
    let mut stream = Stream::open(&server).await;
    let actor = request("", json!([])).actor;
    let destroy = Some(What::Destroy(v1::DestroyRequest { actor: actor.clone(), by_operator: false }));
    let raw = v1::actor::Id::Raw(ids().from_name("lobby").unwrap().0.to_vec().into());
    let actor = actor.map(|actor| v1::Actor { id: Some(raw), known_name: Some("lobby".into()), ..actor });
    let who = Some(What::Call(v1::CallRequest { actor, without_id: false, ..request("whoami", json!([])) }));
    let numbered = |number, what| v1::NumberedCall { number, timeout_us: 0, what };
    stream.say(vec![numbered(1, destroy), numbered(2, who)], vec![]);
    let mut told = Vec::new();
    while told.len() < 2 {
        told.extend(stream.message().await.answers);
    }
    told.sort_by_key(|answer| answer.number);
    let id = ids().from_name("lobby").unwrap().to_string();
    let result = Some(WireResult::Json(r#"["chat/Room","lobby"]"#.into()));
    let expected = [
        Answer::Destroyed(v1::DestroyResponse { id: id.clone() }),
        Answer::Called(v1::CallResponse { id, result, leader: String::new() }),
    ];
    assert_eq!(told.into_iter().map(|answer| answer.answer.unwrap()).collect::<Vec<_>>(), expected);
    // No time was named: half a minute.
    let deadline = server.fake.deadline.lock().unwrap().take().unwrap();
    assert!(deadline <= Instant::now() + Duration::from_secs(30));
}

#[tokio::test]
async fn every_failure_is_the_same_on_a_stream_and_of_a_request_of_its_own() {
    let server = serve().await;
    let (mut stream, mut stub) = (Stream::open(&server).await, stub(&server));
    let mut requests = Vec::new();
    for kind in 0..KINDS.len() {
        requests.extend((0..OUTCOMES.len()).map(|outcome| request("fail", json!([kind, outcome]))));
    }
    requests.push(request("", json!([])));
    requests.push(request("echo", json!({})));
    requests.push(v1::CallRequest::default());
    requests.push(v1::CallRequest {
        actor: Some(v1::Actor {
            id: Some(v1::actor::Id::Raw(vec![1].into())),
            namespace: "chat/Room".into(),
            ..Default::default()
        }),
        ..request("echo", json!([]))
    });
    for (number, request) in (1..).zip(requests) {
        let status = stub.call(request.clone()).await.unwrap_err();
        let trailer = status.metadata().get_bin(lethe_proto::ERROR_TRAILER).unwrap().to_bytes().unwrap();
        let alone = v1::Error::decode(trailer).unwrap();
        stream.say(vec![v1::NumberedCall { number, timeout_us: 0, what: Some(What::Call(request)) }], vec![]);
        let told = stream.message().await.answers;
        assert_eq!(told, [v1::NumberedAnswer { number, answer: Some(Answer::Error(alone)) }]);
    }
}

#[tokio::test]
async fn one_call_too_many_is_refused_and_one_that_is_dropped_makes_room_at_once() {
    let server = serve_with(|config| config.connection_calls_max = 2).await;
    let mut stream = Stream::open(&server).await;
    let hang = |number| call(number, "hang", json!([]));
    stream.say(vec![hang(1), hang(2), hang(3)], vec![]);
    assert_eq!(stream.answers(1).await, answers([(3, "Overloaded, NotDone")]));
    stream.say(vec![call(4, "echo", json!([4]))], vec![1]);
    assert_eq!(stream.answers(1).await, answers([(4, "[4]")]));
    assert_eq!(server.fake.calls.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn each_call_holds_a_place_among_all_of_the_server_and_a_stream_at_rest_holds_none() {
    let server = serve_with(|config| config.calls_max = 1).await;
    let (mut stream, mut other) = (Stream::open(&server).await, Stream::open(&server).await);
    let mut stub = stub(&server);
    stub.call(request("echo", json!([]))).await.unwrap();
    stream.say(vec![call(1, "hang", json!([]))], vec![]);
    arrived(&server, 2).await;
    other.say(vec![call(1, "echo", json!([]))], vec![]);
    assert_eq!(other.answers(1).await, answers([(1, "Overloaded, NotDone")]));
    assert_eq!(stub.call(request("echo", json!([]))).await.unwrap_err().code(), tonic::Code::ResourceExhausted);
    stream.say(vec![call(2, "echo", json!([2]))], vec![1]);
    assert_eq!(stream.answers(1).await, answers([(2, "[2]")]));
}

#[tokio::test]
async fn a_caller_that_goes_takes_its_call_back() {
    let server = serve_with(|config| config.calls_max = 1).await;
    let room = server.client().await.actor("chat/Room", Id::name("a"));
    let hanging = {
        let room = room.clone();
        tokio::spawn(async move { room.call_json("hang", &json!([])).await })
    };
    arrived(&server, 1).await;
    hanging.abort();
    let deadline = Instant::now() + LONG;
    while let Err(error) = room.call_json("echo", &json!([])).await {
        assert_eq!((error.code, error.outcome), (Code::Overloaded, Outcome::NotDone), "{error}");
        assert!(Instant::now() < deadline, "the place was never given back");
    }
}

#[tokio::test]
async fn a_call_that_panics_or_is_late_ends_alone() {
    let server = serve().await;
    let mut stream = Stream::open(&server).await;
    let late = v1::NumberedCall { timeout_us: 1_000, ..call(2, "hang", json!([])) };
    let nothing = v1::NumberedCall { what: None, ..call(4, "", json!([])) };
    stream.say(vec![call(1, "wait", json!([1])), late, call(3, "no such method", json!([])), nothing], vec![]);
    let expected = [(2, "Deadline, Unknown"), (3, "Internal, Unknown"), (4, "InvalidRequest, NotDone")];
    assert_eq!(stream.answers(3).await, answers(expected));
    server.fake.go.notify_one();
    assert_eq!(stream.answers(1).await, answers([(1, "[1]")]));
}

#[tokio::test]
async fn deadlines_of_one_stream_are_kept_whichever_is_first() {
    let server = serve().await;
    let mut stream = Stream::open(&server).await;
    for (number, timeout_ms) in [(1, 300), (2, 100), (3, 200)] {
        let hang = call(number, "hang", json!([]));
        stream.say(vec![v1::NumberedCall { timeout_us: timeout_ms * 1000, ..hang }], vec![]);
    }
    let late = "Deadline, Unknown";
    assert_eq!(stream.answers(3).await, answers([(1, late), (2, late), (3, late)]));
}

#[tokio::test]
async fn numbers_that_do_not_grow_and_messages_that_are_too_large_end_the_stream() {
    let server = serve().await;
    for number in [0, 3, 2] {
        let mut stream = Stream::open(&server).await;
        stream.say(vec![call(3, "echo", json!([])), call(number, "echo", json!([]))], vec![]);
        let broken = loop {
            match stream.said.message().await {
                Ok(message) => assert!(message.is_some(), "it ended as if nothing were wrong"),
                Err(status) => break status,
            }
        };
        assert_eq!(broken.code(), tonic::Code::InvalidArgument, "{number}");
    }
    let mut stream = Stream::open(&server).await;
    stream.say(vec![call(1, "echo", json!(["x".repeat(CALLS_MESSAGE_BYTES_MAX)]))], vec![]);
    assert_eq!(stream.end().await.unwrap_err().code(), tonic::Code::OutOfRange);
}

#[tokio::test]
async fn a_caller_that_says_nothing_more_is_still_answered() {
    let server = serve().await;
    let mut stream = Stream::open(&server).await;
    stream.say(vec![call(1, "wait", json!([1]))], vec![]);
    arrived(&server, 1).await;
    stream.say = mpsc::unbounded_channel().0;
    server.fake.go.notify_one();
    assert_eq!(stream.answers(1).await, answers([(1, "[1]")]));
    stream.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_late_gets_every_answer() {
    let server = serve().await;
    let mut stream = Stream::open(&server).await;
    // Far more than the window and what may wait.
    for number in 1..=64 {
        stream.say(vec![call(number, "big", json!([512 << 10]))], vec![]);
    }
    arrived(&server, 8).await;
    let sizes: Vec<_> = stream.answers(64).await.into_values().map(|text| text.len()).collect();
    assert_eq!(sizes, [512 << 10; 64]);
}

#[tokio::test]
async fn the_largest_result_passes_and_one_that_is_larger_is_an_error_of_a_call_that_was_done() {
    let server = serve().await;
    let mut stream = Stream::open(&server).await;
    let big = |number, bytes: usize| call(number, "big", json!([bytes]));
    stream.say(vec![big(1, PAYLOAD_BYTES_MAX), big(2, PAYLOAD_BYTES_MAX + 1)], vec![]);
    let mut told = stream.answers(2).await;
    assert_eq!(told.remove(&1).map(|text| text.len()), Some(PAYLOAD_BYTES_MAX));
    assert_eq!(told, answers([(2, "ExceededLimit, Done")]));
}

#[tokio::test]
async fn a_server_that_stops_names_the_last_call_it_took_answers_it_and_takes_no_other() {
    let server = serve().await;
    let mut stream = Stream::open(&server).await;
    stream.say(vec![call(3, "wait", json!([3]))], vec![]);
    arrived(&server, 1).await;
    let Server { fake, handle, .. } = server;
    let drain = tokio::spawn(handle.drain());
    let message = stream.message().await;
    assert_eq!((message.answers.len(), message.last), (0, Some(3)));
    stream.say(vec![call(4, "echo", json!([4]))], vec![]);
    fake.go.notify_one();
    assert_eq!(stream.answers(1).await, answers([(3, "[3]")]));
    stream.end().await.unwrap();
    drain.await.unwrap();
    assert_eq!(fake.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_stream_at_rest_does_not_hold_a_drain_up() {
    let server = serve_with(|config| config.drain_timeout_ms = u64::from(u32::MAX)).await;
    let mut stream = Stream::open(&server).await;
    let drained = tokio::spawn(server.handle.drain());
    assert_eq!(stream.message().await.last, Some(0));
    stream.end().await.unwrap();
    drop(stream);
    tokio::time::timeout(LONG, drained).await.expect("the drain waits for a stream").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_under_load_leaves_no_call_unknown() {
    let server = serve().await;
    let client = server.client().await;
    let callers: Vec<_> = (0..32)
        .map(|_| {
            let room = client.actor("chat/Room", Id::name("a"));
            tokio::spawn(async move {
                for done in 0.. {
                    if let Err(error) = room.call_json("echo", &json!([])).await {
                        return (done, error);
                    }
                }
                unreachable!("the server was stopped")
            })
        })
        .collect();
    arrived(&server, 500).await;
    let Server { fake, handle, .. } = server;
    handle.drain().await;
    let mut all = 0;
    for caller in callers {
        let (done, error) = caller.await.unwrap();
        assert_eq!((error.code, error.outcome), (Code::Unavailable, Outcome::NotDone), "{error}");
        all += done;
    }
    assert_eq!(fake.calls.load(Ordering::SeqCst), all);
}
