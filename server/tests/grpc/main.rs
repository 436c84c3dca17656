//! The gRPC face over real sockets: server, Rust client and node-to-node client against an actor that is a script.

mod fake;
mod proxy;
mod server;
mod calls;
mod cluster;
mod connections;
mod errors;
mod fetch;
mod nodes;
mod shutdown;
mod streams;
