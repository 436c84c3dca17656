//! The `lethe` command. It only picks the exit code; `cli` parses, the rooms act.

use std::process::ExitCode;

use lethe_server::{cli, node};

fn main() -> ExitCode {
    cli::run(node::run)
}
