//! The node: builds the rooms bottom-up, reloads what they serve, and stops them top-down.

mod dev;
mod directory;
mod files;
mod operator;
mod reload;
mod rooms;

pub use dev::dev;
pub use rooms::{Config, Node};
