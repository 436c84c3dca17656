//! A connection to a Lethe node.

use std::{future::Future, time::Duration};

use lethe_proto::{MESSAGE_BYTES_MAX, v1, v1::actors_client::ActorsClient};
use tonic::transport::{Channel, Endpoint};

use crate::{Actor, ActorInfo, Code, Error, Id, Outcome};

/// Deadline of a call unless another is set.
const DEADLINE: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A dead peer is noticed after these two together.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long after the deadline the server's own word on it is waited for.
const DEADLINE_GRACE: Duration = Duration::from_millis(500);
/// Largest headers and trailers taken from a server, bytes.
const HEADERS_BYTES_MAX: u32 = 256 << 10;

/// A connection to a node; cheap to clone, all clones share it. A lost connection is made anew by the next call.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) channel: Channel,
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
        let refuse = |message: String| Error::new(Code::InvalidRequest, Outcome::NotDone, message);
        if !endpoint.starts_with("http://") {
            return Err(refuse(format!("an endpoint is like http://127.0.0.1:7070, not {endpoint:?}")));
        }
        let address = Endpoint::from_shared(endpoint.to_owned())
            .map_err(|error| refuse(format!("{endpoint:?} is not an endpoint: {error}")))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .http2_max_header_list_size(HEADERS_BYTES_MAX);
        let channel = address.connect().await.map_err(|error| {
            let message = format!("cannot connect to {endpoint}: {}", root_cause(&error));
            Error::new(Code::Unavailable, Outcome::NotDone, message)
        })?;
        Ok(Self { channel, deadline: DEADLINE })
    }

    /// The same connection with another deadline for each call.
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self { deadline, ..self.clone() }
    }

    /// An actor of a namespace: `script/Class`, or a binding or class name where only one fits. Sends nothing.
    pub fn actor(&self, namespace: &str, id: Id) -> Actor {
        Actor::new(self.clone(), namespace, id)
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
        ActorsClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
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
        match tokio::time::timeout(self.deadline + DEADLINE_GRACE, answer).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(Error::from_status(&status)),
            Err(_) => Err(Error::new(Code::Deadline, Outcome::Unknown, "no answer before the deadline")),
        }
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
