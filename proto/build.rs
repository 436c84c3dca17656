//! Compiles the `.proto` files in pure Rust: no protoc is needed to build.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=lethe");
    let files = protox::compile(["lethe/v1/actors.proto", "lethe/v1/cluster.proto"], ["."])?;
    tonic_prost_build::configure().bytes(".").emit_rerun_if_changed(false).compile_fds(files)?;
    Ok(())
}
