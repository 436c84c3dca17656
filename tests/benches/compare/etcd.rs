//! etcd: three processes, and the two calls of its gRPC API that are measured.
//!
//! Only the fields we use are named; the rest of each message is skipped as any protobuf reader does.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::uri::PathAndQuery;
use lethe_tests::{Loopback, Place, Process, run};
use tonic::{
    client::Grpc,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use crate::{Args, NODES, Running, caller::Caller, pids};

const CLIENT_PORT: u16 = 2379;
const PEER_PORT: u16 = 2380;
const READY_MAX: Duration = Duration::from_secs(30);

#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutResponse {}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeResponse {
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeyValue {
    #[prost(bytes = "bytes", tag = "5")]
    value: Bytes,
}

/// A key, and the connection it is reached through.
#[derive(Clone)]
pub struct Key {
    channel: Channel,
    key: Bytes,
}

impl Key {
    pub async fn put(&self, value: Bytes) -> Result<()> {
        let request = PutRequest { key: self.key.clone(), value };
        let _: PutResponse = self.call("/etcdserverpb.KV/Put", request).await?;
        Ok(())
    }

    /// A linearizable read, which is etcd's default.
    pub async fn get(&self) -> Result<()> {
        let request = RangeRequest { key: self.key.clone() };
        let answer: RangeResponse = self.call("/etcdserverpb.KV/Range", request).await?;
        ensure!(answer.kvs.len() == 1 && !answer.kvs[0].value.is_empty(), "the key is not there");
        Ok(())
    }

    async fn call<Q, A>(&self, method: &'static str, request: Q) -> Result<A>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await?;
        let (path, codec) = (PathAndQuery::from_static(method), ProstCodec::<Q, A>::default());
        Ok(grpc.unary(tonic::Request::new(request), path, codec).await?.into_inner())
    }
}

/// Processes of etcd and the addresses they have.
pub struct Etcd {
    _processes: Vec<Process>,
    _loopback: Loopback,
}

/// Starts three processes and waits until they take writes; `callers` keys hold a value already.
pub async fn start(args: &Args, dir: &Path, callers: u16) -> Result<(Running, Etcd)> {
    let version = run(Command::new("etcd").arg("--version"), "").context("etcd is Debian's etcd-server")?;
    let version = version.lines().next().and_then(|line| line.split(' ').next_back()).unwrap_or("?").to_owned();
    let loopback = Loopback::claim()?;
    let mut urls = Vec::new();
    for node in 0..NODES {
        let address = loopback.address(node)?;
        urls.push((format!("http://{address}:{CLIENT_PORT}"), format!("http://{address}:{PEER_PORT}")));
    }
    let members: Vec<_> = urls.iter().enumerate().map(|(node, (_, peer))| format!("e{node}={peer}")).collect();
    let mut processes = Vec::new();
    for (node, (client, peer)) in urls.iter().enumerate() {
        let mut command = Place::default().command("etcd".as_ref());
        command.args(["--name", &format!("e{node}"), "--initial-cluster", &members.join(",")]);
        command.arg("--data-dir").arg(dir.join(format!("e{node}")));
        command.args(["--listen-client-urls", client, "--advertise-client-urls", client]);
        command.args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]);
        command.args(["--initial-cluster-state", "new", "--logger", "zap", "--log-level", "error"]);
        processes.push(Process::start(command, &dir.join(format!("e{node}.log")))?);
    }
    let mut channels = Vec::new();
    // Neighbouring callers use different nodes.
    for _ in 0..args.connections {
        for (client, _) in &urls {
            channels.push(Endpoint::from_shared(client.clone())?.tcp_nodelay(true).connect_lazy());
        }
    }
    let value = Bytes::from(vec![b'v'; args.value_bytes as usize]);
    let keys: Vec<Key> = (0..usize::from(callers))
        .map(|number| Key {
            channel: channels[number % channels.len()].clone(),
            key: Bytes::from(format!("load-{number}")),
        })
        .collect();
    for key in &keys {
        first_put(key, &value).await?;
    }
    let put = keys.iter().map(|key| Caller::EtcdPut { key: key.clone(), value: value.clone() }).collect();
    let get = keys.iter().map(|key| Caller::EtcdGet { key: key.clone() }).collect();
    let operations = vec![("put", put), ("get", get)];
    let running = Running { name: format!("etcd {version}"), processes: pids(&processes), operations };
    Ok((running, Etcd { _processes: processes, _loopback: loopback }))
}

async fn first_put(key: &Key, value: &Bytes) -> Result<()> {
    let until = tokio::time::Instant::now() + READY_MAX;
    loop {
        match key.put(value.clone()).await {
            Ok(()) => return Ok(()),
            Err(error) if tokio::time::Instant::now() > until => return Err(error).context("etcd takes no writes"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
