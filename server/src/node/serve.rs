//! `lethe serve`: one node of a cluster, until SIGTERM or Ctrl-C.

use std::{io::Write, net::SocketAddr};

use anyhow::{Context, Result, bail};

use super::{
    birth::{Birth, By},
    config::{Config, Member},
    rooms::Node,
    stop::Stop,
};
use crate::{
    cli::{
        ServeArgs,
        config::{Settings, host_name},
    },
    cluster::Begin,
    peer::{self, TlsFiles},
    shard::Identity,
    store::vfs::StdVfs,
};

/// Runs `lethe serve`; returns when it was stopped and everything in flight is done.
pub(super) async fn serve(args: ServeArgs) -> Result<()> {
    let settings = args.file.settings()?;
    let identity = Identity::read(&StdVfs, &settings.data_dir)?;
    let birth = identity.map(|_| Birth::read(&settings.data_dir)).transpose()?;
    let settings = effective(settings, birth.as_ref());
    if args.print_config {
        std::io::stdout().write_all(settings.print().as_bytes()).context("writing the configuration to stdout")?;
        return Ok(());
    }
    let (Some(identity), Some(birth)) = (identity, birth) else {
        bail!(
            "{} is no node of a cluster: make it with `lethe cluster init` or `lethe cluster join`",
            settings.data_dir.display()
        );
    };
    super::files::raise_limit();
    warn_of_open_doors(&settings);
    let config = config(&settings, birth);
    let mut stop = Stop::listen()?;
    let Some(node) = stop.unless_told(Node::start(config, identity, None)).await? else { return Ok(()) };
    let id = identity.node.to_string();
    node.addresses().announce(&format!("node {id}"), ("node", &id), args.json)?;
    tokio::select! {
        () = stop.told() => {}
        reason = node.fate() => return Err(reason.into()),
    }
    tracing::info!("stopping: leadership is handed over and requests in flight finish first");
    stop.unless_told_again(node.stop()).await
}

/// The settings with what the file leaves to the data directory, if there is one, and to where the node listens.
fn effective(mut settings: Settings, birth: Option<&Birth>) -> Settings {
    if let Some(birth) = birth {
        settings.name = settings.name.or_else(|| birth.name.clone()).or_else(|| Some(host_name()));
        if let By::Join { addresses } = &birth.by {
            let further = addresses.iter().filter(|address| !settings.join.contains(address));
            settings.join.extend(further.cloned().collect::<Vec<_>>());
        }
    }
    if !settings.tls_insecure {
        settings.tls_dir = Some(settings.tls_dir());
    }
    // Where the system chooses the port it is known only once the node listens.
    let at = |listen: SocketAddr| (listen.port() != 0).then(|| listen.to_string());
    settings.http_advertise = settings.http_advertise.or_else(|| at(settings.http.listen));
    settings.grpc_advertise = settings.grpc_advertise.or_else(|| at(settings.grpc.listen));
    settings.peer_advertise = settings.peer_advertise.or_else(|| at(settings.peer_listen));
    settings
}

/// What a node of a cluster is given, from its configuration and from how it came to be.
fn config(settings: &Settings, birth: Birth) -> Config {
    let (http, grpc) = (settings.http.listen, settings.grpc.listen);
    let tls = (!settings.tls_insecure).then(|| TlsFiles::in_dir(&settings.tls_dir()));
    let begin = match birth.by {
        By::Init { replication } => Begin::Found { replication },
        By::Join { .. } => Begin::Join { addresses: settings.join.clone() },
    };
    let mut config = Config::new(http, grpc, settings.data_dir.clone());
    config.http = settings.http.clone();
    config.http.tls = settings.http_tls();
    config.grpc = settings.grpc.clone();
    config.shard = settings.shard.clone();
    config.cluster = settings.cluster.clone();
    config.keys = settings.keys.clone();
    config.actors = settings.actors.clone();
    config.engine = settings.engine.clone();
    config.egress = settings.egress.clone();
    config.member = Some(Member {
        name: settings.name.clone().unwrap_or_else(host_name),
        peer: peer::Config { listen: settings.peer_listen, tls, limits: settings.peer.clone() },
        begin,
        http_advertise: settings.http_advertise.clone(),
        grpc_advertise: settings.grpc_advertise.clone(),
        peer_advertise: settings.peer_advertise.clone(),
    });
    config
}

/// Says what an operator should know before anybody else finds out.
fn warn_of_open_doors(settings: &Settings) {
    if !settings.grpc.listen.ip().is_loopback() {
        let listen = settings.grpc.listen;
        tracing::warn!(%listen, "gRPC has no authentication: whoever reaches it can call and destroy every actor");
    }
    if settings.tls_insecure {
        tracing::warn!("tls.insecure: other nodes are believed whatever they say, and everybody can read along");
    }
}
