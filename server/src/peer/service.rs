//! The receiving side: checks who speaks to whom, and hands the message to the room it is for.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use lethe_proto::{
    ClusterId, NodeId,
    peer::v1::{self, peer_server::Peer, stream_request::Part},
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::{Answers, Error, Handler, Head, Refusal, shared::Shared, wire};

/// How long a stream may take to say what it is about.
const HEAD_WITHIN: Duration = Duration::from_secs(5);

/// Whom the certificate of a connection names. Stands among the extensions of every request that came over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
}

/// What a long stream of a further service must heed. Stands among the extensions of requests for further services.
#[derive(Clone)]
pub struct Admission {
    pub(super) shared: Arc<Shared>,
    pub(super) caller: Option<Caller>,
}

impl Admission {
    /// Cancelled when the peer port takes nothing new.
    pub fn stopping(&self) -> CancellationToken {
        self.shared.stop.clone()
    }

    /// Whether the other side was removed from the cluster: nothing it says counts any more.
    pub fn is_withdrawn(&self) -> bool {
        self.caller.is_some_and(|caller| self.shared.is_banned(caller.node))
    }
}

/// Serves `Peer`.
#[derive(Clone)]
pub(super) struct Service {
    pub shared: Arc<Shared>,
}

/// A message whose sender and receiver are who they should be.
struct Admitted {
    from: NodeId,
    head: Head,
    timeout: Duration,
    handler: Arc<dyn Handler>,
}

impl Service {
    fn admit(&self, caller: Option<Caller>, head: Option<v1::Head>) -> Result<Admitted, Refusal> {
        let envelope = wire::read_head(head)?;
        let from = envelope.from;
        self.check(caller, envelope).inspect_err(|refusal| match refusal {
            Refusal::OtherCluster { .. } | Refusal::OtherNode { .. } | Refusal::Sender(_) => {
                self.shared.complaint.about(format_args!("node {from}"), refusal);
            }
            Refusal::NoReplica { .. } | Refusal::Malformed(_) | Refusal::Unavailable(_) => {}
        })
    }

    fn check(&self, caller: Option<Caller>, envelope: wire::Envelope) -> Result<Admitted, Refusal> {
        let me = self.shared.me;
        let other =
            |theirs: ClusterId| Refusal::OtherCluster { theirs: theirs.to_string(), ours: me.cluster.to_string() };
        if envelope.cluster != me.cluster {
            return Err(other(envelope.cluster));
        }
        if envelope.to != me.node {
            return Err(Refusal::OtherNode { meant: envelope.to.to_string(), here: me.node.to_string() });
        }
        match caller {
            Some(caller) if caller.cluster != me.cluster => return Err(other(caller.cluster)),
            Some(caller) if caller.node != envelope.from => {
                let (certified, claimed) = (caller.node, envelope.from);
                let text = format!("its certificate is node {certified}'s, and it says it is node {claimed}");
                return Err(Refusal::Sender(text));
            }
            Some(_) | None => {}
        }
        self.shared.check(envelope.from)?;
        let handler = self.shared.handlers.read().get(&envelope.head.topic).cloned();
        let starting = || Refusal::Unavailable("the node is starting".into());
        let timeout = envelope.timeout.min(Duration::from_millis(self.shared.limits.call_timeout_max_ms));
        Ok(Admitted { from: envelope.from, head: envelope.head, timeout, handler: handler.ok_or_else(starting)? })
    }
}

fn caller<T>(request: &Request<T>) -> Option<Caller> {
    request.extensions().get().copied()
}

#[tonic::async_trait]
impl Peer for Service {
    async fn call(&self, request: Request<v1::CallRequest>) -> Result<Response<v1::CallResponse>, Status> {
        let caller = caller(&request);
        let v1::CallRequest { head, message } = request.into_inner();
        let admitted = self.admit(caller, head).map_err(|refusal| wire::status(&refusal))?;
        let work = admitted.handler.call(admitted.from, admitted.head, message);
        match tokio::time::timeout(admitted.timeout, work).await {
            Ok(Ok(answer)) => Ok(Response::new(v1::CallResponse { answer })),
            Ok(Err(refusal)) => Err(wire::status(&refusal)),
            Err(_) => Err(Status::deadline_exceeded("the sender does not wait any longer")),
        }
    }

    type StreamStream = BoxStream<'static, Result<v1::StreamResponse, Status>>;

    async fn stream(
        &self,
        request: Request<Streaming<v1::StreamRequest>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let caller = caller(&request);
        let mut parts = request.into_inner();
        let first = tokio::time::timeout(HEAD_WITHIN, parts.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("the stream does not begin"))??;
        let head = match first.and_then(|first| first.part) {
            Some(Part::Head(head)) => Some(head),
            Some(Part::Message(_) | Part::End(_)) | None => None,
        };
        let admitted = self.admit(caller, head).map_err(|refusal| wire::status(&refusal))?;
        let from = admitted.from;
        let opened = admitted.handler.stream(from, admitted.head, messages(parts, from, self.shared.clone()));
        let answers = opened.await.map_err(|refusal| wire::status(&refusal))?;
        Ok(Response::new(self.answers(from, answers)))
    }
}

impl Service {
    /// The answers, until this node stops or the other one was removed.
    fn answers(&self, to: NodeId, answers: Answers<Refusal>) -> <Self as Peer>::StreamStream {
        let shared = self.shared.clone();
        let last = {
            let shared = shared.clone();
            stream::iter([()]).filter_map(move |()| {
                let broken_off = shared.stop.is_cancelled() || shared.is_banned(to);
                let stopped = || Err(Refusal::Unavailable("the node is stopping".into()));
                std::future::ready(broken_off.then(stopped))
            })
        };
        let over = {
            let shared = shared.clone();
            async move {
                tokio::select! {
                    () = shared.stop.cancelled() => {}
                    () = shared.until_banned(to) => {}
                }
            }
        };
        let answers = answers.take_until(Box::pin(over)).chain(last);
        let answers = answers.map(move |answer| match shared.check(to).and(answer) {
            Ok(answer) => Ok(v1::StreamResponse { answer }),
            Err(refusal) => Err(wire::status(&refusal)),
        });
        answers.boxed()
    }
}

/// The messages of a stream; the last is an error if it broke off. The sender may be removed while the stream is open:
/// nothing of it is taken then.
fn messages(
    parts: Streaming<v1::StreamRequest>,
    from: NodeId,
    shared: Arc<Shared>,
) -> BoxStream<'static, Result<Bytes, Error>> {
    let removed = {
        let shared = shared.clone();
        Box::pin(async move { shared.until_banned(from).await })
    };
    let messages = stream::unfold((Some(parts), shared, removed), move |(parts, shared, mut removed)| async move {
        let mut parts = parts?;
        let part = tokio::select! {
            part = parts.message() => part.map(|message| message.and_then(|message| message.part)),
            // One that says nothing must not keep its place.
            () = &mut removed => Ok(None),
        };
        if let Err(refusal) = shared.check(from) {
            return Some((Err(Error::Refused(refusal)), (None, shared, removed)));
        }
        match part {
            Ok(Some(Part::Message(message))) => Some((Ok(message), (Some(parts), shared, removed))),
            Ok(Some(Part::End(_))) => None,
            Ok(Some(Part::Head(_))) => {
                Some((Err(Error::Lost("the stream has two heads".into())), (None, shared, removed)))
            }
            Ok(None) => Some((Err(Error::Lost("the stream broke off".into())), (None, shared, removed))),
            Err(status) => Some((Err(wire::error(&status)), (None, shared, removed))),
        }
    });
    messages.boxed()
}
