//! The ports of a node, bound before anything slow is done, and what others are told of them.

use anyhow::Result;

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
