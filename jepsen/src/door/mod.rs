//! Doors: ways in which a client can call an actor of the server under test.
//!
//! One call is one attempt on the wire. What cannot be told is told as unknown: a door never says "not done" unless
//! the server said so or no connection was made.

mod grpc;
mod http;

pub use grpc::{GrpcDoor, namespace};
pub use http::HttpDoor;

use std::time::Duration;

use serde_json::Value;

use crate::cluster::Addresses;

/// A call that takes longer has no answer.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// What a caller was told.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The result.
    Value(Value),
    /// The actor was destroyed before, and the call was not done.
    Destroyed,
    /// The actor is destroyed. The call may have been done before that.
    Ended,
    /// It surely was not done.
    NotDone(String),
    /// It may have been done.
    Unknown(String),
    /// Nothing that the actor's contract allows.
    Unexpected(String),
}

/// A door and the connection behind it. One call at a time.
pub enum Door {
    /// Straight to the actor.
    Grpc(GrpcDoor),
    /// Through the gateway and a Worker.
    Http(HttpDoor),
}

impl Door {
    /// Names of all doors, as they stand in a history.
    pub const NAMES: [&str; 2] = ["grpc", "http"];

    /// A door by the number of the worker that uses it: workers take turns.
    pub fn for_worker(number: usize) -> Self {
        if number.is_multiple_of(2) { Self::Grpc(GrpcDoor::new()) } else { Self::Http(HttpDoor::new()) }
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Grpc(_) => "grpc",
            Self::Http(_) => "http",
        }
    }

    /// Calls a method of the actor `name` of a class of `jepsen/actors`; `destroy` destroys it.
    pub async fn call(&mut self, at: &Addresses, class: &str, name: &str, method: &str, args: &Value) -> Answer {
        match self {
            Self::Grpc(door) => door.call(at, class, name, method, args).await,
            Self::Http(door) => door.call(at, class, name, method, args).await,
        }
    }
}
