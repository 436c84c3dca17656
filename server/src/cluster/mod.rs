//! Which nodes there are, where groups live, and which keys they have.

pub mod keys;

pub use keys::Keys;
