//! The way between nodes: messages of other rooms, carried as bytes. Knows no Raft and no actors.
//!
//! ```text
//! a room ── Transport ──> lane of the connection to a node ──wire──> Handler of the topic ── the room over there
//! ```
//!
//! A message is delivered to the node it names and taken only from the node it claims to come from; everybody else's is
//! refused with a reason. Nothing is retried here: whoever sends decides, by the error, what to do.

mod accept;
mod bound;
pub mod ca;
mod complaint;
mod config;
mod dial;
mod error;
mod held;
mod link;
mod message;
mod peers;
mod presence;
mod service;
mod shared;
mod tls;
mod wire;

#[cfg(test)]
mod tests;

use std::time::Instant;

use bytes::Bytes;
use futures::{future::BoxFuture, stream::BoxStream};
use lethe_proto::NodeId;

pub use self::{
    bound::{Bound, Handle, bind},
    config::{Config, Limits, MESSAGE_BYTES_MAX, Me, TlsFiles},
    error::{Error, Refusal, SetupError},
    link::{Link, LinkError},
    message::{Head, Lane, Topic},
    peers::Peers,
    service::{Admission, Caller},
};

/// Answers to a stream of messages, in their order.
pub type Answers<E> = BoxStream<'static, Result<Bytes, E>>;

/// Sends messages to other nodes.
pub trait Transport: Send + Sync + 'static {
    /// Sends one message and waits for its answer until `deadline`.
    fn call(
        &self,
        to: NodeId,
        head: Head,
        message: Bytes,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<Bytes, Error>>;

    /// Sends messages one after the other, without waiting for the answers in between. Dropping the answers ends it.
    fn stream(
        &self,
        to: NodeId,
        head: Head,
        messages: BoxStream<'static, Bytes>,
    ) -> BoxFuture<'static, Result<Answers<Error>, Error>>;
}

/// Takes messages of other nodes.
pub trait Handler: Send + Sync + 'static {
    /// Answers one message.
    fn call(&self, from: NodeId, head: Head, message: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>>;

    /// Answers a stream of messages. An error among them is where it broke off. Most topics have none.
    fn stream(
        &self,
        _from: NodeId,
        _head: Head,
        _messages: BoxStream<'static, Result<Bytes, Error>>,
    ) -> BoxFuture<'static, Result<Answers<Refusal>, Refusal>> {
        Box::pin(async { Err(Refusal::Malformed("this topic has no streams".to_owned())) })
    }
}
