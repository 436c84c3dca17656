//! `lethe cluster init | add | join`: makes clusters and nodes as files; nothing is started, nothing is sent.
//!
//! The identity is always written last: a data directory is a node's when, and only when, it is there. What an earlier
//! attempt with the same result has left is taken as it is; anything else is never overwritten.

use std::{fs, io::Write, path::Path};

use anyhow::{Context, Result, bail, ensure};
use lethe_proto::NodeId;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    birth::{Birth, By},
    durable::{make_dir, write_new},
    join_file::{Certificates, JoinFile},
};
use crate::{
    cli::{
        AddArgs, InitArgs, JoinArgs,
        config::{Settings, is_name},
    },
    peer::ca::{self, Authority},
    shard::Identity,
    store::vfs::StdVfs,
};

/// Makes a cluster, and this machine its first node.
pub(super) fn init(args: &InitArgs) -> Result<()> {
    let settings = args.file.settings()?;
    let dir = &settings.data_dir;
    refuse_used(dir)?;
    let identity = Identity::first(args.groups());
    let (cluster, node) = (identity.cluster, identity.node);
    make_dir(dir)?;
    if !settings.tls_insecure {
        let tls = settings.tls_dir();
        refuse_certificates(&tls)?;
        make_dir(&tls)?;
        let authority = Authority::create(cluster)?;
        authority.save(&tls)?;
        let issued = authority.issue(node)?;
        ca::save_node(&tls, authority.ca_pem(), &issued)?;
    }
    Birth::new(None, By::Init { replication: args.replication }).write(dir)?;
    identity.found(&StdVfs, dir)?;
    let text =
        format!("made cluster {cluster} and its first node {node} in {}\nrun it with: lethe serve", dir.display());
    say(args.json, &json!({ "cluster": cluster, "node": node }), &text)
}

/// Makes an id and certificates for one more node, and puts them into a join file.
pub(super) fn add(args: &AddArgs) -> Result<()> {
    let settings = args.file.settings()?;
    ensure!(is_name(&args.name), "a node's name has 1 to 63 letters, digits, `-`, `_` or `.`, not {:?}", args.name);
    let Some(identity) = Identity::read(&StdVfs, &settings.data_dir)? else {
        bail!("{} is no node of a cluster: run this where `lethe cluster init` was run", settings.data_dir.display());
    };
    let (cluster, node) = (identity.cluster, NodeId(Uuid::new_v4()));
    let join = addresses(&settings)?;
    let mut file = JoinFile::new(cluster, identity.groups, node, args.name.clone(), join);
    if !settings.tls_insecure {
        let tls = settings.tls_dir();
        let key = tls.join(ca::CA_KEY_FILE);
        ensure!(
            key.exists(),
            "{} is not here: run this where `lethe cluster init` was run, it holds the cluster's authority",
            key.display()
        );
        let authority = Authority::load(&tls, cluster)?;
        let issued = authority.issue(node)?;
        let ca_pem = authority.ca_pem().to_owned();
        file.certificates = Some(Certificates { ca_pem, node_pem: issued.node_pem, node_key_pem: issued.node_key_pem });
    }
    file.write(&args.out)?;
    let out = args.out.display();
    let text = format!(
        "made {out} for node {node}; it holds a private key, so carry it safely\n\
         on the new machine: lethe cluster join --config lethe.toml {out}"
    );
    say(args.json, &json!({ "cluster": cluster, "node": node, "file": args.out }), &text)
}

/// Makes this machine the node that a join file is for.
pub(super) fn join(args: &JoinArgs) -> Result<()> {
    let settings = args.file.settings()?;
    let file = JoinFile::read(&args.join_file)?;
    let dir = &settings.data_dir;
    refuse_used(dir)?;
    match (&file.certificates, settings.tls_insecure) {
        (Some(_), true) => bail!("`tls.insecure` is set, but the cluster of this join file uses certificates"),
        (None, false) => {
            bail!("the cluster of this join file speaks plain text; this node needs `tls.insecure = true`")
        }
        (Some(_), false) | (None, true) => {}
    }
    make_dir(dir)?;
    if let Some(certificates) = &file.certificates {
        let tls = settings.tls_dir();
        make_dir(&tls)?;
        write_new(&tls.join(ca::CA_FILE), certificates.ca_pem.as_bytes())?;
        write_new(&tls.join(ca::NODE_FILE), certificates.node_pem.as_bytes())?;
        write_new(&tls.join(ca::NODE_KEY_FILE), certificates.node_key_pem.as_bytes())?;
    }
    let (cluster, node) = (file.cluster, file.node);
    Birth::new(Some(file.name), By::Join { addresses: file.join }).write(dir)?;
    Identity::new(cluster, node, file.groups).found(&StdVfs, dir)?;
    let text = format!("made node {node} of cluster {cluster} in {}\nrun it with: lethe serve", dir.display());
    say(args.json, &json!({ "cluster": cluster, "node": node }), &text)
}

/// A data directory belongs to one node for good.
fn refuse_used(dir: &Path) -> Result<()> {
    if let Some(Identity { cluster, node, .. }) = Identity::read(&StdVfs, dir)? {
        bail!("{} belongs to node {node} of cluster {cluster} already", dir.display());
    }
    let holds_data = ["wal", "keys"].into_iter().find(|name| dir.join(name).exists());
    match holds_data {
        Some(name) => bail!("{} holds data of a node whose identity is lost (`{name}`); empty it first", dir.display()),
        None => Ok(()),
    }
}

/// A new authority never replaces another one.
fn refuse_certificates(tls: &Path) -> Result<()> {
    let found = match fs::read_dir(tls) {
        Ok(entries) => entries.filter_map(Result::ok).next(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", tls.display())),
    };
    match found {
        Some(file) => bail!("{} exists already: a new cluster needs an empty tls directory", file.path().display()),
        None => Ok(()),
    }
}

/// Where a new node finds the cluster: this node, and those this one was told of.
fn addresses(settings: &Settings) -> Result<Vec<String>> {
    let listen = settings.peer_listen;
    ensure!(
        settings.peer_advertise.is_some() || listen.port() != 0,
        "`peer.listen` has no fixed port: set `peer.advertise`, the new node needs to know where this one is"
    );
    let mut addresses = vec![settings.peer_advertise(listen)];
    let told = match Birth::read(&settings.data_dir)?.by {
        By::Init { .. } => Vec::new(),
        By::Join { addresses } => addresses,
    };
    for address in settings.join.iter().cloned().chain(told) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

fn say(as_json: bool, value: &Value, text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    if as_json {
        writeln!(stdout, "{value}")?
    } else {
        writeln!(stdout, "{text}")?
    }
    Ok(())
}
