//! A stand-in for `lethe dev` that keeps registers in a file, and breaks the promise that its name says.
//!
//! The harness is tested with it: under the name `honest` it must be found valid, under each other name it must be
//! caught. It takes the arguments that the harness gives and answers on the same two doors.

#[path = "liar/doors.rs"]
mod doors;
#[path = "liar/registers.rs"]
mod registers;

use std::{path::Path, sync::Arc};

use anyhow::Context;
use registers::{Lie, Registers};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let name = Path::new(&args[0]).file_name().context("no name")?.to_string_lossy().into_owned();
    let data = args.iter().position(|arg| arg == "--data-dir").context("no --data-dir")?;
    let data = args.get(data + 1).context("no --data-dir")?;
    let registers = Arc::new(Registers::open(Path::new(data), Lie::by_name(&name)?)?);
    let http = TcpListener::bind("127.0.0.1:0").await?;
    let grpc = TcpListener::bind("127.0.0.1:0").await?;
    println!(r#"{{"http":"http://{}","grpc":"http://{}"}}"#, http.local_addr()?, grpc.local_addr()?);
    tokio::select! {
        result = doors::serve_http(http, Arc::clone(&registers)) => result,
        result = doors::serve_grpc(grpc, Arc::clone(&registers)) => result,
        result = registers.flush_forever() => result,
    }
}
