//! Black-box tests' hold on a real server: starts the `lethe` binary on a project, talks to it, stops or kills it.

mod http;
mod project;
mod server;

pub use http::{Reply, get, open, send};
pub use project::Project;
pub use server::{Options, Server, Signal, lethe, wait_for};
