//! Rust client for Lethe's gRPC API: call actors, send them HTTP requests, destroy them, list them.
//!
//! ```no_run
//! use lethe_client::{Client, Id};
//! use serde_json::json;
//!
//! # async fn example() -> Result<(), lethe_client::Error> {
//! let client = Client::connect("http://127.0.0.1:7070").await?;
//! let room = client.actor("chat/Room", Id::name("lobby"));
//! let count = room.call_json("say", &json!(["hello"])).await?;
//! println!("{count} messages");
//! room.destroy().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Two promises. **One call is sent once at most**: nothing is retried behind the caller's back but what never left, so a
//! caller that counts effects can count calls. **Every error says what may be believed**: [`Outcome::Done`] (the call ran;
//! the error is its answer), [`Outcome::NotDone`] (it surely had no effect) or [`Outcome::Unknown`]. Every call has a
//! deadline, 30 s unless [`Client::with_deadline`] says otherwise.
//!
//! Method calls with small arguments share one gRPC stream to each node ([`calls`]); all else is a request of its own.

mod actor;
pub mod calls;
mod client;
mod cluster;
mod deploy;
mod error;
mod fetch;
mod route;

pub use self::{
    actor::{Actor, Id, Reply},
    client::{Client, Page},
    deploy::{Deployed, Versions, WorkerVersion},
    error::{Error, Outcome},
    fetch::ResponseBody,
};
pub use lethe_proto::{
    ActorId,
    v1::{
        ActorInfo, ActorState, DestroyedBy, ErrorCode as Code, GroupStatus, NodeState, NodeStatus, ReplicaRole,
        ReplicaStatus, StatusResponse as ClusterStatus,
    },
};
