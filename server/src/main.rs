//! The `lethe` command.
fn main() {}
