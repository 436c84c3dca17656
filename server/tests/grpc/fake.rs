//! A server whose actors do what the method's name says.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use futures::future::BoxFuture;
use http_body_util::BodyExt;
use lethe_proto::{
    ActorId,
    v1::{self, NodeState},
};
use lethe_runtime::{
    body,
    host::{ActorCall, ActorReply, CallError, CallErrorKind, JsError, Outcome, Payload},
};
use lethe_server::{
    actor::{ActorRef, Call, Failed},
    deploy::{Ids, Namespace},
    grpc::{self, ActorInfo, ActorState, Change, Directory, Listing, Operator},
    store::DestroyReason,
};
use tokio::sync::Notify;
use uuid::Uuid;

/// Actors of `chat/Room`, without any; `chat/Crowd` only lists its three thousand.
#[derive(Clone, Default)]
pub struct Fake {
    /// Calls that arrived.
    pub calls: Arc<AtomicUsize>,
    /// Ends calls of `wait`.
    pub go: Arc<Notify>,
    /// Of each destruction, whether an operator asked.
    pub by_operator: Arc<Mutex<Vec<bool>>>,
    /// Changes of the cluster that were asked for.
    pub changes: Arc<Mutex<Vec<Change>>>,
    /// The deadline the last call came with.
    pub deadline: Arc<Mutex<Option<Instant>>>,
    /// Address of the other node where all actors live, if they do.
    pub elsewhere: Arc<Mutex<Option<String>>>,
}

/// Starts a server on a free port; its address begins with `http://`.
pub async fn start(adjust: impl FnOnce(&mut grpc::Config)) -> (Fake, String, grpc::Handle) {
    let mut config = grpc::Config::new("127.0.0.1:0".parse().unwrap());
    adjust(&mut config);
    let bound = grpc::bind(config).await.unwrap();
    let address = format!("http://{}", bound.local_addr());
    let fake = Fake::default();
    let handle = bound.serve(Arc::new(fake.clone()), Arc::new(fake.clone()), Arc::new(fake.clone()));
    (fake, address, handle)
}

pub fn ids() -> Ids {
    Ids::new("chat-Room")
}

pub fn error(kind: CallErrorKind, outcome: Outcome) -> CallError {
    let error = JsError { name: "Oops".into(), message: format!("{kind:?}"), stack: "at room.js:1:1".into() };
    CallError { kind, error, outcome }
}

pub const KINDS: [CallErrorKind; 9] = [
    CallErrorKind::Exception,
    CallErrorKind::Destroyed,
    CallErrorKind::Overloaded,
    CallErrorKind::Limit,
    CallErrorKind::InvalidTarget,
    CallErrorKind::Reset,
    CallErrorKind::Unavailable,
    CallErrorKind::Deadline,
    CallErrorKind::Internal,
];

pub const OUTCOMES: [Outcome; 3] = [Outcome::Done, Outcome::NotDone, Outcome::Unknown];

impl Fake {
    async fn method(&self, to: ActorRef, method: &str, args: Payload) -> Result<ActorReply, CallError> {
        match method {
            "echo" => Ok(ActorReply::Value(args)),
            "whoami" => Ok(ActorReply::Value(Payload::Json(serde_json::json!([to.namespace, to.name]).to_string()))),
            "big" => {
                let Payload::Json(text) = args else { panic!("big takes JSON") };
                let [bytes]: [usize; 1] = serde_json::from_str(&text).unwrap();
                Ok(ActorReply::Value(Payload::Json("1".repeat(bytes))))
            }
            "hang" => std::future::pending().await,
            "wait" => {
                self.go.notified().await;
                Ok(ActorReply::Value(args))
            }
            "fail" => {
                let Payload::Json(text) = args else { panic!("fail takes JSON") };
                let [kind, outcome]: [usize; 2] = serde_json::from_str(&text).unwrap();
                Err(error(KINDS[kind], OUTCOMES[outcome]))
            }
            other => panic!("no method {other}"),
        }
    }
}

impl Call for Fake {
    fn call(
        &self,
        to: ActorRef,
        call: ActorCall,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<ActorReply, CallError>> {
        let fake = self.clone();
        *fake.deadline.lock().unwrap() = Some(deadline);
        Box::pin(async move {
            fake.calls.fetch_add(1, Ordering::SeqCst);
            match call {
                ActorCall::Method { method, args } => fake.method(to, &method, args).await,
                ActorCall::Destroy { by_operator } => {
                    fake.by_operator.lock().unwrap().push(by_operator);
                    Ok(ActorReply::Destroyed)
                }
                ActorCall::Fetch(request) => {
                    let (parts, body) = request.into_parts();
                    let line = format!("{} {}", parts.method, parts.uri);
                    let mut response = http::Response::new(body.map_err(|error| error).boxed_unsync());
                    if parts.uri.path() == "/break" {
                        let broken =
                            futures::stream::iter([Err::<http_body::Frame<_>, body::BodyError>("snap".into())]);
                        *response.body_mut() = http_body_util::StreamBody::new(broken).boxed_unsync();
                    }
                    *response.status_mut() = http::StatusCode::ACCEPTED;
                    *response.headers_mut() = parts.headers;
                    response.headers_mut().insert("x-line", line.parse().unwrap());
                    Ok(ActorReply::Response(response))
                }
            }
        })
    }
}

/// The cluster is one node that answers to `n1`; what is asked of it is done at once.
impl Operator for Fake {
    fn status(&self) -> BoxFuture<'static, Result<v1::StatusResponse, CallError>> {
        let last = self.changes.lock().unwrap().last().cloned();
        let state = match &last {
            None | Some(Change::Undrain { .. } | Change::Transfer { .. }) => NodeState::Active,
            Some(Change::Drain { .. }) => NodeState::Draining,
            Some(Change::Remove { .. }) => NodeState::Removed,
        };
        let node = v1::NodeStatus {
            id: "id-of-n1".into(),
            name: "n1".into(),
            state: state.into(),
            reachable: true,
            fresh: true,
            ..v1::NodeStatus::default()
        };
        let problem = if let Some(Change::Transfer { .. }) = last { "it moves" } else { "" };
        let group = v1::GroupStatus { id: 7, problem: problem.into(), ..v1::GroupStatus::default() };
        let status = v1::StatusResponse {
            cluster: "c".into(),
            nodes: vec![node],
            groups: vec![group],
            ..v1::StatusResponse::default()
        };
        Box::pin(async { Ok(status) })
    }

    fn change(&self, change: Change) -> BoxFuture<'static, Result<String, CallError>> {
        let (Change::Drain { node }
        | Change::Undrain { node }
        | Change::Remove { node }
        | Change::Transfer { node, .. }) = &change;
        let known = node == "n1";
        if known {
            self.changes.lock().unwrap().push(change);
        }
        let found = known.then(|| "id-of-n1".to_owned());
        Box::pin(async move { found.ok_or_else(|| error(CallErrorKind::InvalidTarget, Outcome::NotDone)) })
    }
}

impl Directory for Fake {
    fn namespace(&self, text: &str) -> Result<Namespace, CallError> {
        let refused = |kind, name: &str, message: String| {
            let error = JsError { name: name.into(), message, stack: String::new() };
            Err(CallError { kind, error, outcome: Outcome::NotDone })
        };
        if text == "chat/Later" {
            return refused(CallErrorKind::Unavailable, "Unavailable", "what is deployed is not known yet".into());
        }
        let Some(class) = text.strip_prefix("chat/").filter(|class| ["Room", "Crowd"].contains(class)) else {
            return refused(CallErrorKind::InvalidTarget, "TypeError", format!("no namespace {text:?}"));
        };
        Ok(Namespace {
            name: text.into(),
            class_name: class.into(),
            bindings: vec![class.to_uppercase()],
            unique_key: format!("chat-{class}"),
        })
    }

    fn list(&self, what: Listing) -> BoxFuture<'static, Result<Vec<ActorInfo>, Failed>> {
        let Listing { namespace, after, limit, .. } = what;
        let crowd = namespace.class_name == "Crowd";
        let all = (0..if crowd { 3000_u16 } else { 5 }).map(|n| {
            let [high, low] = n.to_be_bytes();
            ActorId(std::array::from_fn(|i| if crowd && i == 0 { high } else { low }))
        });
        let page = all.filter(|id| after.is_none_or(|after| *id > after)).take(limit);
        let page = page.map(|id| info(id, &namespace.name)).collect();
        Box::pin(async { Ok(page) })
    }

    fn show(&self, actor: ActorRef) -> BoxFuture<'static, Result<Option<ActorInfo>, Failed>> {
        let found = (actor.name.as_deref() != Some("nobody")).then(|| info(actor.id, &actor.namespace));
        Box::pin(async { Ok(found) })
    }

    fn elsewhere(&self, _: ActorId) -> Option<String> {
        self.elsewhere.lock().unwrap().clone()
    }
}

pub fn info(id: ActorId, namespace: &str) -> ActorInfo {
    ActorInfo {
        id,
        namespace: namespace.into(),
        name: None,
        state: ActorState::Destroyed { at_ms: 2, by: DestroyReason::Operator },
        incarnation: Uuid::nil(),
        created_at_ms: 1,
        group: 3,
    }
}
