//! `lethe-liar`: `lethe` that breaks the promise that its file is named after. For `jepsen mutants`, and nothing else.

use std::{env, path::Path, process::ExitCode};

use lethe_server::{cli, lies, node};

fn main() -> ExitCode {
    let called = env::args_os().next().unwrap_or_default();
    let name = Path::new(&called).file_name().unwrap_or_default().to_string_lossy().into_owned();
    if let Err(why) = lies::tell(&name) {
        eprintln!("{why}");
        return ExitCode::FAILURE;
    }
    cli::run(node::run)
}
