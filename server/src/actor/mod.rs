//! Host of live actors: mailbox, output gate, storage buffer, activation and eviction.

mod call;

pub use call::{ActorRef, Call};
