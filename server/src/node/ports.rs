//! The ports of a node, bound before anything slow is done, and what others are told of them.

use std::io::Write;

use anyhow::{Context, Result};
use serde_json::json;

use super::config::Member;
use crate::{
    cluster::{Announce, Begin},
    gateway::{self, Gateway},
    grpc,
    peer::{self, Me},
};

/// What a node is called that is a cluster of its own.
const ALONE: &str = "dev";

/// Where a node listens.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// `http://host:port`, or `https://` with TLS.
    pub http: String,
    /// `http://host:port`
    pub grpc: String,
    /// `host:port`, if there is a port for other nodes.
    pub peer: Option<String>,
}

impl Addresses {
    /// Prints the one line on stdout that says who is ready, and where: for people, or for programs. `kind` is what
    /// programs find it under.
    pub(super) fn announce(&self, who: &str, (kind, id): (&str, &str), as_json: bool) -> Result<()> {
        let Self { http, grpc, peer } = self;
        let line = match (as_json, peer) {
            (true, None) => json!({ kind: id, "http": http, "grpc": grpc }).to_string(),
            (true, Some(peer)) => json!({ kind: id, "http": http, "grpc": grpc, "peer": peer }).to_string(),
            (false, None) => format!("{who} is ready on {http} (gRPC on {grpc})"),
            (false, Some(peer)) => format!("{who} is ready on {http} (gRPC on {grpc}, peers on {peer})"),
        };
        writeln!(std::io::stdout(), "{line}").context("writing the ready line to stdout")
    }
}

/// The ports, bound before anything slow is done.
pub(super) struct Ports {
    pub http: gateway::Bound,
    pub grpc: grpc::Bound,
    pub peer: Option<peer::Bound>,
    pub addresses: Addresses,
    /// How other nodes know this one.
    pub announce: Announce,
    /// How it came to be a member.
    pub begin: Begin,
}

impl Ports {
    /// Binds them.
    pub async fn bind(http: gateway::Config, grpc: grpc::Config, member: Option<Member>, me: Me) -> Result<Self> {
        let scheme = if http.tls.is_some() { "https" } else { "http" };
        let http = Gateway::bind(http).await?;
        let grpc = grpc::bind(grpc).await?;
        let (on_http, on_grpc) = (http.local_addr(), grpc.local_addr());
        let mut addresses =
            Addresses { http: format!("{scheme}://{on_http}"), grpc: format!("http://{on_grpc}"), peer: None };
        let Some(member) = member else {
            let announce = Announce {
                name: ALONE.to_owned(),
                peer: String::new(),
                http: on_http.to_string(),
                grpc: on_grpc.to_string(),
            };
            return Ok(Self { http, grpc, peer: None, addresses, announce, begin: Begin::Found { replication: 1 } });
        };
        let peer = peer::bind(member.peer, me).await?;
        let on_peer = peer.local_addr();
        addresses.peer = Some(on_peer.to_string());
        let announce = Announce {
            name: member.name,
            peer: member.peer_advertise.unwrap_or_else(|| on_peer.to_string()),
            grpc: member.grpc_advertise.unwrap_or_else(|| on_grpc.to_string()),
            http: member.http_advertise.unwrap_or_else(|| on_http.to_string()),
        };
        Ok(Self { http, grpc, peer: Some(peer), addresses, announce, begin: member.begin })
    }
}
