//! The node: makes it, builds its rooms bottom-up, reloads what they serve, and stops them top-down.

mod birth;
mod config;
mod data;
mod dev;
mod directory;
mod durable;
mod everywhere;
mod files;
mod first;
mod form;
mod guard;
mod join_file;
mod nothing;
mod operator;
mod ports;
mod reload;
mod rooms;
mod serve;
mod stop;

use anyhow::Result;

use crate::cli::Task;

pub use config::{Config, Member};
pub use ports::Addresses;
pub use rooms::Node;

/// Does one of the tasks that are a node's.
pub async fn run(task: Task) -> Result<()> {
    match task {
        Task::Dev(args) => dev::dev(args).await,
        Task::Serve(args) => serve::serve(args).await,
        Task::Init(args) => form::init(&args),
        Task::Add(args) => form::add(&args),
        Task::Join(args) => form::join(&args),
    }
}
