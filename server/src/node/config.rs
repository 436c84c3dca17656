//! What a node is given: ports, its place among other nodes, directories, sizes and limits.

use std::{net::SocketAddr, path::PathBuf};

use lethe_runtime::engine;

use crate::{
    actor,
    cluster::{self, Begin, keys},
    egress, gateway, grpc, peer, shard,
};

/// What a node is given.
pub struct Config {
    /// The HTTP face.
    pub http: gateway::Config,
    /// The gRPC face.
    pub grpc: grpc::Config,
    /// Its place among other nodes; none is a cluster of one.
    pub member: Option<Member>,
    /// Where everything durable is.
    pub data_dir: PathBuf,
    /// The Raft groups. How many there are the data directory says.
    pub shard: shard::Config,
    /// Periods and limits of the cluster.
    pub cluster: cluster::Config,
    /// Data keys of actors.
    pub keys: keys::Config,
    /// Bounds of actors.
    pub actors: actor::Config,
    /// Sizes of the JavaScript engine.
    pub engine: engine::Config,
    /// Bounds of outgoing requests.
    pub egress: egress::Config,
    /// Whether clients see why a Worker failed.
    pub show_failures: bool,
}

/// What makes a node one of several.
pub struct Member {
    /// What people call it.
    pub name: String,
    /// The port for other nodes.
    pub peer: peer::Config,
    /// How it came to be a member.
    pub begin: Begin,
    /// `host:port` for clients, if it is not where it listens.
    pub http_advertise: Option<String>,
    /// `host:port` for programs, if it is not where it listens.
    pub grpc_advertise: Option<String>,
    /// `host:port` for other nodes, if it is not where it listens.
    pub peer_advertise: Option<String>,
}

impl Config {
    /// A cluster of one with the usual sizes.
    pub fn new(http: SocketAddr, grpc: SocketAddr, data_dir: PathBuf) -> Self {
        Self {
            http: gateway::Config::new(http),
            grpc: grpc::Config::new(grpc),
            member: None,
            data_dir,
            shard: shard::Config::new(1),
            cluster: cluster::Config::default(),
            keys: keys::Config::default(),
            actors: actor::Config::default(),
            engine: engine::Config::default(),
            egress: egress::Config::default(),
            show_failures: false,
        }
    }
}
