//! Lethe's wire protocol: the types that cross process boundaries, and nothing that acts.
//!
//! [`v1`] is generated from `lethe/v1/actors.proto`, what nodes say to each other ([`peer`]) from
//! `lethe/peer/v1/peer.proto`; those files are the documentation of the protocol.

mod id;

pub use id::{ActorId, ClusterId, InvalidActorId, NodeId};

/// The trailer in which every error carries an encoded [`v1::Error`].
pub const ERROR_TRAILER: &str = "lethe-error-bin";

/// Largest arguments or result of a method call, bytes.
pub const PAYLOAD_BYTES_MAX: usize = 32 << 20;

/// Largest message of the protocol, bytes: a payload and its envelope.
pub const MESSAGE_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + (64 << 10);

/// Largest message of a caller on a stream of calls (`Calls`), bytes. Larger calls are requests of their own.
pub const CALLS_MESSAGE_BYTES_MAX: usize = 256 << 10;

/// Package `lethe.v1`.
#[allow(missing_docs, clippy::all)]
pub mod v1 {
    tonic::include_proto!("lethe.v1");
}

/// What nodes of one cluster say to each other.
pub mod peer {
    /// Package `lethe.peer.v1`.
    #[allow(missing_docs, clippy::all)]
    pub mod v1 {
        tonic::include_proto!("lethe.peer.v1");
    }
}
