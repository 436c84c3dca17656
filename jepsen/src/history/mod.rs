//! Histories: what clients asked, what they were told, and what was broken meanwhile, in one total order.
//!
//! A history is a list of [`Op`]s, stored as JSON lines. [`Writer`] records one while a run is going, [`read`] loads it,
//! and [`validate`] checks its form before any checker looks at its meaning.

mod op;
mod validator;
mod writer;

pub use op::{Kind, Op, Process};
pub use validator::{Malformed, validate};
pub use writer::{Pending, Writer, read, write};
