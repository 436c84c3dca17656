//! The sending side: which nodes there are and where, four connections to each, and `Transport` over them.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{
    Stream, StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use lethe_proto::{
    NodeId,
    peer::v1::{self, peer_client::PeerClient, stream_request::Part},
};
use tokio_util::sync::CancellationToken;
use tonic::Request;

use super::{
    Answers, Error, Head, Lane, Refusal, Topic, Transport,
    config::{ENVELOPED_BYTES_MAX, MESSAGE_BYTES_MAX},
    dial::{Dialed, Dialer},
    link::{Link, LinkError, Ready},
    presence::Presence,
    shared::Shared,
    wire,
};

/// How long the other side may take to say whether it takes a stream.
const STREAM_OPENS_WITHIN: Duration = Duration::from_secs(10);

/// The other nodes of the cluster. Cheap to clone.
#[derive(Clone)]
pub struct Peers {
    pub(super) shared: Arc<Shared>,
}

/// Where a node is, and the connections to it.
pub(super) struct Node {
    address: String,
    lanes: [Link; 3],
    calls: Link,
    presence: Arc<Presence>,
}

impl Node {
    fn new(dialer: &Arc<Dialer>, node: NodeId, address: String) -> Self {
        let presence = Arc::<Presence>::default();
        let link = || Link::new(dialer.clone(), node, address.clone(), presence.clone());
        Self { lanes: [link(), link(), link()], calls: link(), address: address.clone(), presence }
    }

    fn lane(&self, lane: Lane) -> &Link {
        match lane {
            Lane::Control => &self.lanes[0],
            Lane::Log => &self.lanes[1],
            Lane::Bulk => &self.lanes[2],
        }
    }

    /// It was heard of, by a connection that it made.
    pub fn shown(&self) {
        self.presence.shown();
    }

    fn close(&self) {
        self.lanes.iter().chain([&self.calls]).for_each(Link::close);
    }
}

pub(super) type Nodes = HashMap<NodeId, Node>;

impl Peers {
    /// Where `node` is from now on (`host:port`). Connections to another address it had are closed.
    pub fn learn(&self, node: NodeId, address: &str) {
        let mut nodes = self.shared.nodes.write();
        if nodes.get(&node).is_some_and(|known| known.address == address) {
            return;
        }
        let known = nodes.insert(node, Node::new(&self.shared.dialer, node, address.to_owned()));
        drop(nodes);
        if let Some(known) = known {
            known.close();
        }
    }

    /// Closes the connections to `node`; it is not known any more.
    pub fn forget(&self, node: NodeId) {
        let known = self.shared.nodes.write().remove(&node);
        if let Some(known) = known {
            known.close();
        }
    }

    /// Forgets `node` and refuses everything it says from now on: it was removed from the cluster.
    pub fn ban(&self, node: NodeId) {
        self.shared.banned.send_if_modified(|banned| banned.insert(node));
        self.forget(node);
    }

    /// Where `node` is, if it is known.
    pub fn address(&self, node: NodeId) -> Option<String> {
        self.shared.nodes.read().get(&node).map(|known| known.address.clone())
    }

    /// Whether it is known where `node` is.
    pub fn knows(&self, node: NodeId) -> bool {
        self.shared.nodes.read().contains_key(&node)
    }

    /// The connection for actor calls to `node`: a service for gRPC clients.
    pub fn channel(&self, node: NodeId) -> Result<Link, Error> {
        self.link(node, |known| &known.calls)
    }

    /// Sends one message to whichever node of the cluster listens at `address`, over a connection of its own. For a
    /// node that knows nobody yet.
    pub fn ask(
        &self,
        address: &str,
        topic: Topic,
        message: Bytes,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<(NodeId, Bytes), Error>> {
        let (shared, address) = (self.shared.clone(), address.to_owned());
        Box::pin(async move {
            let closed = shared.cut.child_token();
            let _closes = closed.clone().drop_guard();
            let dial = shared.dialer.clone().dial(address.clone(), None, closed);
            let Dialed { node, send } = within(deadline, dial).await?.map_err(Error::Unreachable)?;
            let head = Head { lane: Lane::Control, topic, group: 0, incarnation: 0 };
            let ready = Ready::once(send, address);
            let answer = call(shared, ready, node, head, message, deadline).await?;
            Ok((node, answer))
        })
    }

    fn link(&self, node: NodeId, which: impl FnOnce(&Node) -> &Link) -> Result<Link, Error> {
        let nodes = self.shared.nodes.read();
        let known = nodes.get(&node).ok_or_else(|| Error::Unreachable(format!("node {node} is not known")))?;
        Ok(which(known).clone())
    }
}

impl Transport for Peers {
    fn call(
        &self,
        to: NodeId,
        head: Head,
        message: Bytes,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<Bytes, Error>> {
        let (shared, link) = (self.shared.clone(), self.link(to, |known| known.lane(head.lane)));
        Box::pin(async move {
            let ready = connected(&link?, deadline).await?;
            call(shared, ready, to, head, message, deadline).await
        })
    }

    fn stream(
        &self,
        to: NodeId,
        head: Head,
        messages: BoxStream<'static, Bytes>,
    ) -> BoxFuture<'static, Result<Answers<Error>, Error>> {
        let (shared, link) = (self.shared.clone(), self.link(to, |known| known.lane(head.lane)));
        Box::pin(async move {
            let deadline = Instant::now() + STREAM_OPENS_WITHIN;
            let ready = connected(&link?, deadline).await?;
            let head = wire::head(shared.me, to, head, Duration::ZERO);
            // Whoever drops the answers ends the messages, without the mark of a proper end.
            let dropped = CancellationToken::new();
            let guard = dropped.clone().drop_guard();
            let parts = Parts::new(head, messages, dropped);
            let mut client = client(ready);
            let opened = tokio::time::timeout_at(deadline.into(), client.stream(parts)).await;
            let answers = opened.map_err(|_| Error::Deadline)?.map_err(|status| wire::error(&status))?.into_inner();
            let answers = answers.map(move |answer| {
                let _held = &guard;
                answer.map(|answer| answer.answer).map_err(|status| wire::error(&status))
            });
            Ok(answers.boxed())
        })
    }
}

/// What is sent on a stream. A type of its own, without a lifetime: the compiler cannot prove a future `Send` that
/// holds a bare boxed stream.
struct Parts(BoxStream<'static, v1::StreamRequest>);

impl Parts {
    fn new(head: v1::Head, messages: BoxStream<'static, Bytes>, dropped: CancellationToken) -> Self {
        let parts = stream::iter([Part::Head(head)])
            .chain(messages.map(Part::Message))
            .chain(stream::iter([Part::End(v1::End {})]))
            .map(|part| v1::StreamRequest { part: Some(part) })
            .take_until(dropped.cancelled_owned());
        Self(parts.boxed())
    }
}

impl Stream for Parts {
    type Item = v1::StreamRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<v1::StreamRequest>> {
        self.0.poll_next_unpin(cx)
    }
}

async fn call(
    shared: Arc<Shared>,
    ready: Ready,
    to: NodeId,
    head: Head,
    message: Bytes,
    deadline: Instant,
) -> Result<Bytes, Error> {
    if message.len() > MESSAGE_BYTES_MAX {
        let text = format!("a message has at most {MESSAGE_BYTES_MAX} bytes, not {}", message.len());
        return Err(Error::Refused(Refusal::Malformed(text)));
    }
    let timeout = deadline.saturating_duration_since(Instant::now());
    let head = wire::head(shared.me, to, head, timeout);
    let request = Request::new(v1::CallRequest { head: Some(head), message });
    match tokio::time::timeout_at(deadline.into(), client(ready).call(request)).await {
        Ok(answer) => answer.map(|answer| answer.into_inner().answer).map_err(|status| wire::error(&status)),
        Err(_) => Err(Error::Deadline),
    }
}

async fn connected(link: &Link, deadline: Instant) -> Result<Ready, Error> {
    within(deadline, link.ready()).await?.map_err(|error| match error {
        LinkError::NotSent(why) => Error::Unreachable(why),
        LinkError::Lost(why) => Error::Lost(why),
    })
}

/// What is not done at the deadline has sent nothing yet.
async fn within<T>(deadline: Instant, work: impl Future<Output = T>) -> Result<T, Error> {
    let late = |_| Error::Unreachable("there was no connection before the deadline".into());
    tokio::time::timeout_at(deadline.into(), work).await.map_err(late)
}

fn client(ready: Ready) -> PeerClient<Ready> {
    PeerClient::new(ready).max_decoding_message_size(ENVELOPED_BYTES_MAX).max_encoding_message_size(ENVELOPED_BYTES_MAX)
}
