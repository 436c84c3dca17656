//! A connection to a Lethe node.

use std::{future::Future, time::Duration};

use futures::StreamExt;
use lethe_proto::{MESSAGE_BYTES_MAX, v1, v1::actors_client::ActorsClient};
use tonic::transport::{Channel, Endpoint};

use crate::{
    Actor, ActorInfo, Code, Error, Id, Outcome,
    calls::{self, Caller, Failure},
    route::{Node, Route},
};

/// Deadline of a call unless another is set.
const DEADLINE: Duration = Duration::from_secs(30);
/// Longest deadline that is kept to the letter; servers shorten what is longer than a quarter of an hour.
const DEADLINE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A dead peer is noticed after these two together.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long after the deadline the server's own word on it is waited for.
const DEADLINE_GRACE: Duration = Duration::from_millis(500);
/// Largest headers and trailers taken from a server, bytes.
const HEADERS_BYTES_MAX: u32 = 256 << 10;

/// Connections to one node or several; cheap to clone, all clones share them. A lost connection is made anew by the next
/// call.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) route: Route,
    deadline: Duration,
}

/// A page of a listing.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// In the order of their ids.
    pub actors: Vec<ActorInfo>,
    /// Give this to [`Client::list`] as `after` for the next page; `None` on the last one.
    pub next: Option<String>,
}

impl Client {
    /// Connects to a node's gRPC address, like `http://127.0.0.1:7070`.
    pub async fn connect(endpoint: &str) -> Result<Self, Error> {
        Self::connect_any(&[endpoint]).await
    }

    /// Connects to a cluster by the gRPC addresses of some of its nodes, or all; one that can be reached is enough. Each
    /// [`Actor`] is called at the node where it lives, once that is known and among them, which saves a hop; after a node
    /// could not help, the next call goes to another one. A call is still sent once at most: a small one that could not be
    /// sent to a node is tried at the others.
    pub async fn connect_any(endpoints: &[&str]) -> Result<Self, Error> {
        let refuse = |message: String| Error::new(Code::InvalidRequest, Outcome::NotDone, message);
        let mut nodes = Vec::with_capacity(endpoints.len());
        for endpoint in endpoints {
            let channel = address(endpoint).map_err(refuse)?.connect_lazy();
            let endpoint = (*endpoint).trim_end_matches('/').to_owned();
            nodes.push(Node { endpoint, calls: caller(channel.clone()), channel });
        }
        let mut failures = Vec::new();
        for (at, endpoint) in endpoints.iter().enumerate() {
            match address(endpoint).map_err(refuse)?.connect().await {
                Ok(channel) => {
                    (nodes[at].calls, nodes[at].channel) = (caller(channel.clone()), channel);
                    return Ok(Self { route: Route::new(nodes, at), deadline: DEADLINE });
                }
                Err(error) => failures.push(format!("cannot connect to {endpoint}: {}", root_cause(&error))),
            }
        }
        if failures.is_empty() {
            return Err(refuse("there is no endpoint to connect to".to_owned()));
        }
        Err(Error::new(Code::Unavailable, Outcome::NotDone, failures.join("; ")))
    }

    /// The same connections with another deadline for each call.
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self { deadline, ..self.clone() }
    }

    /// An actor of a namespace: `script/Class`, or a binding or class name where only one fits. Sends nothing.
    pub fn actor(&self, namespace: &str, id: Id) -> Actor {
        Actor::new(Self { route: self.route.fork(), ..self.clone() }, namespace, id)
    }

    /// Lists actors of a namespace whose ids come after `after`, at most `limit` (0: the server's choice).
    pub async fn list(&self, namespace: &str, after: Option<&str>, limit: u32) -> Result<Page, Error> {
        let after = after.unwrap_or_default().to_owned();
        let request =
            self.request(v1::ListRequest { namespace: namespace.to_owned(), after, limit, groups: Vec::new() });
        let reply = self.bounded(self.stub().list(request)).await?;
        Ok(Page { actors: reply.actors, next: Some(reply.next).filter(|next| !next.is_empty()) })
    }

    pub(crate) fn stub(&self) -> ActorsClient<Channel> {
        stub(self.route.channel())
    }

    /// Makes a small call over the stream to the node where it belongs now. Where it cannot be sent it surely was not done, and
    /// the next node is asked, each of them once.
    pub(crate) async fn call(&self, mut request: v1::CallRequest) -> Result<v1::CallResponse, Error> {
        let deadline = calls::now() + self.deadline.min(DEADLINE_MAX);
        let mut others = self.route.nodes() - 1;
        loop {
            let at = self.route.at();
            let again = (others > 0).then(|| request.clone());
            let called = self.route.calls(at).call(request, deadline, deadline + DEADLINE_GRACE).await;
            let failure = match called {
                Ok(response) => return Ok(response),
                Err(failure) => failure,
            };
            let unsent = matches!(failure, Failure::NotSent(_) | Failure::NotTaken);
            let error = self.failed(at, Error::from_failure(failure));
            match again.filter(|_| unsent && self.route.at() != at && calls::now() < deadline) {
                Some(next) => (request, others) = (next, others - 1),
                None => return Err(error),
            }
        }
    }

    pub(crate) fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.set_timeout(self.deadline);
        request
    }

    /// Waits for an answer until the deadline and a little longer, so that the server's own word on it can arrive.
    pub(crate) async fn bounded<T>(
        &self,
        answer: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T, Error> {
        let at = self.route.at();
        let error = match tokio::time::timeout(self.deadline + DEADLINE_GRACE, answer).await {
            Ok(Ok(response)) => return Ok(response.into_inner()),
            Ok(Err(status)) => Error::from_status(&status),
            Err(_) => Error::late(),
        };
        Err(self.failed(at, error))
    }

    /// A call at the node numbered `at` failed: whether the next one goes there depends on why.
    fn failed(&self, at: usize, error: Error) -> Error {
        if matches!(error.code, Code::Unavailable | Code::Deadline) {
            self.route.leave(at);
        }
        error
    }
}

fn stub(channel: Channel) -> ActorsClient<Channel> {
    ActorsClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// Small calls over a channel.
pub(crate) fn caller(channel: Channel) -> Caller {
    Caller::new(move |writer| {
        let mut stub = stub(channel.clone());
        Box::pin(async move { Ok(stub.calls(writer).await?.into_inner().boxed()) })
    })
}

/// A node's gRPC address and how it is spoken to.
fn address(endpoint: &str) -> Result<Endpoint, String> {
    if !endpoint.starts_with("http://") {
        return Err(format!("an endpoint is like http://127.0.0.1:7070, not {endpoint:?}"));
    }
    let address = Endpoint::from_shared(endpoint.to_owned());
    let address = address.map_err(|error| format!("{endpoint:?} is not an endpoint: {error}"))?;
    Ok(address
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .http2_max_header_list_size(HEADERS_BYTES_MAX))
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
