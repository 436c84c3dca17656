//! Compiles the `.proto` files in pure Rust: no protoc is needed to build.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=lethe");
    let protos =
        ["lethe/v1/actors.proto", "lethe/v1/cluster.proto", "lethe/v1/deploy.proto", "lethe/peer/v1/peer.proto"];
    let files = protox::compile(protos, ["."])?;
    tonic_prost_build::configure().bytes(".").emit_rerun_if_changed(false).compile_fds(files)?;
    Ok(())
}
