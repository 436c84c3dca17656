//! Host of live actors: mailbox, output gate, storage buffer, activation and eviction.

mod activation;
mod actors;
mod awake;
mod buffer;
mod call;
mod committer;
pub(crate) mod error;
mod gated;
mod home;
mod host;
mod live;
mod logs;
pub(crate) mod outside;
mod output_gate;
mod place;
mod release;
mod room;
mod storage;
mod terms;
mod watch;

#[cfg(test)]
mod tests;

pub use actors::{Actors, Config, Deps};
pub use call::{ActorRef, Call};
pub use home::Homes;
pub use place::{Failed, Place};
pub use release::Released;
