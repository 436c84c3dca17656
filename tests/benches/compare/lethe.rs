//! Lethe: a cluster of three `lethe serve`, and an actor that holds one value.

use std::path::Path;

use anyhow::{Context, Result};
use lethe_client::{Client, Id};
use lethe_tests::{Cluster, Node, Project, Setup};
use serde_json::json;

use crate::{
    Args, NODES, Running,
    caller::{Caller, Http},
};

const INDEX_JS: &str = "
import { DurableObject } from 'cloudflare:workers';
export class Cell extends DurableObject {
  put(value) { this.ctx.storage.put('value', value); }
  async get() { return (await this.ctx.storage.get('value')) ?? null; }
  async add() { const n = ((await this.ctx.storage.get('n')) ?? 0) + 1; this.ctx.storage.put('n', n); return n; }
}
export default {
  async fetch(request, env) {
    return new Response(String(await env.CELL.getByName(new URL(request.url).pathname).add()));
  },
};";

/// Forms a cluster and deploys the actor; each caller's actor holds a value already.
pub async fn start(args: &Args, dir: &Path, callers: u16) -> Result<(Running, Cluster)> {
    let setup = Setup {
        nodes: NODES,
        groups: args.groups,
        replication: NODES as u8,
        binary: args.lethe.clone(),
        dir: Some(dir.to_owned()),
        ..Setup::default()
    };
    let cluster = Cluster::form(setup).await?;
    let project = Project::new(INDEX_JS, &[("CELL", "Cell")]);
    cluster.deploy(project.path()).await?;
    let nodes: Vec<_> = cluster.nodes().iter().map(Node::grpc).collect();
    let nodes: Vec<_> = nodes.iter().map(String::as_str).collect();
    let mut clients = Vec::new();
    for _ in 0..args.connections {
        clients.push(Client::connect_any(&nodes).await?);
    }
    let value = "v".repeat(args.value_bytes as usize);
    let (mut put, mut get, mut add, mut http) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for number in 0..usize::from(callers) {
        let actor = clients[number % clients.len()].actor("Cell", Id::name(format!("load-{number}")));
        actor.call_json("put", &json!([value])).await.context("the first value")?;
        put.push(Caller::Actor { actor: actor.clone(), method: "put", arguments: json!([value]) });
        get.push(Caller::Actor { actor: actor.clone(), method: "get", arguments: json!([]) });
        add.push(Caller::Actor { actor, method: "add", arguments: json!([]) });
        let node = &cluster.nodes()[number % NODES];
        let authority = node.http().trim_start_matches("http://").to_owned();
        http.push(Caller::Http(Http::new(authority, format!("/http-{number}"))));
    }
    let operations = vec![("put", put), ("get", get), ("add", add), ("http add", http)];
    let processes = cluster.nodes().iter().filter_map(Node::pid).collect();
    Ok((Running { name: format!("lethe {}", env!("CARGO_PKG_VERSION")), processes, operations }, cluster))
}
