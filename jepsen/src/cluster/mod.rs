//! Real server processes: started, killed and started again on the same data.

mod project;
mod server;

pub use project::write_project;
pub use server::{Addresses, DATA_DIR, Server};
