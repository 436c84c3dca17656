//! One router over places that answer as they are told.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::BodyExt;
use lethe_proto::{ActorId, NodeId};
use lethe_runtime::{
    body,
    host::{ActorCall, ActorReply, CallError, CallErrorKind, JsError, Outcome, Payload},
};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{Places, Router};
use crate::{
    actor::{ActorRef, Call, Failed, Homes, Place},
    cluster::Home,
};

const LATER: Duration = Duration::from_secs(60);

/// What a place does with its next call.
enum Turn {
    Answer,
    /// Reads the body, then fails.
    ReadAndFail(Failed),
    Fail(Failed),
    /// Another node is heard to lead; then it fails, and knows of none.
    Hear(watch::Sender<Option<NodeId>>, NodeId),
}

/// A place with a plan; after its last turn it answers for good.
struct Fake {
    node: NodeId,
    turns: Mutex<Vec<Turn>>,
    visits: Arc<Mutex<Vec<NodeId>>>,
}

impl Place for Fake {
    fn attempt(&self, _: ActorRef, call: ActorCall, _: Instant) -> BoxFuture<'static, Result<ActorReply, Failed>> {
        self.visits.lock().push(self.node);
        let turn = {
            let mut turns = self.turns.lock();
            if turns.is_empty() { Turn::Answer } else { turns.remove(0) }
        };
        let node = self.node;
        Box::pin(async move {
            match turn {
                Turn::Answer => {
                    let said = match call {
                        ActorCall::Method { method, .. } => method,
                        ActorCall::Fetch(request) => {
                            let body = request.into_body().collect().await.unwrap().to_bytes();
                            String::from_utf8(body.to_vec()).unwrap()
                        }
                        ActorCall::Destroy { .. } => "destroy".to_owned(),
                    };
                    Ok(ActorReply::Value(Payload::Json(format!("{said} at {node}"))))
                }
                Turn::ReadAndFail(failed) => {
                    if let ActorCall::Fetch(request) = call {
                        request.into_body().collect().await.unwrap();
                    }
                    Err(failed)
                }
                Turn::Fail(failed) => Err(failed),
                Turn::Hear(leader, node) => {
                    leader.send_replace(Some(node));
                    Err(Failed::NotLeader { leader: None })
                }
            }
        })
    }
}

/// Everything is group 7, on these nodes.
struct Fixed {
    me: NodeId,
    leader: watch::Receiver<Option<NodeId>>,
    replicas: Vec<NodeId>,
}

impl Homes for Fixed {
    fn node(&self) -> NodeId {
        self.me
    }

    fn home(&self, _: ActorId) -> Option<Home> {
        Some(Home { group: 7, here: None, leader: *self.leader.borrow() })
    }

    fn leader(&self, _: u32) -> Option<watch::Receiver<Option<NodeId>>> {
        Some(self.leader.clone())
    }

    fn replicas(&self, _: u32) -> Vec<NodeId> {
        self.replicas.clone()
    }
}

struct Others(HashMap<NodeId, Arc<Fake>>);

impl Places for Others {
    fn place(&self, node: NodeId) -> Option<Arc<dyn Place>> {
        self.0.get(&node).map(|fake| fake.clone() as Arc<dyn Place>)
    }
}

/// Node 1 routes; nodes 1, 2 and 3 have replicas; node 2 is said to lead.
struct World {
    router: Router,
    leader: watch::Sender<Option<NodeId>>,
    fakes: HashMap<NodeId, Arc<Fake>>,
    visits: Arc<Mutex<Vec<NodeId>>>,
}

fn node(number: u64) -> NodeId {
    NodeId::from(number)
}

impl World {
    fn new(leader: Option<u64>) -> Self {
        Self::pausing(leader, (Duration::from_millis(1), Duration::from_millis(10)))
    }

    fn pausing(leader: Option<u64>, pauses: (Duration, Duration)) -> Self {
        let visits = Arc::new(Mutex::new(Vec::new()));
        let fake = |number| {
            let (node, turns, visits) = (node(number), Mutex::default(), visits.clone());
            (node, Arc::new(Fake { node, turns, visits }))
        };
        let fakes = HashMap::from([1, 2, 3].map(fake));
        let (leader, heard) = watch::channel(leader.map(node));
        let homes = Fixed { me: node(1), leader: heard, replicas: vec![node(1), node(2), node(3)] };
        let (here, others) = (fakes[&node(1)].clone(), Others(fakes.clone()));
        let router = Router::with_pauses(here, Arc::new(homes), Arc::new(others), pauses);
        Self { router, leader, fakes, visits }
    }

    fn plan(&self, number: u64, turns: impl IntoIterator<Item = Turn>) {
        self.fakes[&node(number)].turns.lock().extend(turns);
    }

    async fn call(&self, call: ActorCall, within: Duration) -> Result<String, CallError> {
        let to = ActorRef { namespace: "w/A".into(), id: ActorId([0; 32]), name: None };
        match self.router.call(to, call, Instant::now() + within).await? {
            ActorReply::Value(Payload::Json(text)) => Ok(text),
            ActorReply::Value(Payload::V8(_)) | ActorReply::Response(_) | ActorReply::Destroyed => panic!("odd"),
        }
    }

    async fn hi(&self) -> Result<String, CallError> {
        self.call(method(), LATER).await
    }

    fn visited(&self) -> Vec<NodeId> {
        std::mem::take(&mut *self.visits.lock())
    }
}

fn method() -> ActorCall {
    ActorCall::Method { method: "hi".into(), args: Payload::V8(Bytes::new()) }
}

fn fetch() -> ActorCall {
    ActorCall::Fetch(http::Request::new(body::full("a body")))
}

fn said(text: &str, number: u64) -> Result<String, CallError> {
    Ok(format!("{text} at {}", node(number)))
}

fn not_leader(leader: Option<u64>) -> Turn {
    Turn::Fail(Failed::NotLeader { leader: leader.map(node) })
}

fn error(kind: CallErrorKind, outcome: Outcome) -> CallError {
    CallError { kind, error: JsError::default(), outcome }
}

#[tokio::test]
async fn a_call_goes_to_the_node_that_is_said_to_lead() {
    let world = World::new(Some(2));
    assert_eq!(world.hi().await, said("hi", 2));
    assert_eq!(world.visited(), [node(2)]);
}

#[tokio::test]
async fn a_hint_is_followed_and_remembered() {
    let world = World::new(None);
    world.plan(1, [not_leader(Some(3))]);
    assert_eq!(world.hi().await, said("hi", 3));
    assert_eq!(world.visited(), [node(1), node(3)]);
    assert_eq!(world.hi().await, said("hi", 3));
    assert_eq!(world.visited(), [node(3)]);
}

#[tokio::test]
async fn what_was_remembered_is_forgotten_when_it_fails() {
    let world = World::new(None);
    world.plan(1, [not_leader(Some(3))]);
    world.hi().await.unwrap();
    world.visited();
    world.plan(3, [Turn::Fail(error(CallErrorKind::Unavailable, Outcome::NotDone).into())]);
    assert_eq!(world.hi().await, said("hi", 1));
    assert_eq!(world.visited(), [node(3), node(1)]);
    assert_eq!(world.hi().await, said("hi", 1));
    assert_eq!(world.visited(), [node(1)]);
}

#[tokio::test]
async fn while_nobody_leads_every_replica_is_asked_again_until_one_does() {
    let world = World::new(None);
    for number in [1, 2, 3] {
        world.plan(number, [not_leader(None), not_leader(None)]);
    }
    assert_eq!(world.hi().await, said("hi", 1));
    let once = [node(1), node(2), node(3)];
    assert_eq!(world.visited(), [&once[..], &once[..], &once[..1]].concat());
}

/// With pauses that no test outlives: what goes on was woken up.
#[tokio::test]
async fn a_pause_ends_as_soon_as_another_leader_is_heard_of() {
    let world = Arc::new(World::pausing(Some(2), (LATER, LATER)));
    for number in [1, 2, 3] {
        world.plan(number, [not_leader(None)]);
    }
    let call = tokio::spawn({
        let world = world.clone();
        async move { world.call(method(), 3 * LATER).await }
    });
    while world.visits.lock().len() < 3 {
        tokio::task::yield_now().await;
    }
    world.leader.send_replace(Some(node(3)));
    let answer = tokio::time::timeout(LATER / 3, call).await;
    assert_eq!(answer.expect("the call goes on").unwrap(), said("hi", 3));
    assert_eq!(world.visited(), [node(2), node(1), node(3), node(3)]);
}

#[tokio::test]
async fn a_leader_that_was_heard_of_during_an_attempt_is_asked_without_a_pause() {
    let world = World::pausing(Some(2), (LATER, LATER));
    world.plan(2, [Turn::Hear(world.leader.clone(), node(3))]);
    for number in [1, 3] {
        world.plan(number, [not_leader(None)]);
    }
    let answer = tokio::time::timeout(LATER / 3, world.call(method(), 3 * LATER)).await;
    assert_eq!(answer.expect("the call goes on"), said("hi", 3));
    assert_eq!(world.visited(), [node(2), node(3), node(1), node(3)]);
}

#[tokio::test]
async fn two_nodes_that_name_each_other_do_not_keep_a_call_from_the_third() {
    let world = World::new(Some(2));
    world.plan(2, [not_leader(Some(1))]);
    world.plan(1, [not_leader(Some(2))]);
    assert_eq!(world.hi().await, said("hi", 3));
}

#[tokio::test]
async fn what_may_have_run_is_never_tried_again() {
    let table = [
        error(CallErrorKind::Unavailable, Outcome::Unknown),
        error(CallErrorKind::Exception, Outcome::Done),
        error(CallErrorKind::Overloaded, Outcome::NotDone),
        error(CallErrorKind::Destroyed, Outcome::NotDone),
        error(CallErrorKind::Reset, Outcome::Unknown),
        error(CallErrorKind::InvalidTarget, Outcome::NotDone),
    ];
    for reason in table {
        let world = World::new(Some(2));
        world.plan(2, [Turn::Fail(reason.clone().into())]);
        assert_eq!(world.hi().await, Err(reason));
        assert_eq!(world.visited(), [node(2)]);
    }
}

#[tokio::test]
async fn a_body_that_was_not_touched_is_sent_again_whole() {
    let world = World::new(Some(2));
    world.plan(2, [not_leader(Some(3))]);
    assert_eq!(world.call(fetch(), LATER).await, said("a body", 3));
}

#[tokio::test]
async fn a_body_that_was_touched_is_not_sent_again() {
    let world = World::new(Some(2));
    let reason = error(CallErrorKind::Unavailable, Outcome::NotDone);
    world.plan(2, [Turn::ReadAndFail(reason.clone().into())]);
    assert_eq!(world.call(fetch(), LATER).await, Err(reason));
    assert_eq!(world.visited(), [node(2)]);
}

#[tokio::test]
async fn at_the_deadline_the_caller_learns_that_nothing_was_done() {
    let world = World::new(None);
    for number in [1, 2, 3] {
        world.plan(number, (0..1_000).map(|_| not_leader(None)));
    }
    let told = world.call(method(), Duration::from_millis(50)).await.unwrap_err();
    assert_eq!((told.kind, told.outcome), (CallErrorKind::Unavailable, Outcome::NotDone));
}

#[tokio::test]
async fn a_node_that_is_not_known_is_passed_over() {
    let world = World::new(Some(9));
    assert_eq!(world.hi().await, said("hi", 1));
    assert_eq!(world.visited(), [node(1)]);
}
